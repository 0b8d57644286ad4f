"""Everything that runs a night dies once: each task's job, the scheduler with all it started, PostgreSQL.

Runs where TOPSHELF_TEST_KILLS is set: it takes as long as two nights by Airflow, five minutes and more.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession

from jobs.lake import Lake
from jobs.nightly import nightly
from jobs.settings import Settings
from jobs.synthetic_shop import synthetic_shop
from tests.e2e.airflow_stack import Stack, needs_airflow_and_postgres, wait_until
from tests.e2e.test_airflow import DAG, PARAMETERS, YESTERDAY, all_green, live_version, versions
from tests.e2e.test_night import BUILT, rows_sha256

TASKS = {"ingest", "features", "train_cf", "train_ranker", "candidates", "validate", "publish"}
"""The first stage of each task."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3_600),
    pytest.mark.skipif("TOPSHELF_TEST_KILLS" not in os.environ, reason="TOPSHELF_TEST_KILLS is not set"),
]


@pytest.fixture
def settings(spark: SparkSession, tmp_path: Path) -> Settings:
    made = Settings(str(tmp_path / "landing"), str(tmp_path / "lake"), f"lmdb://{tmp_path / 'store'}")
    first = YESTERDAY.fromordinal(YESTERDAY.toordinal() - 5)
    synthetic_shop(spark, Path(made.landing), tmp_path / "truth", 60, 80, 700, first, YESTERDAY, 7)
    (tmp_path / "parameters.json").write_text(json.dumps(asdict(PARAMETERS)))
    return made


@pytest.fixture
def stack(settings: Settings, tmp_path: Path) -> Iterator[Stack]:
    needs_airflow_and_postgres()
    variables = {
        "TOPSHELF_LANDING": settings.landing,
        "TOPSHELF_LAKE": settings.lake,
        "TOPSHELF_STORE": settings.store,
        "TOPSHELF_PARAMETERS": str(tmp_path / "parameters.json"),
        "TOPSHELF_RETRY_DELAY_S": "2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1",
    }
    running = Stack(tmp_path, variables)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def running_jobs(stack: Stack) -> dict[str, psutil.Process]:
    """Return the jobs that tasks run now, by their first stage."""
    found = {}
    scheduler = stack.running.get("scheduler")
    for process in psutil.Process(scheduler.pid).children(recursive=True) if scheduler else ():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue  # it has just ended
        if "jobs.nightly" in words and "--stages" in words:
            found[words[words.index("--stages") + 1]] = process
    return found


def kill_each_once(stack: Stack, day_s: float) -> set[str]:
    """Kill each task's job at its first attempt, on second ones the scheduler and PostgreSQL; return what died."""
    killed: set[str] = set()
    deadline = time.monotonic() + day_s
    while not all_green(stack, "scheduled", [YESTERDAY]):
        assert time.monotonic() < deadline, f"the night has not ended; killed so far: {killed}"
        for stage, process in running_jobs(stack).items():
            if stage not in killed:
                killed.add(stage)
                # Somewhere in the middle of a job that works, rather than at its start; publish is over in a moment.
                time.sleep(0.5 if stage == "publish" else 4)
                if process.is_running():
                    process.send_signal(signal.SIGKILL)
            elif stage == "features" and "the scheduler" not in killed:
                killed.add("the scheduler")
                time.sleep(3)
                stack.kill("scheduler")
                stack.start_component("scheduler")
            elif stage == "candidates" and "PostgreSQL" not in killed:
                killed.add("PostgreSQL")
                stack.postgres.stop(signal.SIGQUIT)
                stack.postgres.start()
        time.sleep(0.3)
    return killed


def test_a_night_in_which_everything_dies_once_ends_as_one_left_alone(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    wait_until(lambda: stack.api("GET", "/dags")["total_entries"] > 0, "the DAG processor")
    stack.api("PATCH", f"/dags/{DAG}", {"is_paused": False})
    assert kill_each_once(stack, 2_400) == TASKS | {"the scheduler", "PostgreSQL"}
    other = replace(settings, lake=str(tmp_path / "other-lake"), store=f"lmdb://{tmp_path / 'other-store'}")
    night = nightly(other, PARAMETERS, YESTERDAY)
    for table in BUILT:
        assert rows_sha256(Lake(settings.lake), table, YESTERDAY) == rows_sha256(Lake(other.lake), table, YESTERDAY)
    assert live_version(settings.store) == night.version
    assert versions(settings.store) == versions(other.store)
