"""Rows of landed files: what is read, what is null, and what sets a row aside. Without Spark."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.landing.file_format import FormatError
from tests.jobs.landing.looking import D1, look, read

EVENT = {"user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-01T10:00:00Z"}


def items(land, landing, name: str, content) -> dict[str, dict]:
    land("items", D1, name, content)
    return {row["item_id"]: row for row in read(landing, "items")}


def faults(rows: list[dict]) -> list[tuple[str, str] | None]:
    return [row["fault"] and (row["fault"]["reason"], row["fault"]["column_name"]) for row in rows]


@pytest.mark.parametrize(
    ("cell", "price"),
    [
        ("12.50 EUR", "12.50"), ("$12.50", "12.50"), ("£3", "3.00"), ("US$ 7", "7.00"), ("4 kr", "4.00"),
        ("1299.00", "1299.00"), ('"1,299.00"', "1299.00"), ('"1.299,00"', "1299.00"), ("1 299.00", "1299.00"),
        ("1'299.00", "1299.00"), ('"89,00"', "89.00"), ("12.345", "12.35"), ("0.0042", "0.01"),
        ("-1", None), ("cheap", None), ("12.50.10", None), ('"1,29,900"', None),
        ("1e999999", None), ("٣", None),
    ],
)  # fmt: skip
def test_money_is_read_where_it_is_beyond_doubt(land, landing, cell, price):
    row = items(land, landing, "a.csv", f"item_id,title,price\na,Mug,{cell}\n")["a"]
    assert row["price"] == (price and Decimal(price))
    assert row["title"] == "Mug" and row["fault"] is None
    assert (row["unread"] is None) == (price is not None)


@pytest.mark.parametrize(
    ("others", "price"), [("1.00", "1299.00"), ('"1,50"', None), ("7", None), ('1.00\nd,"1,50"', None)]
)
def test_a_number_that_could_be_two_is_read_as_the_files_other_numbers_say(land, landing, others, price):
    rows = items(land, landing, "a.csv", f'item_id,price\na,"1,299"\nb,{others}\n')
    assert rows["a"]["price"] == (price and Decimal(price))


def test_in_a_file_of_decimal_commas_a_point_groups_digits(land, landing):
    rows = items(land, landing, "a.csv", 'item_id;price\na;1.299\nb;1,50\nc;"1.299,00"\n')
    assert [rows[name]["price"] for name in "abc"] == [Decimal(1299), Decimal("1.50"), Decimal(1299)]


def test_words_that_say_nothing_are_null_and_no_shopper(land, landing):
    words = ["nan", "NULL", "None", "(not set)", "undefined", "\\N", "", " \u00a0"]
    land("events", D1, "a.csv", "user_id,item_id,event_type,ts\n" + "".join(f"{w},i,view,{D1}\n" for w in words))
    assert faults(read(landing)) == [("no_user_or_session", "user_id")] * len(words)


def test_ids_lose_blanks_around_them_and_the_point_of_whole_numbers(land, landing):
    land(
        "events", D1, "a.csv", f"user_id,item_id,event_type,ts\n17850.0,\u00a0i1 ,view,{D1}\r\n0042,7.00,View ,{D1}\n"
    )
    land("events", D1, "b.jsonl", [EVENT | {"user_id": 17850.0, "item_id": 18446744073709551608}])
    floats = {"user_id": [17850.0], "item_id": [1.5], "event_type": ["view"], "ts": [D1]}
    land("events", D1, "c.parquet", pa.table(floats))
    found = [(row["user_id"], row["item_id"], row["event_type"]) for row in read(landing)]
    assert found == [
        ("17850", "i1", "view"), ("0042", "7", "view"), ("17850", "18446744073709551608", "view"),
        ("17850", "1.5", "view"),
    ]  # fmt: skip


def test_an_id_of_bytes_that_are_no_text_sets_its_row_aside(land, landing):
    rows = pa.table({"item_id": pa.array([b"a", b"caf\xe9"]), "title": ["Mug", "Pan"]})
    land("items", D1, "a.parquet", rows)
    assert faults(read(landing, "items")) == [None, ("invalid_text", "item_id")]


def test_uuids_of_parquet_are_read_as_they_are_written(land, landing):
    ids = pa.array([UUID("0190a5f0-7b1e-7c3a-9d4e-2f6b8c0d1e2f").bytes, None], pa.binary(16))
    land("items", D1, "a.parquet", pa.table({"item_id": ids}))
    rows = read(landing, "items")
    assert [row["item_id"] for row in rows] == ["0190a5f0-7b1e-7c3a-9d4e-2f6b8c0d1e2f", None]


@pytest.mark.parametrize("codec", ["brotli", "lz4", "zstd", "gzip", "snappy"])
def test_parquet_of_every_codec_and_kind_is_read(land, landing, codec):
    path = land("items", D1, "a.parquet", pa.table({"item_id": ["x"]}))
    kinds = {
        "item_id": pa.array([7, None], pa.int32()), "title": pa.array(["Mug", None], pa.large_string()),
        "brand": pa.array(["h", "h"]).dictionary_encode(), "price": pa.array([12.345, float("nan")]),
        "stock": pa.array([3.0, None]), "deleted": pa.array([1.0, 0.0]),
        "created_at": pa.array([datetime(1, 1, 1), datetime(2026, 1, 1)], pa.timestamp("us")),
        "image_url": pa.nulls(2),
    }  # fmt: skip
    pq.write_table(pa.table(kinds), path, compression=codec, use_deprecated_int96_timestamps=False)
    rows = read(landing, "items")
    assert faults(rows) == [None, ("missing_value", "item_id")]
    assert (rows[0]["item_id"], rows[0]["price"], rows[0]["stock"]) == ("7", Decimal("12.35"), 3)
    assert (rows[0]["deleted"], rows[0]["created_at"].year) == (True, 1)


def test_a_time_that_no_calendar_has_is_null_and_costs_the_row_only_where_it_is_needed(land, landing):
    row = items(land, landing, "a.csv", "item_id,title,created_at\na,Mug,0000-00-00 00:00:00\n")["a"]
    assert (row["created_at"], row["title"], row["fault"]) == (None, "Mug", None)
    land("events", D1, "a.jsonl", [EVENT | {"ts": "0000-00-00"}])
    assert faults(read(landing)) == [("wrong_type", "ts")]


def test_rows_at_fault_tell_their_line_and_keep_their_text(land, landing):
    land("events", D1, "a.csv", f"user_id,item_id,event_type,ts\n\nu,i,view,{D1}\nu,i,stare,{D1}\nu,i\n")
    good, unknown, malformed = sorted(read(landing), key=lambda row: row["line"])
    assert [good["line"], unknown["line"], malformed["line"]] == [3, 4, 5]
    assert json.loads(unknown["raw"]) == {"user_id": "u", "item_id": "i", "event_type": "stare", "ts": D1}
    assert json.loads(malformed["raw"]) == {"line": "u,i"}


def test_lines_of_json_that_are_none_cost_themselves_alone(land, landing):
    lines = [
        json.dumps(EVENT),
        '{"user_id": ',
        "[1]",
        '"text"',
        "",
        "{" * 5000,
        '{"item_id": "\\ud800"}',
        json.dumps(EVENT),
    ]
    land("events", D1, "a.jsonl", "\ufeff" + "\n".join(lines) + "\n")
    rows = sorted(read(landing), key=lambda row: row["line"])
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 6, 7, 8]
    assert [row["fault"] is None for row in rows] == [True, *[False] * 5, True]


# What the shop says about its files --------------------------------------------------------------------------


def test_a_format_file_says_what_cannot_be_found_out(land, landing):
    content = "SKU|Preis|Datum\na'1|'1.299'|31.12.2025 10:30\n".replace("a'1", "Öl").encode("cp1252")
    land("items", D1, "a.csv", content)
    said = 'encoding = "cp1252"\nquote = "\'"\ndecimal = ","\ndate_format = "%d.%m.%Y %H:%M"\n'
    said += 'time_zone = "Europe/Berlin"\n'
    (landing / "items" / "_format.toml").write_text(
        said + '[columns]\nitem_id = "SKU"\nprice = "Preis"\ncreated_at = "Datum"\n'
    )
    (row,) = read(landing, "items")
    assert (row["item_id"], row["price"]) == ("Öl", Decimal(1299))
    assert row["created_at"] == datetime(2025, 12, 31, 9, 30, tzinfo=UTC)


def test_a_time_zone_decides_the_days(land, landing):
    evening = [EVENT | {"ts": "2026-01-01T20:00:00-05:00"}, EVENT | {"ts": "2026-01-01 23:59:59"}]
    land("events", D1, "a.jsonl", evening)
    assert faults(read(landing)) == [("future_timestamp", "ts"), None]
    (landing / "events" / "_format.toml").write_text('time_zone = "America/New_York"\n')
    rows = read(landing)
    assert faults(rows) == [None, None]
    assert [f"{row['ts']:%d %H:%M}" for row in rows] == ["02 01:00", "02 04:59"]
    assert [str(row["local_day"]) for row in rows] == [D1, D1]


def test_some_files_of_a_table_may_be_partial(land, landing):
    land("items", D1, "items.csv", "item_id,title\na,Mug\n")
    land("items", D1, "stock.csv", "item_id,stock\na,4\n")
    (landing / "items" / "_format.toml").write_text('[files."stock*.csv"]\npartial = true\n')
    whole, partial = read(landing, "items")
    assert whole["absent"] is None
    assert "title" in partial["absent"] and "stock" not in partial["absent"]
    assert look(landing, "items").absent["price"] == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("encoding = ", "is no TOML"),
        ('encoding = "klingon"', "encoding: .*knows no encoding 'klingon'"),
        ('time_zone = "New York"', "no time zone is called 'New York'; write it like"),
        ('delimiter = ";"', "delimiter: "),
        ('[columns]\nsku = "SKU"', "sku is no column of this table; it may have brand"),
        ('decimal = "x"', "decimal: "),
    ],
)
def test_a_format_file_that_cannot_be_used_is_told(land, landing, said, why):
    land("items", D1, "a.csv", "item_id\na\n")
    (landing / "items" / "_format.toml").write_text(said)
    with pytest.raises(FormatError, match=rf"items/_format\.toml.*{why}"):
        look(landing, "items")
