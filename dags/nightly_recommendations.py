"""The night as a DAG: one data interval a day, each task one job's command line.

`ds` is the interval's day where the run is scheduled or a backfill. A manual run fills in *now* as its logical date,
so it must say which day it means: `{"ds": "2026-01-31"}`.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param
from airflow.timetables.interval import CronDataIntervalTimetable

DAY = (
    "{{ params.ds or (ds if dag_run.run_type in ('scheduled', 'backfill') else 'a manual run must give params.ds') }}"
)
STAGES = (
    "ingest",
    "features",
    "train_cf",
    "train_ranker",
    "candidates",
    "rank",
    "fallback",
    "exploration",
    "validate",
    "publish",
)

with DAG(
    dag_id="nightly_recommendations",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params={"ds": Param(None, type=["null", "string"], format="date", description="the UTC day, for manual runs")},
    default_args={
        "owner": "topshelf",
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(hours=2),
    },
    doc_md=__doc__,
    tags=["topshelf"],
):
    previous = None
    for stage in STAGES:
        task = BashOperator(
            task_id=stage,
            # The day comes through the environment, never in the command's text.
            bash_command=f'python -m jobs.{stage} --ds "$TOPSHELF_DS"',
            env={"TOPSHELF_DS": DAY},
            append_env=True,
            doc_md=f"`python -m jobs.{stage} --ds DAY` builds it again by hand.",
        )
        if previous is not None:
            previous >> task
        previous = task
