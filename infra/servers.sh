#!/usr/bin/env bash
# Servers for tests and developers: Redis, DynamoDB Local (Maven Central) and VersityGW, which speaks S3 over a folder;
# with them, the jars that Spark needs for a lake on S3.
#
#   infra/servers.sh install     what is missing; apt-get wants root
#   infra/servers.sh start       all three on loopback, with the variables that point Topshelf at them
#   infra/servers.sh stop
#
# VersityGW: one Go binary whose conditional writes hold under racing writers, as S3's do.
set -euo pipefail
versitygw=v1.8.0
dynamodb=2.6.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/topshelf
jars=$cache/dynamodb-local-$dynamodb
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
  if [ ! -f "$jars/complete" ]; then
    mkdir -p "$jars"
    cat > "$jars/pom.xml" <<XML
<project><modelVersion>4.0.0</modelVersion>
<groupId>topshelf</groupId><artifactId>dynamodb-local</artifactId><version>1</version>
<dependencies><dependency><groupId>com.amazonaws</groupId><artifactId>DynamoDBLocal</artifactId>
<version>$dynamodb</version></dependency></dependencies></project>
XML
    (cd "$jars" && mvn -q -B dependency:copy-dependencies "-DoutputDirectory=$jars")
    touch "$jars/complete"
  fi
  "$(dirname "$0")/s3a.sh"
}

start() {
  stop
  mkdir -p "$run/redis" "$run/s3/topshelf" "$run/dynamodb"
  launch redis redis-server --port 6379 --bind 127.0.0.1 --dir "$run/redis" --maxmemory-policy noeviction
  launch dynamodb java -Xmx512m "-Djava.library.path=$jars" -cp "$jars/*" \
    com.amazonaws.services.dynamodbv2.local.main.ServerRunner -dbPath "$run/dynamodb" -disableTelemetry -port 8001
  ROOT_ACCESS_KEY=local ROOT_SECRET_KEY=local-secret \
    launch s3 "$cache/bin/versitygw-$versitygw" --port 127.0.0.1:7070 --quiet posix "$run/s3"
  cat <<TEXT
export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local-secret AWS_DEFAULT_REGION=us-east-1
export TOPSHELF_STORE=redis://127.0.0.1:6379/0    # or 'dynamodb://topshelf?endpoint=http://127.0.0.1:8001'
export TOPSHELF_ARCHIVE='s3://topshelf/archive?endpoint=http://127.0.0.1:7070'
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
