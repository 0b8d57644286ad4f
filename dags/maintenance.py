"""# Maintenance

Sundays at 04:00 UTC: derived tables, reports and landed exposures past their days are removed (`topshelf config`
shows the days, under `retention`); erased shoppers' rows are taken out of landing and of what the lake derived from
them, well within 30 days; and the archive's newest snapshot is restored into a store of its own, to prove that it can
be. What was done stands in the lake, `runs/maintenance/DAY.json`.

Airflow's own logs and runs go after 28 days: 288 trend runs a day would fill its database.

It waits for a slot of the heavy pool, so it runs beside no night.
"""

import sys
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable
from topshelf_job import DEFAULT_ARGS, HEAVY_POOL, job_task, start_date

KEEP_DAYS = 28
"""Days of task logs, which may quote rows, and of the runs that they belong to."""
NO_DATABASE_STATUS = 99

# Airflow takes its database's address out of a task's environment; the deployment's own variable still has it.
FORGET_RUNS = f"""
if [ -z "${{TOPSHELF_AIRFLOW_DB:-}}" ]; then
  echo "TOPSHELF_AIRFLOW_DB is not set here: whoever runs Airflow must run airflow db clean"
  exit {NO_DATABASE_STATUS}
fi
export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="postgresql+psycopg2://${{TOPSHELF_AIRFLOW_DB#*://}}"
exec "${{AIRFLOW_PYTHON:-{sys.executable}}}" -m airflow db clean --yes --skip-archive --error-on-cleanup-failure \\
  --clean-before-timestamp "$(date -u -d '{KEEP_DAYS} days ago' +%Y-%m-%dT%H:%M:%SZ)"
"""

with DAG(
    dag_id="maintenance",
    description="Every Sunday: retention, erasure, and a test that the archive can be restored.",
    schedule=CronTriggerTimetable("0 4 * * 0", timezone="UTC"),
    start_date=start_date(),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"execution_timeout": timedelta(hours=6)},
    doc_md=__doc__,
    tags=["topshelf"],
):
    job_task(
        task_id="maintain",
        job="maintain",
        by_day=False,
        pool=HEAVY_POOL,
        doc_md="`topshelf maintain` does the same by hand.",
    )
    BashOperator(
        task_id="forget_logs",
        bash_command=f'find "${{AIRFLOW_HOME:?}}/logs" -type f -mtime +{KEEP_DAYS} -delete',
        append_env=True,
        doc_md=f"Removes Airflow's task logs after {KEEP_DAYS} days: they may quote rows.",
    )
    BashOperator(
        task_id="forget_runs",
        bash_command=FORGET_RUNS,
        append_env=True,
        skip_on_exit_code=NO_DATABASE_STATUS,
        doc_md=f"Removes runs, tasks and events of more than {KEEP_DAYS} days ago from Airflow's database. "
        "Skipped where `TOPSHELF_AIRFLOW_DB` is not set, as on a managed Airflow, which cleans its own.",
    )
