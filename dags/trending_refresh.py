"""# Trends

Every 5 minutes what trends now is laid over the live snapshot: the popularity of the last 24 hours, from the events
that the endpoint has received. No shopper's shelf is rewritten, and nothing is lost when a run is missed: the next
one looks at the whole 24 hours again. A run that finds nothing live, or no event, says so and is green.
"""

from datetime import timedelta

from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable
from topshelf_job import DEFAULT_ARGS, job_task, start_date

with DAG(
    dag_id="trending_refresh",
    description="Every five minutes: what trends now is laid over the live snapshot.",
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    start_date=start_date(),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS
    | {"retries": 1, "retry_delay": timedelta(seconds=20), "execution_timeout": timedelta(minutes=4)},
    doc_md=__doc__,
    tags=["topshelf"],
):
    job_task(
        task_id="refresh",
        job="trending",
        by_day=False,
        doc_md="`topshelf trending` does the same by hand.",
    )
