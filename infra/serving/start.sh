#!/usr/bin/env bash
# Start the endpoint in the foreground, natively or as a container's command.
#
#   infra/serving/start.sh
#
# TOPSHELF_STORE, TOPSHELF_LANDING, TOPSHELF_STATE, TOPSHELF_KEYS and TOPSHELF_SHARED say where things are;
# TOPSHELF_HOST (127.0.0.1), TOPSHELF_PORT (8000), TOPSHELF_WORKERS (1).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
exec "${TOPSHELF_PYTHON:-$root/.venv/bin/python}" -m serving serve \
  --host "${TOPSHELF_HOST:-127.0.0.1}" --port "${TOPSHELF_PORT:-8000}" --workers "${TOPSHELF_WORKERS:-1}"
