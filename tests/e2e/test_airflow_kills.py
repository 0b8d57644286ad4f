"""Everything that runs a night dies once: each task's job, the scheduler with all it started, PostgreSQL.

Runs where TOPSHELF_TEST_KILLS is set: it takes as long as two nights by Airflow, five minutes and more. A Spark
worker dies in test_airflow_cluster.
"""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession

from jobs.config.settings import Settings
from tests.e2e.airflow_nights import (
    ASKED_FOR,
    DAG,
    YESTERDAY,
    Alone,
    airflow,
    all_green,
    live_version,
    runs_by_day,
    tiny_shop,
    versions,
)
from tests.e2e.airflow_stack import ApiError, Stack, wait_until

TASKS = {"ingest", "features", "train_cf", "train_ranker", "candidates", "validate", "publish"}
"""The first stage of each task."""

pytestmark = ASKED_FOR


@pytest.fixture
def settings(spark: SparkSession, tmp_path: Path) -> Settings:
    return tiny_shop(spark, tmp_path, days=6)


@pytest.fixture
def stack(settings: Settings, tmp_path: Path) -> Iterator[Stack]:
    quick = {
        "TOPSHELF_RETRY_DELAY_S": "2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
    }
    with airflow(tmp_path, settings, **quick) as running:
        yield running


def running_jobs(stack: Stack) -> dict[str, psutil.Process]:
    """Return the jobs that tasks run now, by their first stage."""
    found = {}
    scheduler = stack.running.get("scheduler")
    for process in psutil.Process(scheduler.pid).children(recursive=True) if scheduler else ():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue  # it has just ended
        if "nightly" in words and "--stages" in words:
            found[words[words.index("--stages") + 1].split(",")[0]] = process
    return found


def ended(stack: Stack) -> bool:
    """Tell whether the night is green; an API whose database is away just now does not say."""
    try:
        return all_green(stack, "scheduled", [YESTERDAY])
    except (ApiError, OSError):
        return False


def kill_each_once(stack: Stack, day_s: float) -> list[str]:
    """Kill each task's job at its first attempt, on second ones the scheduler and PostgreSQL; return what died."""
    killed: dict[str, float] = {}
    began = time.monotonic()

    def dies(name: str) -> None:
        killed[name] = time.monotonic() - began
        sys.stdout.write(f"{killed[name]:6.1f} s: {name} dies\n")

    while not ended(stack):
        assert time.monotonic() - began < day_s, f"the night has not ended; killed so far: {killed}"
        for stage, process in running_jobs(stack).items():
            if stage not in killed:
                # Somewhere in the middle of a job that works, rather than at its start; some are over in a moment.
                time.sleep(4 if stage in ("ingest", "features", "candidates") else 1.5)
                if process.is_running():
                    dies(stage)
                    process.send_signal(signal.SIGKILL)
            elif stage == "features" and "the scheduler" not in killed:
                time.sleep(3)
                dies("the scheduler")
                stack.kill("scheduler")
                stack.start_component("scheduler")
            elif stage == "candidates" and "PostgreSQL" not in killed:
                dies("PostgreSQL")
                stack.postgres.stop(signal.SIGQUIT)
                stack.postgres.start()
        for name in stack.revive():
            sys.stdout.write(f"{time.monotonic() - began:6.1f} s: {name} had ended and is started again\n")
        time.sleep(0.3)
    sys.stdout.write(f"{time.monotonic() - began:6.1f} s: the night is green\n")
    return sorted(killed)


def test_a_night_in_which_everything_dies_once_ends_as_one_left_alone(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    wait_until(lambda: stack.api("GET", "/dags")["total_entries"] > 0, "the DAG processor")
    stack.api("PATCH", f"/dags/{DAG}", {"is_paused": False})
    assert kill_each_once(stack, 2_400) == sorted(TASKS | {"the scheduler", "PostgreSQL"})
    run = runs_by_day(stack, "scheduled")[str(YESTERDAY)]
    tries = {task["task_id"]: task["try_number"] for task in stack.tasks(DAG, run["dag_run_id"])}
    sys.stdout.write(f"tries: {tries}\n")
    alone = Alone.beside(settings, tmp_path)
    alone.run(YESTERDAY)
    alone.is_equal(stack, settings, YESTERDAY, run)
    assert live_version(settings.store) == alone.nights[YESTERDAY].version
    assert versions(settings.store) == alone.made
