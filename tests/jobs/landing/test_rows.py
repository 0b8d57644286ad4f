"""The columns of landed files are checked against the contract before any Spark job starts."""

import pyarrow as pa
import pytest

from jobs.landing.rows import MissingColumnError, WrongTypeError
from tests.jobs.landing.looking import D1, D2, D3, EVENTS, look


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_missing_column_is_named_with_what_the_file_has(land, landing, name):
    land("events", D1, name, "user_id,product,event_type,ts\n")
    with pytest.raises(
        MissingColumnError, match=r"has no column item_id \(it has: event_type, product, ts, user_id\)"
    ):
        look(landing)


def test_a_missing_column_of_parquet_and_jsonl_is_named_as_well(land, landing):
    rows = [{"user_id": "u1", "event_type": "view", "ts": "2026-01-01"}]
    path = land("events", D1, "a.parquet", rows)
    with pytest.raises(MissingColumnError, match=r"a\.parquet has no column item_id"):
        look(landing)
    path.unlink()
    land("events", D1, "a.jsonl", rows)
    with pytest.raises(MissingColumnError, match=r"a\.jsonl has no column item_id"):
        look(landing)


def test_a_header_with_semicolons_is_refused_with_a_hint_at_commas(land, landing):
    land("items", D1, "a.csv", "item_id;title\ni1;Mug\n")
    with pytest.raises(MissingColumnError, match="must be separated by commas"):
        look(landing, "items")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("item_id", pa.array([17850.0])),  # would print as 17850.0 and match nothing
        ("ts", pa.array([1767225600])),  # seconds, milliseconds? nobody can know
        ("quantity", pa.array([True])),
        ("unit_price", pa.array([b"12.50"])),
    ],
)
def test_a_parquet_column_of_an_impossible_type_is_refused_by_name(land, landing, column, values):
    rows = {"item_id": ["i1"], "user_id": ["u1"], "event_type": ["view"], "ts": ["2026-01-01"]}
    land("events", D1, "a.parquet", pa.table(rows | {column: values}))
    with pytest.raises(WrongTypeError, match=rf"a\.parquet: column {column} is {values.type}, which cannot be"):
        look(landing)


def test_files_of_equal_columns_are_read_together_whatever_their_day(land, landing):
    land("events", D1, "a.csv", EVENTS)
    land("events", D2, "b.csv.gz", EVENTS)
    land("events", D3, "c.csv", "ts,item_id,event_type,user_id\n")
    assert sorted(len(files) for files in look(landing, ds=D3).layouts.values()) == [1, 2]


def test_absent_and_unknown_columns_are_counted_by_file(land, landing):
    land("events", D1, "a.csv", EVENTS)
    land("events", D2, "b.csv", "user_id,item_id,event_type,ts,quantity,colour\n")
    table = look(landing, ds=D2)
    assert table.absent["quantity"] == 1
    assert table.absent["value"] == 2
    assert table.unknown == {"colour": 1}
