"""What the shop must forget is forgotten: erased shoppers, old partitions; the archive is put to the test."""

from datetime import date
from pathlib import Path

import pytest

from jobs.config.settings import Settings
from jobs.lake.lake import Lake
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
        for day in ("2025-12-30", "2025-12-31", "2026-01-31"):
            folder = Path(lake.root, table, f"ds={day}")
            folder.mkdir(parents=True)
            (folder / "_manifest.json").write_text("{}")
    gone = forget(lake, str(landing), TODAY)
    derived = ("artifacts/cf", "features/user", "marts/top_n", "marts/validation")
    reports = {"marts/validation/ds=2025-12-31", "marts/validation/ds=2026-01-31"}
    assert set(gone) == {f"{table}/ds=2025-12-30" for table in derived} | reports
    assert len(list(Path(lake.root, "staging/interactions").iterdir())) == 3
