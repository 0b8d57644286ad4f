"""# The night

Every day at 00:00 UTC the day that has just ended is run: the shop's landed files become features, models, a shelf
for every shopper, and one snapshot that goes live when all is well.

A scheduled run is named by its day: `scheduled__night-of-2026-01-27` starts at 00:00 UTC of the 28th. Other runs keep
Airflow's names, of the moment after their day or of the click; each task's log says the day in its first line.

**The tasks**

- `wait_for_landing` waits, holding no worker, for `landing/events/ds=DAY/_SUCCESS`.
- `ingest` turns landed rows into `staging`, and sets bad ones aside.
- `features` computes what was known on the day, and on the days that teach the ranker.
- `train_cf` and `train_ranker` fit models. They keep a model whose inputs have not changed.
- `shelves` makes candidates, shelves, each shopper's own lists, fallback shelves and exploration pools, and counts
  what shelves brought.
- `validate` holds every table against its checks.
- `publish` loads the snapshot beside the live one, passes the gates and moves the pointer. Then it writes a report.

**When a task fails**, its error and the notice say what is wrong, where, and the remedy. Mend it and *clear* the
task. A task that only people can mend, such as one with a corrupt file, is not tried again by itself.

**Nothing is lost by clearing a task**: each starts again where it stopped, and a stage whose inputs, parameters and
code are those of its last run keeps what it built (its result says so). What is live stays live until `publish` is
done.

**`publish` skipped** means that a gate held the snapshot back: its reason is in the log. `topshelf promote VERSION`
puts it live all the same; `topshelf rollback` takes the last one back.

**By hand**: a backfill takes its days from the form. *Trigger* wants `ds`, the day, as `2026-01-31`; the logical date
above it says nothing to this DAG. A day older than the one that is live is built and stored, and never goes live by
itself.

**What follows.** When a snapshot goes live, the asset `top_n_published` gets an event with `version`, `day`, `users`
and `items`. A DAG with `schedule=[Asset(name="top_n_published", uri="topshelf://snapshot/top_n")]` runs then.
"""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, AsyncCallback, BaseOperator, DeadlineAlert, DeadlineReference, Param
from topshelf_alerts import night_late, night_slow, notices
from topshelf_job import (
    DAY,
    DEADLINE,
    DEFAULT_ARGS,
    FIRST_NIGHT,
    HEAVY_POOL,
    LandedFileSensor,
    LandedSensor,
    job_task,
    start_date,
)
from topshelf_outcome import PROMOTION
from topshelf_places import landing_place
from topshelf_timetable import NightTimetable

POKE = timedelta(seconds=float(os.environ.get("TOPSHELF_LANDING_POKE_S", "60")))


def waiting_for_landing() -> BaseOperator:
    """Wait until the day's events are marked as complete, for as long as the night's deadline allows."""
    shared: dict[str, Any] = {
        "task_id": "wait_for_landing",
        "poke_interval": POKE.total_seconds(),
        "timeout": DEADLINE.total_seconds(),
        "execution_timeout": DEADLINE + timedelta(minutes=5),
        "retries": 1,
        "doc_md": f"Waits for `{landing_place()}/events/ds=DAY/_SUCCESS`.",
    }
    return (LandedSensor if "://" in landing_place() else LandedFileSensor)(day=DAY, **shared)


def stages(task_id: str, *names: str, **given: Any) -> BaseOperator:
    """One task that runs some stages of the night in one process and, where they need it, one Spark session."""
    command = f"python -m jobs nightly --ds DAY --stages {','.join(names)}"
    return job_task(
        task_id=task_id,
        job="nightly",
        arguments=["--stages", ",".join(names)],
        doc_md=f"`{command}` does the same by hand.",
        **{"pool": HEAVY_POOL, **given},
    )


with DAG(
    dag_id="nightly_recommendations",
    description="The night: landed files to a live snapshot of shelves, every day at 00:00 UTC for the day before.",
    schedule=NightTimetable("0 0 * * *", timezone="UTC"),
    start_date=start_date(),
    catchup=bool(FIRST_NIGHT),
    max_active_runs=1,
    params={
        "ds": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day of a single run (needed)",
            description="The UTC day whose night is run, as 2026-01-31. Without it a single run fails at once. "
            "The logical date is not used. A backfill takes its days from above and leaves this empty.",
        )
    },
    default_args=DEFAULT_ARGS,
    deadline=[
        DeadlineAlert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=due, callback=AsyncCallback(tell))
        for due, tell in ((DEADLINE / 2, night_slow), (DEADLINE, night_late))
    ],
    doc_md=__doc__,
    tags=["topshelf"],
):
    ingest = stages("ingest", "ingest")
    features = stages("features", "features", "choose_als", "label_windows")
    models = [
        stages("train_cf", "train_cf", "train_content", "train_towers", "item_lists"),
        stages("train_ranker", "train_ranker"),
    ]
    shelves = stages("shelves", "candidates", "rank", "shopper_lists", "fallback", "exploration", "shelf_outcomes")
    validate = stages("validate", "validate")
    publish = stages(
        "publish",
        "publish",
        "report",
        pool="default_pool",
        outlets=[PROMOTION],
        on_skipped_callback=notices("publish_refused"),
    )
    waiting_for_landing() >> ingest >> features >> models >> shelves >> validate >> publish
