"""Nights at once: a scheduled one, and a backfill of two days, and one more by hand, in one lake.

Runs where TOPSHELF_TEST_KILLS is set: four nights share the machine for some minutes. Airflow takes one backfill of a
DAG at a time, of as many days at once as `max_active_runs` of it says; so a second one is a backfill by command.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.commands.night import REFUSED_STATUS
from jobs.config.settings import Settings
from serving.stores import open_store
from tests.e2e.airflow_nights import (
    ASKED_FOR,
    DAG,
    NIGHT_S,
    YESTERDAY,
    Alone,
    airflow,
    all_green,
    backfill_by_rest,
    runs_by_day,
    tiny_shop,
    variables,
)
from tests.e2e.airflow_stack import ROOT, ApiError, Stack, wait_until

BACKFILLED = [YESTERDAY - timedelta(days=3), YESTERDAY - timedelta(days=2)]
BY_HAND = YESTERDAY - timedelta(days=1)

pytestmark = ASKED_FOR


@pytest.fixture
def settings(spark: SparkSession, tmp_path: Path) -> Settings:
    return tiny_shop(spark, tmp_path, days=8)


@pytest.fixture
def stack(settings: Settings, tmp_path: Path) -> Iterator[Stack]:
    with airflow(tmp_path, settings, TOPSHELF_HEAVY_SLOTS="3") as running:
        yield running


def test_nights_at_once_tear_no_partition_and_the_pointer_stands_on_the_last_day(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    wait_until(lambda: stack.api("GET", "/dags")["total_entries"] > 0, "the DAG processor")
    stack.api("PATCH", f"/dags/{DAG}", {"is_paused": False})
    backfill_by_rest(stack, *BACKFILLED, at_once=2)
    with pytest.raises(ApiError, match="409"):
        backfill_by_rest(stack, BY_HAND)
    by_hand = subprocess.Popen(
        [sys.executable, "-m", "jobs", "nightly", "--ds", str(BY_HAND)],
        env=os.environ | variables(tmp_path, settings),
        cwd=ROOT,
    )
    try:
        wait_until(lambda: all_green(stack, "scheduled", [YESTERDAY]), "the scheduled night", 4 * NIGHT_S, 2)
        wait_until(lambda: all_green(stack, "backfill", BACKFILLED), "the backfill", 4 * NIGHT_S, 2)
        assert by_hand.wait(4 * NIGHT_S) in (0, REFUSED_STATUS)
    finally:
        by_hand.kill()
    runs = runs_by_day(stack, "scheduled") | runs_by_day(stack, "backfill")
    assert at_once([runs[str(day)] for day in (YESTERDAY, *BACKFILLED)]) == 3

    whole_partitions(Path(settings.lake))
    alone = Alone.beside(settings, tmp_path)
    for day in (*BACKFILLED, BY_HAND, YESTERDAY):
        alone.run(day)
        alone.has_equal_tables(settings, day)
    # A publish that a gate holds back is skipped; by hand it ends with a status of its own.
    states = {
        day: stack.task_states(DAG, runs[str(day)]["dag_run_id"])["publish"] for day in (YESTERDAY, *BACKFILLED)
    }
    published = [str(day) for day, state in states.items() if state == "success"]
    with closing(open_store(settings.store)) as store:
        pointer = store.pointer()
    assert pointer.highest_day == max([*published, str(BY_HAND)] if by_hand.returncode == 0 else published)
    assert pointer.live is not None
    assert pointer.live[:10] == pointer.highest_day


def at_once(runs: list[dict[str, str]]) -> int:
    """Return how many of the runs went on at one time at most."""
    spans = [(datetime.fromisoformat(run["start_date"]), datetime.fromisoformat(run["end_date"])) for run in runs]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


def whole_partitions(lake: Path) -> None:
    """Fail unless every partition has its manifest, and its files are those that the manifest swears to."""
    manifests = sorted(lake.glob("**/ds=*/_manifest.json"))
    assert manifests
    for path in manifests:
        for name, digest in json.loads(path.read_text())["files"].items():
            assert hashlib.sha256((path.parent / name).read_bytes()).hexdigest() == digest, path.parent / name
    without = {path.parent for path in lake.glob("**/ds=*/*.parquet")} - {path.parent for path in manifests}
    assert not without
