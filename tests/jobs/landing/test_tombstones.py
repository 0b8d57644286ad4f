"""Rows of erased shoppers leave landing, in every format, and nothing else does."""

import gzip
import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.landing.folders import Landing
from jobs.landing.tombstones import erase_from_landing, erased_users, without
from serving.snapshot.tombstones import Tombstones, tombstone_line
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
        return [(row["user_id"], row["ts"]) for row in pq.read_table(path).to_pylist()]
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    if ".jsonl" in path.suffixes:
        rows = [json.loads(line) for line in text.splitlines()]
    else:
        header, *lines = (line.split(",") for line in text.splitlines())
        rows = [{name: value or None for name, value in zip(header, line, strict=True)} for line in lines]
    return [(row["user_id"], row["ts"]) for row in rows]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz"])
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
@pytest.mark.parametrize(
    "torn", [b"", gzip.compress(b'{"user_id":"cleo"}\n' * 99)[:-9], b"\x1f"], ids=["whole", "member", "head"]
)
def test_an_erased_shoppers_answers_go_whole_and_with_them_a_torn_end(land: Land, landing: Path, torn: bytes) -> None:
    answers = [
        {"request_id": f"{user}-{at}", "user_id": user, "ts": at, "item_ids": ["mug", "pan"], "positions": [0, 1]}
        for user in ("anna", "ben")
        for at in (BEFORE, AFTER)
    ]
    members = [gzip.compress(json.dumps(answer).encode() + b"\n", mtime=0) for answer in answers]
    path = land("exposures", "2026-02-01", "a.jsonl.gz", b"".join(members) + torn)
    went = erase_from_landing(str(landing), erased_users(str(landing)), TODAY)
    assert went == {"exposures/ds=2026-02-01/a.jsonl.gz": 1}
    assert left(path) == [("anna", AFTER), ("ben", BEFORE), ("ben", AFTER)]


def test_a_table_loses_all_rows_of_erased_users_and_no_others() -> None:
    tombstones = Tombstones()
    tombstones.take([tombstone_line("anna", ERASED_AT)])
    table = pa.table({"user_id": ["anna", "ben", "cleo", "anna"], "row": [1, 2, 3, 4]})
    assert without(table, tombstones)["row"].to_pylist() == [2, 3]
    assert without(table, Tombstones()) is table


@pytest.mark.usefixtures("anna_is_erased")
def test_a_row_that_is_none_or_has_no_time_keeps_no_erasure_from_being_done(land: Land, landing: Path) -> None:
    damaged = b'{"user_id":"\xff"}\n' + b'{"x":' + b"[" * 50_000 + b"\n"
    rows = [event("anna", "yesterday"), event("ben", "yesterday")]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path = land("events", "2026-02-01", "a.jsonl", damaged + lines)
    assert erase_from_landing(str(landing), erased_users(str(landing)), TODAY) == {"events/ds=2026-02-01/a.jsonl": 1}
    assert path.read_bytes() == damaged + lines[lines.index(b"\n") + 1 :]
