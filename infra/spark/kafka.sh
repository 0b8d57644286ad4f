#!/usr/bin/env bash
# Fetch what Spark needs to read Kafka, 10 MB, from Maven Central.
#
#   infra/spark/kafka.sh [FOLDER]     jobs.spark.session takes FOLDER from TOPSHELF_KAFKA_JARS; both default to the user's cache
#
# Spark is of 4.3.0. The newest connector that could be had is of 4.2.0; the tests run the two together.
set -euo pipefail
connector=4.2.0
folder=${1:-${TOPSHELF_KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/topshelf/spark-kafka-$connector}}
[ ! -f "$folder/complete" ] || exit 0
command -v mvn >/dev/null || { echo "kafka: mvn is missing; apt-get install maven" >&2; exit 1; }
mkdir -p "$folder"
cat >"$folder/pom.xml" <<XML
<project><modelVersion>4.0.0</modelVersion>
<groupId>topshelf</groupId><artifactId>spark-kafka</artifactId><version>1</version><dependencies><dependency>
<groupId>org.apache.spark</groupId><artifactId>spark-sql-kafka-0-10_2.13</artifactId><version>$connector</version>
</dependency></dependencies></project>
XML
# Of what the connector asks for, these are not among Spark's own jars.
parts=spark-sql-kafka-0-10_2.13,spark-token-provider-kafka-0-10_2.13,kafka-clients,commons-pool2
(cd "$folder" && mvn -q -B dependency:copy-dependencies "-DoutputDirectory=$folder" "-DincludeArtifactIds=$parts")
touch "$folder/complete"
