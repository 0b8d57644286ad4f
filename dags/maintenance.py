"""# Maintenance

Sundays at 04:00 UTC: derived tables, reports and logs past their days are removed; erased shoppers' rows are taken
out of landing and of what the lake derived from them, well within 30 days; and the archive's newest snapshot is
restored into a store of its own, to prove that it can be. What was done stands in the lake,
`runs/maintenance/DAY.json`.

It waits for a slot of the heavy pool, so it runs beside no night.
"""

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable
from topshelf_job import DEFAULT_ARGS, HEAVY_POOL, JobOperator, start_date

with DAG(
    dag_id="maintenance",
    schedule=CronTriggerTimetable("0 4 * * 0", timezone="UTC"),
    start_date=start_date(),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"execution_timeout": timedelta(hours=6)},
    doc_md=__doc__,
    tags=["topshelf"],
):
    JobOperator(
        task_id="maintain",
        job="maintain",
        by_day=False,
        pool=HEAVY_POOL,
        doc_md="`topshelf maintain` does the same by hand.",
    )
    BashOperator(
        task_id="forget_logs",
        bash_command='find "${AIRFLOW_HOME:?}/logs" -type f -mtime +28 -delete',
        append_env=True,
        doc_md="Removes Airflow's task logs after 28 days: they may quote rows.",
    )
