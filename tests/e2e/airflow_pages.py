"""What an operator clicks on Airflow's pages: log in, trigger a run, start a backfill."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.airflow_nights import DAG
from tests.e2e.airflow_stack import ROOT, Stack

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@contextmanager
def signed_in(stack: Stack) -> Iterator["Page"]:
    """Log in as the administrator; yield the page."""
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
        yield page
        browser.close()


def trigger_by_clicking(page: "Page", stack: Stack, day: date | None) -> None:
    """Open the DAG, Trigger, fill in the day if one is given, Trigger."""
    page.goto(f"{stack.address}/dags/{DAG}")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Day of a single run (needed)").first.wait_for()
    if day is not None:
        dialog.locator("input[name='element_ds']").fill(str(day))
    page.screenshot(path=shots_folder() / f"trigger-form-{day or 'without-a-day'}.png")
    dialog.get_by_role("button", name="Trigger", exact=True).click()
    dialog.wait_for(state="detached")


def backfill_by_clicking(page: "Page", stack: Stack, first: date, last: date) -> None:
    """Open the DAG, Trigger, Backfill, fill in the days, Run Backfill."""
    page.goto(f"{stack.address}/dags/{DAG}")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Backfill", exact=True).first.click()
    for place, day in enumerate((first, last)):
        # A field that is filled in no longer asks for its date, so the next one is the first that does.
        dialog.get_by_text("Select date and time").first.click()
        page.get_by_placeholder("YYYY/MM/DD").last.fill(day.strftime("%Y/%m/%d"))
        page.get_by_placeholder("HH:mm").last.fill("00:00")
        page.keyboard.press("Escape") if place else dialog.get_by_text("Date Range").click()
    page.screenshot(path=shots_folder() / "backfill-form.png")
    dialog.get_by_role("button", name="Run Backfill").click()
    page.goto(f"{stack.address}/dags/{DAG}/backfills")
    page.wait_for_timeout(3_000)
    page.screenshot(path=shots_folder() / "backfills.png")


def shots_folder() -> Path:
    """Where screenshots go: TOPSHELF_TEST_OUTPUT, or build/test-output."""
    folder = Path(os.environ.get("TOPSHELF_TEST_OUTPUT") or ROOT / "build/test-output")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
