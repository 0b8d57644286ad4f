"""# The night

Every day at 00:00 UTC the day that has just ended is run: the shop's landed files become features, models, a shelf
for every shopper, and one snapshot that goes live when all is well.

| task | does | when it fails |
| --- | --- | --- |
| `wait_for_landing` | waits, holding no worker, for `landing/events/ds=DAY/_SUCCESS` | land the day, clear the task |
| `ingest` | landed rows to `staging`, bad ones to quarantine | its last line names the file and the remedy |
| `features` | what was known on the day and on the days that teach the ranker; ALS's values | clear it |
| `train_cf`, `train_ranker` | models, kept where their inputs have not changed | clear it |
| `shelves` | candidates, top N, fallback shelves, exploration pools | clear it |
| `validate` | every table's checks | its last line names the check and the rows |
| `publish` | loads the snapshot beside the live one, passes the gates, moves the pointer; a report | clear it |

**Nothing is lost by clearing a task**: each starts again where it stopped, and a stage whose inputs, parameters and
code are those of its last run keeps what it built (its result says so). What is live stays live until `publish` is
done.

**`publish` skipped** means that a gate held the snapshot back: its reason is in the log. `topshelf promote VERSION`
puts it live all the same; `topshelf rollback` takes the last one back.

**By hand**: a backfill takes days from the interval; *Trigger* wants `ds` set, as `2026-01-31`. A day older than the
one that is live is built and stored, and never goes live by itself.
"""

import os
from datetime import timedelta
from typing import Any

from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG, Asset, AsyncCallback, BaseOperator, DeadlineAlert, DeadlineReference, Param
from airflow.timetables.interval import CronDataIntervalTimetable
from topshelf_alerts import night_late, notices
from topshelf_job import DAY, DEADLINE, DEFAULT_ARGS, FIRST_NIGHT, HEAVY_POOL, JobOperator, LandedSensor, start_date

LANDING = os.environ.get("TOPSHELF_LANDING", "data/landing")
TOP_N_PUBLISHED = Asset(name="top_n_published", uri="topshelf://snapshot/top_n")
POKE = timedelta(seconds=float(os.environ.get("TOPSHELF_LANDING_POKE_S", "60")))


def waiting_for_landing() -> BaseOperator:
    """Wait until the day's events are marked as complete, for as long as the night's deadline allows."""
    shared: dict[str, Any] = {
        "task_id": "wait_for_landing",
        "poke_interval": POKE.total_seconds(),
        "timeout": DEADLINE.total_seconds(),
        "execution_timeout": DEADLINE + timedelta(minutes=5),
        "retries": 1,
        "doc_md": f"Waits for `{LANDING}/events/ds=DAY/_SUCCESS`.",
    }
    if LANDING.startswith("s3://"):
        return LandedSensor(day=DAY, mode="reschedule", **shared)
    return FileSensor(filepath=f"{LANDING}/events/ds={DAY}/_SUCCESS", deferrable=True, **shared)


def stages(task_id: str, *names: str, **given: Any) -> JobOperator:
    """One task that runs some stages of the night in one process and, where they need it, one Spark session."""
    command = f"python -m jobs nightly --ds DAY --stages {','.join(names)}"
    return JobOperator(
        task_id=task_id,
        job="nightly",
        arguments=["--stages", ",".join(names)],
        doc_md=f"`{command}` does the same by hand.",
        **{"pool": HEAVY_POOL, **given},
    )


with DAG(
    dag_id="nightly_recommendations",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=start_date(),
    catchup=bool(FIRST_NIGHT),
    max_active_runs=1,
    params={"ds": Param(None, type=["null", "string"], format="date", description="the UTC day, for manual runs")},
    default_args=DEFAULT_ARGS,
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=DEADLINE,
        callback=AsyncCallback(night_late),
    ),
    doc_md=__doc__,
    tags=["topshelf"],
):
    ingest = stages("ingest", "ingest")
    features = stages("features", "features", "choose_als", "label_windows")
    models = [stages("train_cf", "train_cf", "train_content", "train_towers"), stages("train_ranker", "train_ranker")]
    shelves = stages("shelves", "candidates", "rank", "fallback", "exploration")
    validate = stages("validate", "validate")
    publish = stages(
        "publish",
        "publish",
        "report",
        pool="default_pool",
        outlets=[TOP_N_PUBLISHED],
        on_skipped_callback=notices("publish_refused"),
    )
    waiting_for_landing() >> ingest >> features >> models >> shelves >> validate >> publish
