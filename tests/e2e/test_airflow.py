"""Airflow runs the nights: two that it schedules, two backfilled by REST and by CLI.

What it made must be what `topshelf nightly` makes of the same days, and the pointer must stand on the last day.
"""

import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.config.settings import Settings
from tests.e2e.airflow_nights import (
    DAG,
    NIGHT_S,
    YESTERDAY,
    Alone,
    airflow,
    all_green,
    backfill_by_rest,
    live_version,
    no_backfill_is_open,
    runs_by_day,
    tiny_shop,
    versions,
)
from tests.e2e.airflow_stack import Stack, wait_until

SCHEDULED = [YESTERDAY - timedelta(days=ago) for ago in (1, 0)]
BACKFILLED = [YESTERDAY - timedelta(days=ago) for ago in (3, 2)]


@pytest.fixture
def settings(spark: SparkSession, tmp_path: Path) -> Settings:
    return tiny_shop(spark, tmp_path, days=8)


@pytest.fixture
def stack(settings: Settings, tmp_path: Path) -> Iterator[Stack]:
    with airflow(tmp_path, settings, TOPSHELF_FIRST_NIGHT=str(SCHEDULED[0])) as running:
        yield running


def backfill_by_cli(stack: Stack, day: date) -> None:
    stack.command("cli", "backfill", "create", "--dag-id", DAG, "--from-date", str(day), "--to-date", str(day))


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_scheduled_and_backfilled_nights_are_those_of_the_command_line(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    alone = Alone.beside(settings, tmp_path)
    tell = Clock()
    wait_until(lambda: stack.api("GET", "/dags")["total_entries"] > 0, "the DAG processor")
    stack.api("PATCH", f"/dags/{DAG}", {"is_paused": False})
    for day in SCHEDULED:
        alone.run(day)  # while Airflow works, and in its order, as gates compare with what was there before
    wait_until(lambda: all_green(stack, "scheduled", SCHEDULED), "the scheduled nights", 2 * NIGHT_S, 1)
    tell("two scheduled nights")
    live = live_version(settings.store)
    assert live == live_version(alone.settings.store)
    made = versions(settings.store)

    # Days before the first scheduled night can be backfilled where no first night is named.
    stack.env.pop("TOPSHELF_FIRST_NIGHT")
    stack.restart("dag-processor")
    wait_until(lambda: not stack.api("GET", f"/dags/{DAG}/details")["catchup"], "the DAG without a first night")
    for day, start in zip(BACKFILLED, (backfill_by_rest, backfill_by_cli), strict=True):
        wait_until(lambda: no_backfill_is_open(stack), "the end of the backfill before", 300, 1)
        start(stack, day)
        alone.run(day)
        wait_until(lambda until=day: all_green(stack, "backfill", [until]), f"the backfill of {day}", NIGHT_S, 1)
        tell(start.__name__)
        assert live_version(settings.store) == live
        made |= versions(settings.store)

    runs = runs_by_day(stack, "scheduled") | runs_by_day(stack, "backfill")
    for day in (*SCHEDULED, *BACKFILLED):
        alone.is_equal(stack, settings, day, runs[str(day)])
    assert sorted(day for day in runs if runs[day]["run_type"] == "backfill") == [str(day) for day in BACKFILLED]
    assert made.items() <= alone.made.items()
    assert {version[:10] for version in made} >= {str(day) for day in (*BACKFILLED, *SCHEDULED[1:])}
    assert live_version(alone.settings.store) == live


class Clock:
    """Tells what each step of the test took."""

    def __init__(self) -> None:
        self.since = time.monotonic()

    def __call__(self, step: str) -> None:
        now = time.monotonic()
        sys.stdout.write(f"{step}: {now - self.since:.0f} s\n")
        self.since = now
