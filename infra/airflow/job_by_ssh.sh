#!/usr/bin/env bash
# Run a job of an Airflow task on another machine, by ssh: an example of TOPSHELF_JOB_COMMAND (docs/platforms.md).
#
#   TOPSHELF_JOB_COMMAND="infra/airflow/job_by_ssh.sh night@10.0.0.7 /opt/topshelf"
#
# The folder there is a clone with its .venv, settings and credentials. Airflow's user needs a key that asks nothing.
# Where Airflow ends the task, the connection ends, and the job there with it.
set -euo pipefail

if [ "${1:-}" = --there ]; then
  shift
  TOPSHELF_OUTCOME=$(mktemp)
  export TOPSHELF_OUTCOME
  exec 3<&0
  "${TOPSHELF_PYTHON:-.venv/bin/python}" -m jobs "$@" 2>&1 </dev/null 3<&- &
  job=$!
  { read -r || kill "$job"; } <&3 >/dev/null 2>&1 &  # nobody writes: the end is that of the connection
  watch=$!
  status=0
  wait "$job" || status=$?
  kill "$watch" 2>/dev/null || true
  # The output comes back as output, the outcome as the last line of errors: {} where the job wrote none.
  { [ -s "$TOPSHELF_OUTCOME" ] && cat "$TOPSHELF_OUTCOME" || echo '{}'; } >&2
  rm -f "$TOPSHELF_OUTCOME"
  exit "$status"
fi

host=${1:?name the machine, USER@HOST} folder=${2:?name the clone there}
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkfifo "$scratch/open"
exec 3<>"$scratch/open"
printf -v words '%q ' "$@"
status=0
ssh -o BatchMode=yes "$host" "cd $(printf %q "$folder") && infra/airflow/job_by_ssh.sh --there $words" \
  <&3 3<&- 2>"$scratch/errors" || status=$?
if tail -n 1 "$scratch/errors" | grep -q '^{'; then
  tail -n 1 "$scratch/errors" >"${TOPSHELF_OUTCOME:-/dev/null}"
else
  cat "$scratch/errors" >&2  # the job was not started, or the connection was lost
fi
exit "$status"
