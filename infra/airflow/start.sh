#!/usr/bin/env bash
# Start one component of Airflow in the foreground, natively or as a container's command.
#
#   infra/airflow/start.sh init             the database's schema, the pool, the first administrator
#   infra/airflow/start.sh api-server | scheduler | dag-processor | triggerer
#   infra/airflow/start.sh cli dags list    any other command of Airflow's, in the same environment
#
# Wants TOPSHELF_AIRFLOW_DB, as postgresql://user:password@host:5432/airflow, and two secrets that all components share:
# TOPSHELF_AIRFLOW_SECRET (signs tokens) and TOPSHELF_AIRFLOW_FERNET_KEY (encrypts connections).
# `init` also wants TOPSHELF_AIRFLOW_ADMIN_PASSWORD. Whatever is set as AIRFLOW__… by the deployment stands.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
for name in TOPSHELF_AIRFLOW_DB TOPSHELF_AIRFLOW_SECRET TOPSHELF_AIRFLOW_FERNET_KEY; do
  [ -n "${!name:-}" ] || { echo "start.sh: $name is not set; see infra/topshelf.env.example" >&2; exit 2; }
done
python=${AIRFLOW_PYTHON:-$root/.venv/bin/python}
port=${TOPSHELF_AIRFLOW_PORT:-8080}
host=${TOPSHELF_AIRFLOW_HOST:-127.0.0.1}

export AIRFLOW_HOME=${AIRFLOW_HOME:-$root/data/airflow}
export PYTHONPATH=$root/dags${PYTHONPATH:+:$PYTHONPATH}  # the triggerer calls what dags/ defines
export TOPSHELF_PYTHON=${TOPSHELF_PYTHON:-$root/.venv/bin/python}
export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=${AIRFLOW__DATABASE__SQL_ALCHEMY_CONN:-postgresql+psycopg2://${TOPSHELF_AIRFLOW_DB#*://}}
export AIRFLOW__API_AUTH__JWT_SECRET=$TOPSHELF_AIRFLOW_SECRET
export AIRFLOW__API__SECRET_KEY=$TOPSHELF_AIRFLOW_SECRET
export AIRFLOW__CORE__FERNET_KEY=$TOPSHELF_AIRFLOW_FERNET_KEY
export AIRFLOW__CORE__DAGS_FOLDER=$root/dags
export AIRFLOW__CORE__LOAD_EXAMPLES=False
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

airflow() { "$python" -m airflow "$@"; }

case "${1:-}" in
  init)
    [ -n "${TOPSHELF_AIRFLOW_ADMIN_PASSWORD:-}" ] || { echo "start.sh: TOPSHELF_AIRFLOW_ADMIN_PASSWORD is not set" >&2; exit 2; }
    airflow db migrate
    airflow pools set topshelf_heavy "${TOPSHELF_HEAVY_SLOTS:-1}" "jobs that fill the machine, at once"
    # A repeated init finds the administrator there, and leaves the password as people have set it.
    airflow users create --username "${TOPSHELF_AIRFLOW_ADMIN:-admin}" --password "$TOPSHELF_AIRFLOW_ADMIN_PASSWORD" \
      --role Admin --firstname Topshelf --lastname Operator --email "${TOPSHELF_AIRFLOW_ADMIN:-admin}@localhost"
    ;;
  api-server) exec "$python" -m airflow api-server --host "$host" --port "$port" ;;
  scheduler | dag-processor | triggerer) exec "$python" -m airflow "$1" ;;
  cli) shift && exec "$python" -m airflow "$@" ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
