"""What a night says of the landing: in its output, in the report's facts, and also when ingest finds all current."""

import io
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.night.progress import StageProgress
from jobs.night.run import run_stages
from tests.conftest import Land

D1, D2 = date(2026, 1, 1), date(2026, 1, 2)
ITEMS = "item_id,title,price,Farbe [rot]\ni1,Mug,1,red\n,Pan,2,blue\n"
EVENTS = "user_id,item_id,event_type,ts\nu1,i1,view,{0}T01:00:00Z\nu1,i1,watched,{0}T01:00:00Z\n"
REMARKS = [
    "items: set aside 1 rows: missing_value",
    "passed over items: Farbe [rot]",
    "without users: no folder has landed",
]


@pytest.fixture
def output(spark: SparkSession, tmp_path: Path, landing: Path):
    """Run the ingest of a day as a night does, and return what it prints."""

    def of(ds: date) -> list[str]:
        progress = StageProgress()
        progress.console.file = io.StringIO()
        run_stages(Settings.below(tmp_path), Parameters(), ds, ["ingest"], progress)
        return [line.removeprefix("ingest: ") for line in progress.console.file.getvalue().splitlines()]

    return of


def test_a_night_tells_what_was_set_aside_missing_and_passed_over_also_when_the_day_is_current(
    land: Land, output
) -> None:
    land("items", f"{D1}", "a.csv", ITEMS)
    land("events", f"{D1}", "a.csv", EVENTS.format(D1))
    land("events", f"{D2}")
    first = output(D2)
    assert set(REMARKS) <= set(first)
    assert "events: set aside 1 rows: unknown_event_type" in first
    again = output(D2)
    assert "remarked when 2026-01-01 to 2026-01-02 was read:" in again
    assert set(REMARKS) <= set(again)


def test_a_day_read_later_has_remarks_of_its_own(land: Land, output) -> None:
    land("items", f"{D1}", "a.csv", ITEMS)
    land("events", f"{D1}", "a.csv", EVENTS.format(D1))
    output(D1)
    land("events", f"{D2}", "a.csv", EVENTS.format(D2))
    second = output(D2)
    assert "events: set aside 1 rows: unknown_event_type" in second
    assert not any(line.startswith("items: set aside") for line in second)
    land("items", f"{D1}", "b.csv", "item_id,Shade\ni3,red\n")
    corrected = output(D2)
    assert "passed over items: Farbe [rot] in 1 of 2 files" in corrected
    assert "remarked when 2026-01-02 was read:" in corrected
