#!/usr/bin/env bash
# Start the endpoint in the foreground, or make its keys, natively or as a container's command.
#
#   infra/serving/start.sh                               serve
#   infra/serving/start.sh init                          a key of scope metrics, into the file TOPSHELF_METRICS_KEY; repeatable
#   infra/serving/start.sh keys create --scope read      any command of `keys`: create, list, revoke
#   infra/serving/start.sh stream events                 any command of `stream`: events, items
#
# TOPSHELF_STORE, TOPSHELF_LANDING, TOPSHELF_STATE, TOPSHELF_KEYS and TOPSHELF_SHARED say where things are;
# TOPSHELF_HOST (127.0.0.1), TOPSHELF_PORT (8000), TOPSHELF_WORKERS (1).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
python=${TOPSHELF_PYTHON:-$root/.venv/bin/python}
case "${1:-serve}" in
  serve)
    exec "$python" -m serving serve \
      --host "${TOPSHELF_HOST:-127.0.0.1}" --port "${TOPSHELF_PORT:-8000}" --workers "${TOPSHELF_WORKERS:-1}"
    ;;
  init)
    exec "$python" -m serving keys create --scope metrics --name prometheus \
      --to "${TOPSHELF_METRICS_KEY:?name the file that Prometheus reads its key from}"
    ;;
  keys | stream) exec "$python" -m serving "$@" ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
