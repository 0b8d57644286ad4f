"""Rows that cannot be right: set aside with their reason, counted, and too many of them stop the night."""

import hashlib
import json
from datetime import date

import pyarrow as pa
import pytest

from jobs.config.parameters import Parameters
from jobs.lake.partitions import MissingPartitionError
from jobs.staging.ingest import ingest
from jobs.staging.quarantine import TooManyBadRowsError
from tests.jobs.staging.landed_events import on_both_engines

DAY = date(2026, 1, 1)
GOOD = {"user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-01T10:00:00Z"}
EVENTS_AT_FAULT = {
    # row: (reason, column)
    ("item_id", None): ("missing_value", "item_id"),
    ("event_type", ""): ("missing_value", "event_type"),
    ("ts", ""): ("missing_value", "ts"),
    ("ts", "yesterday"): ("wrong_type", "ts"),
    ("ts", "10:30:00"): ("wrong_type", "ts"),  # Spark alone would take it for today's
    ("ts", "1767225600"): ("wrong_type", "ts"),
    ("ts", "2026-02-30T00:00:00"): ("wrong_type", "ts"),
    ("ts", "2026-01-02T00:00:00Z"): ("future_timestamp", "ts"),
    ("ts", "2026-01-01T23:30:00-01:00"): ("future_timestamp", "ts"),
    ("item_id", "x" * 257): ("id_too_long", "item_id"),
    ("item_id", "☕" * 86): ("id_too_long", "item_id"),  # 86 characters, 258 bytes
    ("item_id", "caf\ufffd"): ("invalid_text", "item_id"),
    ("event_type", "stare"): ("unknown_event_type", "event_type"),
    ("user_id", ""): ("no_user_or_session", "user_id"),
    ("user_id", "\\N"): ("no_user_or_session", "user_id"),
}
UNREAD_IN_EVENTS = [
    ("device", "x" * 257),
    ("unit_price", "-0.01"),
    ("unit_price", "cheap"),
    ("value", "-Infinity"),
    ("value", "1e999"),
    ("quantity", "some"),
    ("quantity", "1e16"),
    ("position", "-1"),
]
EVENTS_AT_THE_EDGE = [
    ("ts", "2026-01-01T23:59:59.999999Z"),
    ("ts", "1999-12-31"),
    ("item_id", "x" * 256),
    ("item_id", "☕" * 85),
    ("unit_price", "0"),
    ("quantity", "0.35"),
    ("quantity", "0"),
    ("quantity", "-1"),
    ("quantity", "3000000000"),
    ("value", "-3"),
    ("event_type", "View"),
    ("unit_price", "NaN"),
    ("value", "nan"),
]


@pytest.fixture
def run(engine, lake, landing):
    def day(max_quarantine_share=0.05):
        parameters = Parameters().with_values({"staging.max_quarantine_share": max_quarantine_share})
        return ingest(lake, str(landing), DAY, parameters)

    return day


def rows(lake, table: str) -> list[dict]:
    return lake.arrow(f"staging/{table}", DAY).to_pylist() if lake.manifest(f"staging/{table}", DAY).files else []


def test_every_fault_of_an_event_sets_its_row_aside_with_reason_and_column(land, lake, run):
    faulty = [GOOD | {"page": f"{n}"} | {column: value} for n, (column, value) in enumerate(EVENTS_AT_FAULT)]
    edge = [GOOD | {column: value} for column, value in EVENTS_AT_THE_EDGE]
    land("events", f"{DAY}", "a.jsonl", faulty + edge)
    summary = run(max_quarantine_share=1.0)
    aside = {
        int(json.loads(row["raw"])["page"]): (row["reason"], row["column_name"]) for row in rows(lake, "quarantine")
    }
    assert [aside[n] for n in range(len(faulty))] == list(EVENTS_AT_FAULT.values())
    assert len(rows(lake, "interactions")) == len(edge)
    assert summary.counts["events"].set_aside["future_timestamp"] == 2
    assert any("set aside 2 rows: future_timestamp" in line for line in summary.lines())
    assert lake.manifest("staging/interactions", DAY).metrics["set_aside"]["wrong_type"] == 4


def test_an_optional_cell_that_cannot_be_read_costs_no_row_and_is_told_by_column(land, lake, run):
    land("events", f"{DAY}", "a.jsonl", [GOOD | {column: value} for column, value in UNREAD_IN_EVENTS])
    land(
        "items",
        f"{DAY}",
        "a.csv",
        "item_id,title,price,created_at\ni1,Mug,cheap,0000-00-00\ni2,Pan,dear,2026-01-01\n",
    )
    summary = run()
    staged = rows(lake, "interactions")
    assert len(staged) == len(UNREAD_IN_EVENTS)
    assert all(row[name] is None for row in staged for name in ("device", "unit_price_minor", "value", "quantity"))
    assert [(row["title"], row["price_minor"]) for row in rows(lake, "items")] == [("Mug", None), ("Pan", None)]
    assert summary.counts["items"].unread == {"price": 2, "created_at": 1}
    assert "items: price could not be read in 2 rows, such as 'dear'" in summary.lines()
    assert lake.manifest("staging/interactions", DAY).metrics["unread"]["unit_price"] == 2
    assert not rows(lake, "quarantine")


def test_rows_of_a_torn_csv_and_lines_that_are_no_json_are_set_aside(land, lake, run):
    header, good = "user_id,item_id,event_type,ts\n", "u1,i1,view,2026-01-01\n"
    land("events", f"{DAY}", "a.csv", header + good + "u1,i1\n" + "u1,i1,view,2026-01-01,more\n" + good)
    land(
        "events",
        f"{DAY}",
        "b.jsonl",
        json.dumps(GOOD) + '\n{"user_id": "u1", "item\n[1, 2]\n\n' + json.dumps(GOOD) + "\n",
    )
    run()
    aside = sorted((row["path"], row["reason"]) for row in rows(lake, "quarantine"))
    assert aside == [("a.csv", "malformed_row")] * 2 + [("b.jsonl", "malformed_row")] * 2
    assert len(rows(lake, "interactions")) == 4


def test_parquet_values_at_fault_are_set_aside_like_text(land, lake, run):
    table = {"user_id": ["u"] * 4, "item_id": ["ok", "none", "endless", None], "event_type": ["view"] * 4}
    numbers = {
        "value": [1.0, float("nan"), 1.0, 1.0],
        "quantity": [1.0, 1.0, float("inf"), 1.0],
        "ts": ["2026-01-01"] * 4,
    }
    land("events", f"{DAY}", "a.parquet", pa.table(table | numbers))
    run()
    aside = sorted((row["reason"], row["column_name"]) for row in rows(lake, "quarantine"))
    assert aside == [("missing_value", "item_id")]
    staged = {row["item_id"]: (row["value"], row["quantity"]) for row in rows(lake, "interactions")}
    assert staged == {"ok": (1.0, 1), "none": (None, 1), "endless": (1.0, None)}


def test_items_users_and_exposures_at_fault_are_set_aside(land, lake, run):
    land("events", f"{DAY}")
    land(
        "items",
        f"{DAY}",
        "a.csv",
        "item_id,price,stock,deleted\ni1,-1,1,\ni3,1,1,maybe\n,1,1,\ni5,1,1,no\n",
    )
    land("users", f"{DAY}", "a.csv", f"user_id,region\n{'u' * 300},x\nu2,{'r' * 300}\nu3,x\n")
    shown = {"request_id": "r", "ts": "2026-01-01", "item_id": "i", "position": 0}
    more = [
        {"position": 1, "propensity": 1.5},
        {"position": 2, "ts": "2026-01-02"},
        {"position": 0, "item_id": "other"},
    ]
    land("exposures", f"{DAY}", "a.jsonl", [shown, *(shown | change for change in more)])
    run()
    assert sorted((row["table_name"], row["reason"], row["column_name"]) for row in rows(lake, "quarantine")) == [
        ("exposures", "conflicting_row", "request_id"),
        ("exposures", "future_timestamp", "ts"),
        ("exposures", "no_probability", "propensity"),
        ("items", "missing_value", "item_id"),
        ("users", "id_too_long", "user_id"),
    ]
    assert [row["item_id"] for row in rows(lake, "items")] == ["i1", "i3", "i5"]
    assert [row["user_id"] for row in rows(lake, "users")] == ["u2", "u3"]
    assert [row["item_id"] for row in rows(lake, "exposures")] == ["other"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_ten_megabytes_in_one_field_are_set_aside_and_cut_at_whole_characters(land, lake, run, name):
    huge = GOOD | {"item_id": "☕" * (10_000_000 // 3)}
    as_csv = "\n".join(",".join(row) for row in (GOOD, GOOD.values(), huge.values()))
    land("events", f"{DAY}", name, as_csv if name == "a.csv" else [GOOD, huge])
    run()
    (aside,) = rows(lake, "quarantine")
    assert (aside["reason"], aside["column_name"]) == ("id_too_long", "item_id")
    assert aside["raw"].startswith('{"user_id":"u1","item_id":"☕☕')
    assert 4000 < len(aside["raw"].encode()) <= 4096
    assert aside["raw_sha256"] != hashlib.sha256(aside["raw"].encode()).hexdigest()
    assert len(rows(lake, "interactions")) == 1


def test_equal_bad_rows_are_each_kept_in_quarantine(land, lake, run):
    good = "u1,i1,view,2026-01-01\n"
    land("events", f"{DAY}", "a.csv", "user_id,item_id,event_type,ts\n" + good + "u1,,view,2026-01-01\n" * 3)
    run()
    assert sorted(row["ordinal"] for row in rows(lake, "quarantine")) == [1, 2, 3]


@on_both_engines
def test_a_day_with_too_many_bad_rows_stops_the_run_and_shows_them(land, landing, lake, run):
    bad = [GOOD | {"ts": "yesterday"}] * 20 + [GOOD | {"event_type": "stare"}]
    land("events", f"{DAY}", "a.jsonl", [GOOD] * 300 + bad)
    with pytest.raises(TooManyBadRowsError) as stopped:
        run()
    message = str(stopped.value)
    assert "events/ds=2026-01-01: 21 of 321 rows had to be set aside, more than the allowed 5%" in message
    assert "(20 wrong_type, 1 unknown_event_type)" in message
    assert message.count("a.jsonl: ") == 3
    assert "Land the day again without the fault, or raise parameters.staging.max_quarantine_share" in message
    assert len(rows(lake, "quarantine")) == 21
    with pytest.raises(
        MissingPartitionError, match=r"staging/interactions has no ds=2026-01-01; run topshelf stage ingest"
    ):
        lake.manifest("staging/interactions", DAY)
    # The same folder passes once the shop allows it, and once it is landed again without the fault.
    assert run(max_quarantine_share=0.1).counts["events"].kept == 300
    land("events", f"{DAY}", "a.jsonl", [GOOD] * 300)
    assert run().counts["events"].set_aside == {}


def test_a_few_bad_rows_never_stop_a_small_day(land, lake, run):
    land("events", f"{DAY}", "a.jsonl", [GOOD, *[GOOD | {"ts": "yesterday"}] * 20])
    assert run().counts["events"].set_aside == {"wrong_type": 20}


def test_a_file_of_which_nothing_is_kept_stops_a_day_of_any_size(land, lake, run):
    land("events", f"{DAY}", "a.jsonl", [GOOD])
    land("items", f"{DAY}", "a.csv", "item_id,title\ni1,Mug,more\n")
    with pytest.raises(TooManyBadRowsError, match=r"items/ds=2026-01-01: nothing could be kept of a\.csv"):
        run()
    assert [row["path"] for row in rows(lake, "quarantine")] == ["a.csv"]
