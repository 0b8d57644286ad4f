"""Airflow runs the nights: three that it schedules, three backfilled by REST, by CLI and by clicking its pages.

What it made must be what `topshelf nightly` makes of the same days, and the pointer must stand on the last day.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.lake import Lake
from jobs.nightly import nightly
from jobs.settings import Parameters, Settings
from jobs.synthetic_shop import synthetic_shop
from serving.stores import open_store
from tests.e2e.airflow_stack import Stack, needs_airflow_and_postgres, wait_until
from tests.e2e.test_night import BUILT, rows_sha256

DAG = "nightly_recommendations"
PARAMETERS = Parameters(
    top_n=20,
    label_windows=1,
    horizon_days=1,
    min_history_days=3,
    trees=5,
    als_factors=8,
    als_iterations=3,
    candidates_per_user=40,
)
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
SCHEDULED = [YESTERDAY - timedelta(days=ago) for ago in (2, 1, 0)]
BACKFILLED = [YESTERDAY - timedelta(days=ago) for ago in (5, 4, 3)]
NIGHT_S = 900.0
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@pytest.fixture(scope="module")
def places(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A folder, and a tiny shop in it that has landed up to yesterday."""
    folder = tmp_path_factory.mktemp("airflow-shop")
    settings = Settings(str(folder / "landing"), str(folder / "lake"), f"lmdb://{folder / 'store'}")
    first = YESTERDAY - timedelta(days=11)
    synthetic_shop(spark, Path(settings.landing), folder / "truth", 60, 80, 1_200, first, YESTERDAY, 7)
    (folder / "parameters.json").write_text(json.dumps(asdict(PARAMETERS)))
    return folder, settings


@pytest.fixture(scope="module")
def stack(places: tuple[Path, Settings]) -> Iterator[Stack]:
    needs_airflow_and_postgres()
    folder, settings = places
    variables = {
        "TOPSHELF_LANDING": settings.landing,
        "TOPSHELF_LAKE": settings.lake,
        "TOPSHELF_STORE": settings.store,
        "TOPSHELF_PARAMETERS": str(folder / "parameters.json"),
        "TOPSHELF_FIRST_NIGHT": str(SCHEDULED[0]),
        "TOPSHELF_RETRY_DELAY_S": "5",
        # Most of these nights is Java starting: compile quickly rather than well.
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1",
    }
    running = Stack(folder, variables)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def runs_by_day(stack: Stack, run_type: str) -> dict[str, dict[str, Any]]:
    return {run["logical_date"][:10]: run for run in stack.runs(DAG) if run["run_type"] == run_type}


def all_green(stack: Stack, run_type: str, days: list[date]) -> bool:
    """Tell whether the nights have all succeeded; fail with the tasks' states as soon as one has not."""
    found = runs_by_day(stack, run_type)
    for day, run in found.items():
        assert run["state"] != "failed", f"{day}: {stack.task_states(DAG, run['dag_run_id'])}"
    return all(found.get(str(day), {}).get("state") == "success" for day in days)


def no_backfill_is_open(stack: Stack) -> bool:
    """Tell whether a further backfill is taken: one that has ended is closed by the scheduler half a minute on."""
    return all(one["completed_at"] for one in stack.api("GET", f"/backfills?dag_id={DAG}")["backfills"])


def backfill_by_rest(stack: Stack, day: date) -> None:
    body = {"dag_id": DAG, "from_date": f"{day}T00:00:00Z", "to_date": f"{day}T00:00:00Z", "max_active_runs": 1}
    stack.api("POST", "/backfills", body | {"reprocess_behavior": "none", "run_backwards": False, "dag_run_conf": {}})


def backfill_by_cli(stack: Stack, day: date) -> None:
    stack.command("cli", "backfill", "create", "--dag-id", DAG, "--from-date", str(day), "--to-date", str(day))


def backfill_by_clicking(stack: Stack, day: date, shots: Path) -> None:
    """Do what an operator does: log in, open the DAG, Trigger, Backfill, fill in the day, Run Backfill."""
    from playwright.sync_api import sync_playwright

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
@pytest.mark.skipif("TOPSHELF_TEST_AIRFLOW" not in os.environ, reason="TOPSHELF_TEST_AIRFLOW is not set")
def test_scheduled_and_backfilled_nights_are_those_of_the_command_line(
    stack: Stack, places: tuple[Path, Settings], tmp_path: Path
) -> None:
    settings = places[1]
    wait_until(lambda: stack.api("GET", "/dags")["total_entries"] > 0, "the DAG processor")
    stack.api("PATCH", f"/dags/{DAG}", {"is_paused": False})
    wait_until(lambda: all_green(stack, "scheduled", SCHEDULED), "the scheduled nights", 3 * NIGHT_S, 2)
    live = live_version(settings.store)

    # Days before the first scheduled night can be backfilled where no first night is named.
    stack.env.pop("TOPSHELF_FIRST_NIGHT")
    stack.restart("dag-processor")
    wait_until(lambda: not stack.api("GET", f"/dags/{DAG}/details")["catchup"], "the DAG without a first night")
    made = versions(settings.store)
    for day, start in zip(BACKFILLED, (backfill_by_rest, backfill_by_cli, None), strict=True):
        start(stack, day) if start else backfill_by_clicking(stack, day, shots_folder())
        wait_until(lambda until=day: all_green(stack, "backfill", [until]), f"the backfill of {day}", NIGHT_S, 2)
        wait_until(lambda: no_backfill_is_open(stack), "the end of the backfill", 300, 2)
        made |= versions(settings.store)
        assert live_version(settings.store) == live

    # The same nights by the command line, elsewhere, in the same order, as gates compare with what was there before.
    other = replace(settings, lake=str(tmp_path / "lake"), store=f"lmdb://{tmp_path / 'store'}")
    ran, alone, expected = Lake(settings.lake), Lake(other.lake), {}
    runs = runs_by_day(stack, "scheduled") | runs_by_day(stack, "backfill")
    for day in (*SCHEDULED, *BACKFILLED):
        night = nightly(other, PARAMETERS, day)
        for table in BUILT:
            assert rows_sha256(ran, table, day) == rows_sha256(alone, table, day), (table, day)
        states = stack.task_states(DAG, runs[str(day)]["dag_run_id"])
        # In so small a shop a gate may find one night too unlike another: its publish is then skipped, by either way.
        assert states.pop("publish") == ("skipped" if night.refused else "success"), day
        assert set(states.values()) == {"success"}, day
        expected |= versions(other.store)
        if day == YESTERDAY:
            assert live_version(other.store) == live
    assert made.items() <= expected.items()
    assert {version[:10] for version in made} >= {str(day) for day in (*BACKFILLED, *SCHEDULED[1:])}
    assert live_version(other.store) == live


def live_version(store_url: str) -> str | None:
    store = open_store(store_url)
    try:
        return store.pointer().live
    finally:
        store.close()


def versions(store_url: str) -> dict[str, list[object]]:
    """What each stored version's shelves and blobs hash to."""
    store = open_store(store_url)
    try:
        return {manifest.version: [manifest.shards, manifest.blobs] for manifest in store.versions()}
    finally:
        store.close()
