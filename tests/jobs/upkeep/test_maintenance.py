"""What the shop must forget is forgotten: erased shoppers, old partitions; the archive is put to the test."""

import gzip
import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config.settings import Settings
from jobs.lake.lake import Lake
from jobs.landing.folders import Landing
from jobs.landing.tombstones import erase_from_landing, erased_users
from jobs.upkeep.maintenance import forget, maintain
from serving.snapshot.tombstones import tombstone_line
from tests.conftest import Land

TODAY = date(2026, 3, 1)
ERASED_AT = 1_769_940_000.0  # 2026-02-01T10:00:00Z


@pytest.fixture
def anna_is_erased(landing: Path) -> None:
    (landing / "tombstones").mkdir()
    (landing / "tombstones" / "host.jsonl").write_bytes(tombstone_line("anna", ERASED_AT))


def event(user: str | None, ts: str) -> dict[str, object]:
    return {"user_id": user, "item_id": "mug", "event_type": "view", "ts": ts}


BEFORE, AFTER = "2026-02-01T09:00:00Z", "2026-02-01T11:00:00Z"
ROWS = [event("anna", BEFORE), event("ben", BEFORE), event("anna", AFTER), event(None, BEFORE)]


def left(path: Path) -> list[tuple[object, object]]:
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        header, *lines = (line.split(",") for line in text.splitlines())
        rows = [{name: value or None for name, value in zip(header, line, strict=True)} for line in lines]
    return [(row["user_id"], row["ts"]) for row in rows]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.csv", "a.csv.gz"])
@pytest.mark.usefixtures("anna_is_erased")
def test_an_erased_shoppers_rows_up_to_then_leave_landing_in_every_format(
    land: Land, landing: Path, name: str
) -> None:
    if name.startswith("a.csv"):
        text = "user_id,item_id,event_type,ts\n"
        content: object = text + "".join(f"{row['user_id'] or ''},mug,view,{row['ts']}\n" for row in ROWS)
    else:
        content = pa.Table.from_pylist(ROWS) if name.endswith("parquet") else ROWS
    path = land("events", "2026-02-01", name, content)
    before = Landing(str(landing)).fingerprint(Landing(str(landing)).days("events", date(2026, 2, 1))[0])
    went = erase_from_landing(str(landing), erased_users(str(landing)), TODAY)
    assert went == {f"events/ds=2026-02-01/{name}": 1}
    assert left(path) == [("ben", BEFORE), ("anna", AFTER), (None, BEFORE)]
    day = Landing(str(landing)).days("events", date(2026, 2, 1))[0]
    assert [file.name for file in day.files] == [name]
    assert Landing(str(landing)).fingerprint(day) != before, "the next night would not stage the day anew"
    assert json.loads((path.parent / "_redacted.json").read_text()) == {name: 1}
    assert erase_from_landing(str(landing), erased_users(str(landing)), TODAY) == {}


@pytest.mark.usefixtures("anna_is_erased")
def test_rows_of_users_go_by_their_folders_day_and_files_without_the_shopper_stay_as_they_are(
    land: Land, landing: Path
) -> None:
    early = land("users", "2026-02-01", "a.csv", "user_id,region\nanna,eu\nben,us\n")
    late = land("users", "2026-02-02", "a.csv", "user_id,region\nanna,eu\n")
    other = land("exposures", "2026-02-01", "a.jsonl", b'{"user_id":"ben","ts":"2026-02-01T09:00:00Z"}\nnot a row\n')
    kept = (late.read_bytes(), other.read_bytes())
    assert erase_from_landing(str(landing), erased_users(str(landing)), TODAY) == {"users/ds=2026-02-01/a.csv": 1}
    assert early.read_text() == "user_id,region\nben,us\n"
    assert (late.read_bytes(), other.read_bytes()) == kept


@pytest.mark.usefixtures("anna_is_erased")
def test_days_that_the_endpoint_still_writes_wait_for_the_next_run(land: Land, landing: Path) -> None:
    land("events", "2026-02-28", "a.jsonl", ROWS)
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
