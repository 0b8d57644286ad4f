"""What a landing folder and its files must be like, told before any Spark job starts."""

import gzip
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.landing.folders import Landing, UnmarkedDayError, UnreadableFileError
from jobs.landing.rows import MissingColumnError, WrongTypeError, inspect

D1, D2, D3 = "2026-01-01", "2026-01-02", "2026-01-03"
EVENTS = "user_id,item_id,event_type,ts\nu1,i1,view,2026-01-01T10:00:00Z\n"


def look(landing: Path, table: str = "events", ds: str = D1):
    """Read every header of a table, as an ingest does first."""
    source = Landing(str(landing))
    days = source.days(table, date.fromisoformat(ds))
    return inspect(source, table, (file for day in days for file in day.files))


# Folders -----------------------------------------------------------------------------------------------------


def test_a_day_without_its_mark_is_refused_with_the_folder_and_the_remedy(land, landing):
    land("events", D1, "a.csv", EVENTS)
    land("events", D2, "a.csv", EVENTS, mark=False)
    with pytest.raises(UnmarkedDayError, match=r"events/ds=2026-01-02 is not marked.*put an empty file _SUCCESS"):
        look(landing, ds=D2)


def test_a_marked_day_without_files_is_an_ordinary_day(land, landing):
    land("events", D1)
    assert [day.files for day in Landing(str(landing)).days("events", date(2026, 1, 1))] == [()]


def test_a_gap_between_event_days_is_refused_by_its_first_day(land, landing):
    land("events", D1)
    land("events", "2026-01-04")
    with pytest.raises(UnmarkedDayError, match=r"events has no ds=2026-01-02 and 1 more days up to 2026-01-03"):
        look(landing, ds="2026-01-04")


def test_a_night_whose_own_day_has_not_landed_is_refused(land, landing):
    land("events", D1)
    with pytest.raises(UnmarkedDayError, match=r"events has no ds=2026-01-02;.*land the day"):
        look(landing, ds=D2)


def test_a_landing_folder_that_does_not_exist_is_refused_with_the_day_it_lacks(landing):
    with pytest.raises(UnmarkedDayError, match="events has no ds=2026-01-01"):
        look(landing / "elsewhere")


def test_days_after_the_night_are_not_looked_at_even_if_unfinished(land, landing):
    land("events", D1, "a.csv", EVENTS)
    land("events", D2, "half.csv", "item_", mark=False)
    assert look(landing, ds=D1).file_count == 1


def test_an_item_day_may_be_missing_but_must_be_marked_when_it_is_there(land, landing):
    assert look(landing, "items").file_count == 0
    land("items", D1, "a.csv", "item_id\ni1\n", mark=False)
    with pytest.raises(UnmarkedDayError, match="items/ds=2026-01-01 is not marked"):
        look(landing, "items")


def test_a_folder_that_names_no_day_is_refused(land, landing):
    land("events", D1)
    land("events", "2026-13-01")
    with pytest.raises(UnmarkedDayError, match="ds=2026-13-01 is no day"):
        look(landing)


def test_a_file_of_an_unknown_kind_is_refused_rather_than_passed_over(land, landing):
    land("events", D1, "events.xlsx", b"x")
    with pytest.raises(UnreadableFileError, match=r"events.xlsx is none of .parquet, .csv, .csv.gz, .jsonl"):
        look(landing)


def test_a_file_name_that_spark_cannot_read_is_refused_at_once(land, landing):
    land("events", D1, "till 10:30.csv", EVENTS)
    with pytest.raises(UnreadableFileError, match=r"till 10:30.csv has a colon in its name.*rename it"):
        look(landing)


def test_hidden_files_are_not_part_of_a_day(land, landing):
    land("events", D1, "a.csv", EVENTS)
    source = Landing(str(landing))
    (before,) = source.days("events", date(2026, 1, 1))
    land("events", D1, ".a.csv.tmp", b"half")
    land("events", D1, "_committed", b"x")
    (after,) = source.days("events", date(2026, 1, 1))
    assert before == after
    assert source.fingerprint(before) == source.fingerprint(after)


def test_a_fingerprint_changes_with_a_files_bytes_and_with_its_name(land, landing):
    def told() -> str:
        source = Landing(str(landing))
        return source.fingerprint(source.days("events", date(2026, 1, 1))[0])

    path = land("events", D1, "a.csv", EVENTS)
    prints = {told()}
    path.write_text(EVENTS.replace("u1", "u2"))
    prints.add(told())
    path.rename(path.with_name("b.csv"))
    prints.add(told())
    assert len(prints) == 3


# Files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"", "it is empty"),
        ("a.csv.gz", b"", "it is empty"),
        ("a.csv.gz", gzip.compress(EVENTS.encode() * 50)[:-20], "end-of-stream"),
        ("a.csv.gz", EVENTS.encode(), "[Nn]ot a gzipped file"),
        ("a.csv", EVENTS + 'u2,"i2,view,2026-01-01T10:00:00Z\nu3,i3,view,2026-01-01T10:00:00Z\n', "never closed"),
        ("a.csv", "item_id,item_id,event_type,ts\n", "names item_id more than once"),
        ("a.csv", "Größe,item_id\n".encode("latin-1"), "utf-8"),
        ("a.parquet", b"", "size is 0|0 bytes"),
        ("a.parquet", b"PAR1 but no more", "[Pp]arquet"),
        ("a.parquet", EVENTS.encode(), "[Pp]arquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(land, landing, name, content, why):
    land("events", D1, name, content)
    with pytest.raises(UnreadableFileError, match=rf"ds=2026-01-01/{name} cannot be read: .*({why}).*land the file"):
        look(landing)


def test_a_parquet_file_cut_short_is_named(land, landing):
    path = land("events", D1, "a.parquet", [{"item_id": "i1", "event_type": "view", "ts": "2026-01-01"}])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnreadableFileError, match=r"a\.parquet cannot be read"):
        look(landing)


def test_an_inch_mark_in_a_plain_field_is_no_open_quote(land, landing):
    land("items", D1, "a.csv", 'item_id,title\ni1,pipe 5" wide\n')
    assert look(landing, "items").file_count == 1


def test_an_empty_jsonl_file_is_a_file_without_rows(land, landing):
    land("events", D1, "a.jsonl", b"")
    assert look(landing).file_count == 1


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_missing_column_is_told_with_what_the_file_has(land, landing, name):
    land("events", D1, name, "user_id,product,event_type,ts\n")
    with pytest.raises(
        MissingColumnError, match=r"has no column item_id \(it has: event_type, product, ts, user_id\)"
    ):
        look(landing)


def test_a_missing_column_of_parquet_and_jsonl_is_told_as_well(land, landing):
    rows = [{"user_id": "u1", "event_type": "view", "ts": "2026-01-01"}]
    path = land("events", D1, "a.parquet", rows)
    with pytest.raises(MissingColumnError, match=r"a\.parquet has no column item_id"):
        look(landing)
    path.unlink()
    land("events", D1, "a.jsonl", rows)
    with pytest.raises(MissingColumnError, match=r"a\.jsonl has no column item_id"):
        look(landing)


def test_a_header_with_semicolons_is_told_to_use_commas(land, landing):
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


def test_exposures_need_no_mark_since_the_endpoint_cannot_know_its_last(tmp_path) -> None:
    day = tmp_path / "exposures" / "ds=2026-01-01"
    day.mkdir(parents=True)
    (day / "09-host-1-0.jsonl").write_text("{}\n")
    (found,) = Landing(str(tmp_path)).days("exposures", date(2026, 1, 1))
    assert [file.name for file in found.files] == ["09-host-1-0.jsonl"]
