"""What landed since the night, read while it is still being written."""

import gzip
from datetime import date
from pathlib import Path

import pyarrow as pa

from jobs.landing.folders import has_landed
from jobs.landing.recent import recent_rows
from tests.conftest import Land

DAY, NEXT = date(2026, 2, 1), date(2026, 2, 2)


def test_rows_of_every_format_come_as_text_in_order_of_day_and_file(land: Land, landing: Path) -> None:
    land("items", "2026-02-02", "a.jsonl", [{"item_id": "c", "price": 9}, {"item_id": "d", "price": "12.50"}])
    land("items", "2026-02-01", "b.csv", 'item_id,"price"\nb,0012.00\n', mark=False)
    land("items", "2026-02-01", "a.csv.gz", "item_id,price\n007,\n", mark=False)
    land("items", "2026-02-02", "b.parquet", pa.table({"item_id": ["e"], "price": [1.5]}))
    land("items", "2026-02-02", "c.jsonl.gz", [{"item_id": "f", "price": 8}])
    rows, passed_over = recent_rows(str(landing), "items", [NEXT, DAY], ("item_id", "price", "stock"))
    assert passed_over == []
    assert rows["item_id"].to_pylist() == ["007", "b", "c", "d", "e", "f"]
    assert rows["price"].to_pylist() == [None, "12.00", "9.00", "12.50", "1.50", "8.00"]
    assert rows["stock"].null_count == 6


def test_a_line_or_a_file_that_is_still_being_written_is_left_for_the_next_run(land: Land, landing: Path) -> None:
    whole = b'{"item_id":"a","user_id":"u","event_type":"view","ts":"2026-02-01"}\n'
    land("events", "2026-02-01", "10-host.jsonl", whole + b'{"item_id":"b')
    land("events", "2026-02-01", "11-host.parquet", b"PAR1 and not yet the rest")
    land("events", "2026-02-01", "12-host.jsonl.gz", gzip.compress(whole)[:-20] + b"\xff" * 20)
    rows, passed_over = recent_rows(str(landing), "events", [DAY, NEXT], ("item_id",))
    assert rows["item_id"].to_pylist() == ["a"]
    assert [told.split(": ")[0] for told in passed_over] == [
        "events/ds=2026-02-01/11-host.parquet",
        "events/ds=2026-02-01/12-host.jsonl.gz",
    ]


def test_a_day_has_landed_when_its_events_are_marked(land: Land, landing: Path) -> None:
    land("items", "2026-02-01")
    assert not has_landed(str(landing), DAY)
    land("events", "2026-02-01")
    assert has_landed(str(landing), DAY)
