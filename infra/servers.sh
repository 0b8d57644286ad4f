#!/usr/bin/env bash
# Servers for tests and developers: Redis, DynamoDB Local and Kafka (Maven Central), and VersityGW, which speaks S3 over a
# folder; with them, the jars that Spark needs for a lake on S3 and for topics of Kafka.
#
#   infra/servers.sh install     what is missing; apt-get wants root
#   infra/servers.sh start       all four on loopback, with the variables that point Topshelf at them
#   infra/servers.sh stop
#
# VersityGW: one Go binary whose conditional writes hold under racing writers, as S3's do.
set -euo pipefail
versitygw=v1.8.0
dynamodb=2.6.1
kafka=4.4.0
slf4j=1.7.36
cache=${XDG_CACHE_HOME:-$HOME/.cache}/topshelf
jars=$cache/dynamodb-local-$dynamodb
kafka_jars=$cache/kafka-$kafka
run=$cache/servers

install() {
  local missing=()
  command -v redis-server >/dev/null || missing+=(redis-server)
  command -v mvn >/dev/null || missing+=(maven)
  command -v go >/dev/null || [ -x "$cache/bin/versitygw-$versitygw" ] || missing+=(golang-go)
  if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  fi
  if [ ! -x "$cache/bin/versitygw-$versitygw" ]; then
    mkdir -p "$cache/bin"
    # An older go fetches the newer toolchain that the module asks for.
    GOTOOLCHAIN=${GOTOOLCHAIN:-auto} GOBIN=$cache/bin go install "github.com/versity/versitygw/cmd/versitygw@$versitygw"
    mv "$cache/bin/versitygw" "$cache/bin/versitygw-$versitygw"
  fi
  from_maven "$jars" "com.amazonaws:DynamoDBLocal:$dynamodb"
  from_maven "$kafka_jars" "org.apache.kafka:kafka_2.13:$kafka" "org.slf4j:slf4j-simple:$slf4j"
  "$(dirname "$0")/s3a.sh"
  "$(dirname "$0")/spark/kafka.sh"
}

# Put Maven artifacts, with all that they ask for, into a folder.
from_maven() {
  local folder=$1 artifact parts
  shift
  [ ! -f "$folder/complete" ] || return 0
  mkdir -p "$folder"
  {
    echo '<project><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>topshelf</groupId><artifactId>server</artifactId><version>1</version><dependencies>'
    for artifact in "$@"; do
      IFS=: read -r -a parts <<<"$artifact"
      echo "<dependency><groupId>${parts[0]}</groupId><artifactId>${parts[1]}</artifactId><version>${parts[2]}</version></dependency>"
    done
    echo '</dependencies></project>'
  } >"$folder/pom.xml"
  (cd "$folder" && mvn -q -B dependency:copy-dependencies "-DoutputDirectory=$folder")
  touch "$folder/complete"
}

start() {
  stop
  mkdir -p "$run/redis" "$run/s3/topshelf" "$run/dynamodb" "$run/kafka"
  launch redis redis-server --port 6379 --bind 127.0.0.1 --dir "$run/redis" --maxmemory-policy noeviction
  launch dynamodb java -Xmx512m "-Djava.library.path=$jars" -cp "$jars/*" \
    com.amazonaws.services.dynamodbv2.local.main.ServerRunner -dbPath "$run/dynamodb" -disableTelemetry -port 8001
  ROOT_ACCESS_KEY=local ROOT_SECRET_KEY=local-secret \
    launch s3 "$cache/bin/versitygw-$versitygw" --port 127.0.0.1:7070 --quiet posix "$run/s3"
  kafka_settings >"$run/kafka.properties"
  local java=(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$kafka_jars/*")
  [ -f "$run/kafka/meta.properties" ] ||
    "${java[@]}" kafka.tools.StorageTool format -t dG9wc2hlbGYtbG9jYWwta2E -c "$run/kafka.properties" >/dev/null
  launch kafka "${java[@]}" kafka.Kafka "$run/kafka.properties"
  cat <<TEXT
export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local-secret AWS_DEFAULT_REGION=us-east-1
export TOPSHELF_STORE=redis://127.0.0.1:6379/0    # or 'dynamodb://topshelf?endpoint=http://127.0.0.1:8001'
export TOPSHELF_ARCHIVE='s3://topshelf/archive?endpoint=http://127.0.0.1:7070'
export TOPSHELF_KAFKA=127.0.0.1:9092
TEXT
}

# A broker that is its own controller.
kafka_settings() {
  cat <<TEXT
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://127.0.0.1:9092
controller.listener.names=CONTROLLER
log.dirs=$run/kafka
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
TEXT
}

launch() {
  local name=$1
  shift
  nohup "$@" >"$run/$name.log" 2>&1 &
  echo $! >"$run/$name.pid"
}

stop() {
  local file
  for file in "$run"/*.pid; do
    [ -e "$file" ] || continue
    kill "$(cat "$file")" 2>/dev/null || true
    rm -f "$file"
  done
}

case ${1:-} in
  install | start | stop) "$1" ;;
  *) sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,8p' >&2; exit 2 ;;
esac
