"""What the shop must forget is forgotten: erased shoppers, old partitions; the archive is put to the test."""

from datetime import date
from pathlib import Path

import pytest

from jobs.config.retention import Retention
from jobs.config.settings import Settings
from jobs.lake.contracts import contract, tables
from jobs.lake.lake import Lake
from jobs.upkeep.erasure import DERIVED
from jobs.upkeep.maintenance import forget, maintain
from serving.snapshot.tombstones import tombstone_line
from tests.conftest import Land

TODAY = date(2026, 3, 1)
ERASED_AT = 1_769_940_000.0  # 2026-02-01T10:00:00Z


@pytest.fixture
def anna_is_erased(landing: Path) -> None:
    (landing / "tombstones").mkdir()
    (landing / "tombstones" / "host.jsonl").write_bytes(tombstone_line("anna", ERASED_AT))


@pytest.mark.usefixtures("anna_is_erased")
def test_days_that_the_endpoint_still_writes_wait_for_the_next_run(land: Land, landing: Path) -> None:
    rows = [{"user_id": "anna", "item_id": "mug", "event_type": "view", "ts": "2026-02-01T09:00:00Z"}]
    land("events", "2026-02-28", "a.jsonl", rows)
    done = maintain(Settings(landing=str(landing), lake=str(landing.parent / "lake"), store="lmdb://nowhere"), TODAY)
    assert (done.erased_users, done.redacted_rows) == (1, {})
    assert done.restored == "no archive is configured, so none was restored"


def test_derived_partitions_past_their_days_go_and_staging_stays(lake: Lake, landing: Path) -> None:
    for table in ("features/user", "marts/top_n", "marts/validation", "artifacts/cf", "staging/interactions"):
        for day in ("2025-12-10", "2025-12-11", "2026-01-31"):
            folder = Path(lake.root, table, f"ds={day}")
            folder.mkdir(parents=True)
            (folder / "_manifest.json").write_text("{}")
    gone = forget(lake, str(landing), TODAY)
    derived = ("artifacts/cf", "features/user", "marts/top_n", "marts/validation")
    reports = {"marts/validation/ds=2025-12-11", "marts/validation/ds=2026-01-31"}
    assert set(gone) == {f"{table}/ds=2025-12-10" for table in derived} | reports
    assert len(list(Path(lake.root, "staging/interactions").iterdir())) == 3


def test_reports_and_run_records_go_with_the_pages_they_belong_to(lake: Lake, landing: Path) -> None:
    for folder in ("runs/ds=2026-01-31", "runs/ds=2026-02-01", "held_out/runs/ds=2026-01-31"):
        Path(lake.root, folder).mkdir(parents=True)
        Path(lake.root, folder, "report.html").touch()
    for kept in ("runs/maintenance/2025-01-01.json", "runs/code/abc.json"):
        Path(lake.root, kept).parent.mkdir()
        Path(lake.root, kept).touch()
    assert forget(lake, str(landing), TODAY) == ["runs/ds=2026-01-31", "runs/ds=2026-01-31"]
    assert {path.name for path in Path(lake.root, "runs").iterdir()} == {"ds=2026-02-01", "maintenance", "code"}


def test_a_deployment_sets_how_long_things_are_kept(lake: Lake, landing: Path) -> None:
    for folder in ("features/user", "marts/validation", "runs"):
        Path(lake.root, folder, "ds=2026-02-20").mkdir(parents=True)
        Path(lake.root, folder, "ds=2025-12-10").mkdir(parents=True)
    (landing / "exposures/ds=2025-12-10").mkdir(parents=True)
    gone = forget(lake, str(landing), TODAY, Retention(derived_days=90, reports_days=7, exposures_days=77))
    reports = [f"{table}/ds={day}" for table in ("marts/validation", "runs") for day in ("2025-12-10", "2026-02-20")]
    assert gone == [*reports, "landing/exposures/ds=2025-12-10"]


def test_an_erasure_looks_into_every_derived_table_that_names_shoppers() -> None:
    derived = [*tables("features"), *tables("marts")]
    assert sorted(DERIVED) == [
        table
        for table in sorted(derived)
        if {"user_id", "owner"} & {column.name for column in contract(table).columns}
    ]
