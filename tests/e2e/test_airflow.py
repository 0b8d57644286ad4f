"""Airflow runs the nights: three that it schedules, three backfilled by REST, by CLI and by clicking its pages.

What it made must be what `topshelf nightly` makes of the same days, and the pointer must stand on the last day.
"""

import os
import shutil
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

SCHEDULED = [YESTERDAY - timedelta(days=ago) for ago in (2, 1, 0)]
BACKFILLED = [YESTERDAY - timedelta(days=ago) for ago in (5, 4, 3)]
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@pytest.fixture
def settings(spark: SparkSession, tmp_path: Path) -> Settings:
    return tiny_shop(spark, tmp_path, days=10)


@pytest.fixture
def stack(settings: Settings, tmp_path: Path) -> Iterator[Stack]:
    with airflow(tmp_path, settings, TOPSHELF_FIRST_NIGHT=str(SCHEDULED[0])) as running:
        yield running


def backfill_by_cli(stack: Stack, day: date) -> None:
    stack.command("cli", "backfill", "create", "--dag-id", DAG, "--from-date", str(day), "--to-date", str(day))


def backfill_by_clicking(stack: Stack, day: date) -> None:
    """Do what an operator does: log in, open the DAG, Trigger, Backfill, fill in the day, Run Backfill."""
    from playwright.sync_api import sync_playwright

    shots = shots_folder()

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program is not None, "Chromium is not installed; apt-get install chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(CHROMIUM))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(90_000)
        page.goto(stack.address)
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", stack.password)
        page.locator("input[type=submit],button[type=submit]").first.click()
        page.wait_for_url(lambda url: "login" not in url)
        page.goto(f"{stack.address}/dags/{DAG}")
        page.get_by_role("button", name="Trigger").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Backfill", exact=True).first.click()
        for place in (0, 1):
            # A field that is filled in no longer asks for its date, so the next one is the first that does.
            dialog.get_by_text("Select date and time").first.click()
            page.get_by_placeholder("YYYY/MM/DD").last.fill(day.strftime("%Y/%m/%d"))
            page.get_by_placeholder("HH:mm").last.fill("00:00")
            page.keyboard.press("Escape") if place else dialog.get_by_text("Date Range").click()
        page.screenshot(path=shots / "backfill-form.png")
        dialog.get_by_role("button", name="Run Backfill").click()
        wait_until(lambda: str(day) in runs_by_day(stack, "backfill"), "the backfill that was clicked")
        page.goto(f"{stack.address}/dags/{DAG}/backfills")
        page.wait_for_timeout(3_000)
        page.screenshot(path=shots / "backfills.png")
        browser.close()


def shots_folder() -> Path:
    """Where screenshots go: TOPSHELF_TEST_OUTPUT, or build/test-output."""
    folder = Path(os.environ.get("TOPSHELF_TEST_OUTPUT") or Path(__file__).resolve().parents[2] / "build/test-output")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
    wait_until(lambda: all_green(stack, "scheduled", SCHEDULED), "the scheduled nights", 3 * NIGHT_S, 1)
    tell("three scheduled nights")
    live = live_version(settings.store)
    assert live == live_version(alone.settings.store)
    made = versions(settings.store)

    # Days before the first scheduled night can be backfilled where no first night is named.
    stack.env.pop("TOPSHELF_FIRST_NIGHT")
    stack.restart("dag-processor")
    wait_until(lambda: not stack.api("GET", f"/dags/{DAG}/details")["catchup"], "the DAG without a first night")
    for day, start in zip(BACKFILLED, (backfill_by_rest, backfill_by_cli, backfill_by_clicking), strict=True):
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
