#!/usr/bin/env bash
# Fetch what Spark needs for a lake on s3://, 15 MB, from Maven Central: hadoop-aws and the parts of the AWS SDK it uses
# (its own dependency, the whole SDK, has 600 MB).
#
#   infra/s3a.sh [FOLDER]        jobs.spark.session takes FOLDER from TOPSHELF_S3A_JARS; both default to the user's cache
set -euo pipefail
hadoop=3.5.0 # that of pyspark's hadoop-client-api
sdk=2.35.4   # that of hadoop-aws
folder=${1:-${TOPSHELF_S3A_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/topshelf/s3a-$hadoop}}
[ ! -f "$folder/complete" ] || exit 0
command -v mvn >/dev/null || { echo "s3a: mvn is missing; apt-get install maven" >&2; exit 1; }
mkdir -p "$folder"
{
  cat <<XML
<project><modelVersion>4.0.0</modelVersion>
<groupId>topshelf</groupId><artifactId>s3a</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.hadoop</groupId><artifactId>hadoop-aws</artifactId><version>$hadoop</version><exclusions>
<exclusion><groupId>software.amazon.awssdk</groupId><artifactId>bundle</artifactId></exclusion></exclusions></dependency>
XML
  for part in s3 s3-transfer-manager sts apache-client netty-nio-client; do # Spark brings netty and slf4j
    cat <<XML
<dependency><groupId>software.amazon.awssdk</groupId><artifactId>$part</artifactId><version>$sdk</version><exclusions>
<exclusion><groupId>io.netty</groupId><artifactId>*</artifactId></exclusion>
<exclusion><groupId>org.slf4j</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>
XML
  done
  echo '</dependencies></project>'
} >"$folder/pom.xml"
(cd "$folder" && mvn -q -B dependency:copy-dependencies "-DoutputDirectory=$folder")
touch "$folder/complete"
