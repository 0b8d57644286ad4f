"""# New items

Every quarter of an hour products that have landed since the night get content vectors, neighbours, and a place on
fallback shelves and exploration slots of the live snapshot. The next night has them in its catalogue. A run that
finds nothing live, or nothing new, says so and is green; one whose snapshot was replaced meanwhile is tried again.
"""

from datetime import timedelta

from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable
from topshelf_job import DEFAULT_ARGS, job_task, start_date

with DAG(
    dag_id="new_items",
    description="Every quarter of an hour: products that landed since the night join the live shelves.",
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
    start_date=start_date(),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"retries": 2, "execution_timeout": timedelta(minutes=14)},
    doc_md=__doc__,
    tags=["topshelf"],
):
    job_task(
        task_id="bring_in",
        job="new-items",
        by_day=False,
        doc_md="`topshelf new-items` does the same by hand.",
    )
