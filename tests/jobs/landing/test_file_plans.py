"""Files that cannot be read are named, and so is what is wrong with them, without Spark."""

import gzip
from datetime import date

import pyarrow as pa
import pytest

from jobs.landing.file_plans import MissingColumnError, WrongTypeError
from jobs.landing.folders import Landing, UnreadableFileError
from jobs.landing.torn_ends import is_torn
from tests.jobs.landing.looking import D1, D2, EVENTS, look, read


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"", "it is empty"),
        ("a.csv.gz", b"", "it is empty"),
        ("a.csv.gz", gzip.compress(EVENTS.encode() * 50, mtime=0)[:-20], "end-of-stream"),
        ("a.csv.gz", EVENTS.encode(), "[Nn]ot a gzipped file"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"item_id":"i","event_type":"view","ts":""}\n' * 50, mtime=0)[:-20],
            "end-of-",
        ),
        ("a.csv", "item_id,item_id,event_type,ts\n", "names item_id more than once"),
        (
            "a.csv",
            "Größe,item_id\n".encode("latin-1"),
            'not UTF-8; by Windows-1252 it reads “Größe,.*encoding = "cp12',
        ),
        ("a.csv", EVENTS.encode() * 9_000 + "Öl".encode("cp1252"), "not UTF-8; by Windows-1252 it reads “.*Öl"),
        ("a.jsonl", b'{"item_id":"i","event_type":"view","ts":"Caf\xe9"}\n', "by Windows-1252 it reads “.*Café"),
        ("a.csv", EVENTS.encode("utf-16-le"), "looks like UTF-16 without its mark; .*encoding = "),
        ("a.jsonl", b'[{"item_id":"i"},\n{"item_id":"j"}]\n', "no object a line; write one .*jq -c '.\\[\\]'"),
        ("a.jsonl", b'{\n "item_id": "i"\n}\n', "no object a line; write one"),
        ("a.parquet", b"", "size is 0|0 bytes"),
        ("a.parquet", b"PAR1 but no more", "[Pp]arquet"),
        ("a.parquet", EVENTS.encode(), "[Pp]arquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(land, landing, name, content, why):
    land("events", D1, name, content)
    with pytest.raises(UnreadableFileError, match=rf"ds=2026-01-01/{name} cannot be read: .*({why}).*land the file"):
        read(landing)


def test_a_parquet_file_cut_short_is_named(land, landing):
    path = land("events", D1, "a.parquet", [{"item_id": "i1", "event_type": "view", "ts": "2026-01-01"}])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnreadableFileError, match=r"a\.parquet cannot be read"):
        look(landing)


def test_an_empty_jsonl_file_is_a_file_without_rows(land, landing):
    land("events", D1, "a.jsonl", b"")
    assert read(landing) == []


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_missing_column_is_named_with_what_the_file_has(land, landing, name):
    land("events", D1, name, "user_id,product,event_type,ts\n")
    with pytest.raises(
        MissingColumnError,
        match=r'has no column item_id \(it has: event_type, product, ts, user_id\).*\[columns\] item_id = "…"',
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


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("ts", pa.array([1767225600])),  # seconds, milliseconds? nobody can know
        ("quantity", pa.array([True])),
        ("unit_price", pa.array([b"12.50"])),
        ("item_id", pa.array([{"item_id": "i1"}])),
    ],
)
def test_a_parquet_column_of_an_impossible_type_is_refused_by_name(land, landing, column, values):
    rows = {"item_id": ["i1"], "user_id": ["u1"], "event_type": ["view"], "ts": ["2026-01-01"]}
    land("events", D1, "a.parquet", pa.table(rows | {column: values}))
    with pytest.raises(WrongTypeError, match=rf"a\.parquet: column {column} is .*, which cannot be"):
        look(landing)


def test_names_of_columns_match_in_any_case_and_the_exact_one_comes_first(land, landing):
    land("items", D1, "a.csv", "Item ID,TITLE,Price,price\ni1,Mug,1.00,2.00\n")
    land("items", D1, "b.jsonl", [{"ITEM_ID": "i2", "Title": "Pan", "Price": "1.00", "price": "2.00"}])
    twins = pa.table([["i3"], ["Pot"], ["Lid"]], names=["Item_Id", "Title", "title"])
    land("items", D1, "c.parquet", twins)
    rows = {row["item_id"]: (row["title"], row["price"] and str(row["price"])) for row in read(landing, "items")}
    assert rows == {"i1": ("Mug", "2.00"), "i2": ("Pan", "2.00"), "i3": ("Lid", None)}
    found = look(landing, "items")
    assert found.unknown == {"Price": 2, "Title": 1}
    assert found.renamed["TITLE for title"] == 1


def test_two_columns_that_could_both_be_ours_are_refused_with_the_remedy(land, landing):
    land("items", D1, "a.csv", "item_id,TITLE,Title\ni1,Mug,Pan\n")
    with pytest.raises(MissingColumnError, match=r"has TITLE and Title, and either could be title; name one of them"):
        look(landing, "items")


def test_absent_and_unknown_columns_are_counted_by_file(land, landing):
    land("events", D1, "a.csv", EVENTS)
    land("events", D2, "b.csv", "user_id,item_id,event_type,ts,quantity,colour\n")
    table = look(landing, ds=D2)
    assert table.absent["quantity"] == 1
    assert table.absent["value"] == 2
    assert table.unknown == {"colour": 1}


MEMBER = gzip.compress(b'{"item_id":"i"}\n' * 500, mtime=0)
BY_OTHERS = gzip.compress(b"by others, with a time", mtime=1_767_225_600)


@pytest.mark.parametrize(
    ("content", "torn"),
    [
        (b"", False),
        (MEMBER, False),
        (MEMBER * 3, False),
        (BY_OTHERS, False),
        (BY_OTHERS * 3, False),
        (MEMBER[:1], True),
        (MEMBER[:-1], True),
        (MEMBER + MEMBER[:1], True),
        (MEMBER + MEMBER[:9], True),
        (MEMBER + MEMBER[:10], True),
        (MEMBER + MEMBER[:-1], True),
        (MEMBER + MEMBER[:-9] + b"\0" * 9, True),  # as after a power cut
        (BY_OTHERS * 2 + BY_OTHERS[:-1], True),
    ],
)
def test_exposures_are_torn_where_their_last_member_has_no_end(land, landing, content, torn):
    land("exposures", D1, "a.jsonl.gz", content)
    source = Landing(str(landing))
    (day,) = source.days("exposures", date.fromisoformat(D1))
    assert is_torn(source, day.files[0]) is torn
