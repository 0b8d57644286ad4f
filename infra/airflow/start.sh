#!/usr/bin/env bash
# Start one component of Airflow in the foreground, natively or as a container's command.
#
#   infra/airflow/start.sh secrets          infra/topshelf.env, with secrets of its own; one that is there is kept
#   infra/airflow/start.sh database         the SQL that makes Airflow's role and database, for a PostgreSQL administrator
#   infra/airflow/start.sh init             the database's schema, the pool, the first administrator
#   infra/airflow/start.sh all              the four components together, until one ends or Ctrl-C
#   infra/airflow/start.sh api-server | scheduler | dag-processor | triggerer
#   infra/airflow/start.sh cli dags list    any other command of Airflow's, in the same environment
#
# Settings come from the environment, and where it lacks one, from infra/topshelf.env. docs/settings.md lists them.
# Whatever the deployment sets as AIRFLOW__… stands.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
env_file=${TOPSHELF_ENV_FILE:-$root/infra/topshelf.env}

if [ "${1:-}" = secrets ]; then
  exec "${AIRFLOW_PYTHON:-$root/.venv/bin/python}" "$root/infra/airflow/make_env.py" "$root/infra/topshelf.env.example" "$env_file"
fi
if [ -r "$env_file" ]; then
  while IFS= read -r line || [ -n "$line" ]; do
    name=${line%%=*} value=${line#*=}  # split by hand, as `read` takes an = off a value's end, such as a Fernet key's
    case $line in \#*) continue ;; *=*) ;; *) continue ;; esac
    [ -n "${!name+set}" ] || export "$name=$value"
  done <"$env_file"
fi
for name in TOPSHELF_AIRFLOW_DB TOPSHELF_AIRFLOW_SECRET TOPSHELF_AIRFLOW_FERNET_KEY; do
  [ -n "${!name:-}" ] || { echo "start.sh: $name is not set; infra/airflow/start.sh secrets writes $env_file, which has it" >&2; exit 2; }
done
python=${AIRFLOW_PYTHON:-$root/.venv/bin/python}
port=${TOPSHELF_AIRFLOW_PORT:-8080}
host=${TOPSHELF_AIRFLOW_HOST:-127.0.0.1}

export AIRFLOW_HOME=${AIRFLOW_HOME:-$root/data/airflow}
export PYTHONPATH=$root/dags:$root/dags/plugins${PYTHONPATH:+:$PYTHONPATH}  # the triggerer calls what dags/ defines
export TOPSHELF_PYTHON=${TOPSHELF_PYTHON:-$root/.venv/bin/python}
export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=${AIRFLOW__DATABASE__SQL_ALCHEMY_CONN:-postgresql+psycopg2://${TOPSHELF_AIRFLOW_DB#*://}}
export AIRFLOW__API_AUTH__JWT_SECRET=${AIRFLOW__API_AUTH__JWT_SECRET:-$TOPSHELF_AIRFLOW_SECRET}
export AIRFLOW__API__SECRET_KEY=${AIRFLOW__API__SECRET_KEY:-$TOPSHELF_AIRFLOW_SECRET}
export AIRFLOW__API__BASE_URL=${AIRFLOW__API__BASE_URL:-http://$host:$port}  # what links in notices begin with
export AIRFLOW__CORE__FERNET_KEY=${AIRFLOW__CORE__FERNET_KEY:-$TOPSHELF_AIRFLOW_FERNET_KEY}
export AIRFLOW__CORE__DAGS_FOLDER=${AIRFLOW__CORE__DAGS_FOLDER:-$root/dags}
export AIRFLOW__CORE__PLUGINS_FOLDER=${AIRFLOW__CORE__PLUGINS_FOLDER:-$root/dags/plugins}
export AIRFLOW__CORE__LOAD_EXAMPLES=${AIRFLOW__CORE__LOAD_EXAMPLES:-False}
# A night runs without a click. Set True where people should turn each DAG on.
export AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION=${AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION:-False}
export AIRFLOW__CORE__EXECUTOR=${AIRFLOW__CORE__EXECUTOR:-LocalExecutor}
export AIRFLOW__CORE__AUTH_MANAGER=${AIRFLOW__CORE__AUTH_MANAGER:-airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager}
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL=${AIRFLOW__CORE__EXECUTION_API_SERVER_URL:-http://$host:$port/execution/}
export AIRFLOW__CORE__PARALLELISM=${AIRFLOW__CORE__PARALLELISM:-4}
export AIRFLOW__API__WORKERS=${AIRFLOW__API__WORKERS:-1}
export AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK=${AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK:-True}
export AIRFLOW__OPENLINEAGE__DISABLED=${AIRFLOW__OPENLINEAGE__DISABLED:-$([ -n "${OPENLINEAGE_URL:-}" ] && echo False || echo True)}
export AIRFLOW_CONN_FS_DEFAULT=${AIRFLOW_CONN_FS_DEFAULT:-'{"conn_type": "fs"}'}
mkdir -p "$AIRFLOW_HOME"
cd "$root"

program=("$python" -m airflow)
quietly() {  # its output goes to a log, which is shown where it fails
  "${program[@]}" "$@" >"$AIRFLOW_HOME/init.log" 2>&1 || { cat "$AIRFLOW_HOME/init.log" >&2; exit 1; }
}

case "${1:-}" in
  init)
    [ -n "${TOPSHELF_AIRFLOW_ADMIN_PASSWORD:-}" ] || { echo "start.sh: TOPSHELF_AIRFLOW_ADMIN_PASSWORD is not set" >&2; exit 2; }
    admin=${TOPSHELF_AIRFLOW_ADMIN:-admin}
    quietly db migrate
    echo "database: its schema is that of Airflow $("$python" -c 'from importlib.metadata import version; print(version("apache-airflow-core"))')"
    quietly pools set topshelf_heavy "${TOPSHELF_HEAVY_SLOTS:-1}" "jobs that fill the machine, at once"
    echo "pool: topshelf_heavy has ${TOPSHELF_HEAVY_SLOTS:-1} slots"
    # A repeated init finds the administrator there, and leaves the password as people have set it. The password comes
    # by the environment, as every user of the machine can read a command line.
    program=("$python" -c 'import os, sys; sys.argv.append("--password=" + os.environ["TOPSHELF_AIRFLOW_ADMIN_PASSWORD"])
from airflow.__main__ import main
main()')
    quietly users create --username "$admin" --role Admin --firstname Topshelf --lastname Operator --email "$admin@localhost"
    echo "administrator: $admin, with the password that TOPSHELF_AIRFLOW_ADMIN_PASSWORD had at the first init"
    ;;
  database) exec "$python" "$root/infra/airflow/database_sql.py" ;;
  all) exec "$python" "$root/infra/airflow/together.py" "$0" ;;
  api-server) exec "$python" -m airflow api-server --host "$host" --port "$port" ;;
  scheduler)
    "$python" "$root/infra/airflow/await_api.py" "$AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
    exec "$python" -m airflow scheduler
    ;;
  dag-processor | triggerer) exec "$python" -m airflow "$1" ;;
  cli) shift && exec "$python" -m airflow "$@" ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
