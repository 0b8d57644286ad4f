"""Landing to staging: how cells of every format are read."""

import datetime as dt
from collections import Counter
from datetime import date
from decimal import Decimal

import pyarrow as pa

from serving import money
from tests.jobs.staging.landed_events import D1, D2, D3, D4, D5, csv_text, event, staged

ODD_IDS = [
    "two words",
    'say "hi"',
    "mug☕🫖",
    "a,b",
    "line\nbreak",
    "crlf\r\nbreak",
    "it's",
    " lead and trail ",
    "\\",
    "''",
]


def test_the_formats_stage_the_same_rows_and_odd_ids_survive_but_for_blanks_around_them(land, lake, run):
    def rows(day: date) -> list[dict]:
        return [
            event(
                event_id=f"e{n}", user_id=name, item_id=name, quantity=n + 1, unit_price=f"{n}.50", value=f"{n}.25",
                ts=f"{day}T10:00:0{n}Z",
            )
            for n, name in enumerate(ODD_IDS)
        ]  # fmt: skip

    def typed(row: dict) -> dict:
        price, when = Decimal(row["unit_price"]), dt.datetime.fromisoformat(row["ts"])
        return row | {"unit_price": price, "value": float(row["value"]), "ts": when}

    land("events", f"{D1}", "a.csv", csv_text(rows(D1)))
    land("events", f"{D2}", "a.csv.gz", csv_text(rows(D2)))
    land("events", f"{D3}", "a.jsonl", rows(D3))
    land("events", f"{D4}", "a.parquet", [typed(row) for row in rows(D4)])
    land("events", f"{D5}", "a.jsonl.gz", rows(D5))
    run(D5)
    for day in (D1, D2, D3, D4, D5):
        staged_rows = staged(lake, "interactions", day)
        assert [row["item_id"] for row in staged_rows] == [name.strip() for name in ODD_IDS]
        assert [row["user_id"] for row in staged_rows] == [name.strip() for name in ODD_IDS]
        assert [(row["quantity"], row["unit_price_minor"], row["value"]) for row in staged_rows] == [
            (n + 1, n * 100 + 50, n + 0.25) for n in range(len(ODD_IDS))
        ]
        assert {row["event_date"] for row in staged_rows} == {day}


def test_csv_columns_go_by_the_name_in_the_header_and_never_by_their_place(land, lake, run):
    land("events", f"{D1}", "a.csv", "ts,item_id,user_id,event_type\n2026-01-01T01:00:00,i1,u1,view\n")
    land(
        "events", f"{D1}", "b.csv", "\ufeffevent_type,user_id,colour,item_id,ts\nview,u2,red,i2,2026-01-01T02:00:00\n"
    )
    summary = run(D1)
    assert {(row["user_id"], row["item_id"]) for row in staged(lake, "interactions")} == {("u1", "i1"), ("u2", "i2")}
    assert "events: colour in 1 of 2 files" in summary.unknown
    assert "passed over events: colour in 1 of 2 files" in summary.lines()
    assert any("quantity" in line and line.startswith("events:") for line in summary.without)
    assert "exposures: no folder has landed" in summary.without
    assert "without exposures: no folder has landed" in summary.lines()


def test_csv_of_spreadsheets_and_of_windows_is_read(land, lake, run):
    lines = [
        "user_id,item_id,event_type,ts,page,,",
        'u1,"i1",view,2026-01-01,"a\r\nb",,',
        'u1,i2 5" wide,view,2026-01-01,,,',
    ]
    land("events", f"{D1}", "a.csv", "\r\n".join(lines) + "\r\n")
    run(D1)
    staged_rows = sorted(
        (row["item_id"], row["page"], f"{row['ts']:%Y-%m-%d}") for row in staged(lake, "interactions")
    )
    # In a file of Windows lines, a break within a field is read as a plain one.
    assert staged_rows == [("i1", "a\nb", "2026-01-01"), ('i2 5" wide', None, "2026-01-01")]


def test_prices_reach_minor_units_exactly_and_half_up(land, lake, run):
    prices = {
        "0.1": 10,
        "0.29": 29,
        "1.005": 101,
        "19.99": 1999,
        "1e3": 100000,
        " 7": 700,
        "9007199254740.93": 900719925474093,
    }
    land("items", f"{D1}", "a.csv", csv_text([{"item_id": text.strip(), "price": text} for text in prices]))
    floats = pa.table({"item_id": ["float 1.005", "float 0.29"], "price": pa.array([1.005, 0.29])})
    land("items", f"{D1}", "b.parquet", floats)
    land("events", f"{D1}")
    run(D1)
    staged_rows = {row["item_id"]: row["price_minor"] for row in staged(lake, "items")}
    assert staged_rows == {text.strip(): minor for text, minor in prices.items()} | {
        "float 1.005": 101,
        "float 0.29": 29,
    }


def test_times_with_or_without_a_zone_are_utc_to_the_microsecond(land, lake, run):
    texts = {
        "2026-01-01T10:00:00": "10:00:00", "2026-01-01 10:00:01": "10:00:01", "2026-01-01T10:00Z": "10:00:00",
        "2026-01-01T12:30:00+02:30": "10:00:00", "2026-01-01T10:00:00.123456Z": "10:00:00.123456",
        "2026-01-01": "00:00:00",
        "2025-12-31T23:00:00-02:00": "01:00:00", "2026-01-01T12:30+0230": "10:00:00",
        "2026-01-01 10:00:00 UTC": "10:00:00",
        "2026-01-01T10:00:00.123456789+00": "10:00:00.123456",
    }  # fmt: skip
    land("events", f"{D1}", "a.csv", csv_text([event(event_id=text, ts=text) for text in texts]))
    run(D1)
    staged_rows = {row["event_id"]: f"{row['ts']:%H:%M:%S.%f}" for row in staged(lake, "interactions")}
    assert staged_rows == {text: (time + ".000000")[:15] for text, time in texts.items()}


def test_parquet_times_of_every_unit_are_read_with_or_without_a_zone(land, lake, run):
    for unit in ("s", "ms", "us", "ns"):
        for zone in ("UTC", "Europe/Berlin", None):
            times = pa.array([dt.datetime(2026, 1, 1, 10)]).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, tz=zone))
            columns = {"user_id": ["u"], "item_id": [f"{unit} {zone}"], "event_type": ["view"], "ts": times}
            land("events", f"{D1}", f"{unit}-{str(zone)[:3]}.parquet", pa.table(columns))
    run(D1)
    staged_rows = staged(lake, "interactions")
    assert {f"{row['ts']:%Y-%m-%d %H:%M}" for row in staged_rows} == {"2026-01-01 10:00"}
    assert len(staged_rows) == 12


def test_parquet_columns_as_pandas_writes_them_are_taken(land, lake, run):
    rows = pa.table(
        {
            "user_id": pa.array([17850, 17851]),  # whole numbers for ids
            "item_id": pa.array(["i1", "i2"]).dictionary_encode(),
            "event_type": pa.array(["purchase", "purchase"], pa.large_string()),
            "ts": ["2026-01-01T10:00:00Z", "2026-01-01"],
            "quantity": pa.array([2.0, None]),  # a missing integer makes floats of all
            "value": pa.nulls(2),
        }
    )
    land("events", f"{D1}", "a.parquet", rows)
    run(D1)
    staged_rows = sorted((row["user_id"], row["item_id"], row["quantity"]) for row in staged(lake, "interactions"))
    assert staged_rows == [("17850", "i1", 2), ("17851", "i2", None)]


def test_prices_are_rounded_as_in_the_live_feed_in_every_format(land, lake, run):
    prices = ["12.345", "2.675", "0.0042", "0.005", "0", "1e2", "007.50"]
    land("items", f"{D1}", "a.csv", csv_text([{"item_id": f"csv-{price}", "price": price} for price in prices]))
    land("items", f"{D1}", "b.jsonl", [{"item_id": f"jsonl-{price}", "price": float(price)} for price in prices])
    floats = {"item_id": [f"parquet-{price}" for price in prices], "price": [float(price) for price in prices]}
    land("items", f"{D1}", "c.parquet", pa.table(floats))
    land("events", f"{D1}")
    run(D1)
    found = {row["item_id"]: row["price_minor"] for row in staged(lake, "items")}
    assert found == {
        f"{name}-{price}": money.to_minor(price) for name in ("csv", "jsonl", "parquet") for price in prices
    }


def test_a_day_full_of_returns_is_kept_and_weights_are_read_in_every_format(land, lake, run):
    def of(n: int) -> dict:
        return event(event_id=f"e{n}", item_id=f"i{n}", event_type="purchase", quantity="-1" if n % 2 else "0.35")

    rows = [of(n) for n in range(60)]
    land("events", f"{D1}", "a.csv", csv_text(rows[:20]))
    land("events", f"{D1}", "b.jsonl", [row | {"quantity": float(row["quantity"])} for row in rows[20:40]])
    land("events", f"{D1}", "c.parquet", [row | {"quantity": float(row["quantity"])} for row in rows[40:]])
    run(D1)
    kinds = Counter((row["event_type"], row["quantity"]) for row in staged(lake, "interactions"))
    assert kinds == {("return", Decimal(1)): 30, ("purchase", Decimal("0.35")): 30}


def test_a_product_that_is_oversold_is_out_of_stock_and_keeps_no_earlier_count(land, lake, run):
    land("events", f"{D1}")
    land("items", f"{D1}", "a.csv", csv_text([{"item_id": "i1", "stock": 5}]))
    land("events", f"{D2}")
    land("items", f"{D2}", "a.csv", csv_text([{"item_id": "i1", "stock": -3}, {"item_id": "i2", "stock": ""}]))
    run(D2)
    assert sorted((row["item_id"], row["stock"]) for row in staged(lake, "items", D2)) == [("i1", 0), ("i2", None)]


def test_paths_lists_and_flags_of_items_and_users_are_tidied(land, lake, run):
    land("events", f"{D1}")
    items = [
        {"item_id": "i1", "category": " /home/ kitchen //mugs/ ", "deleted": "TRUE", "stock": "3.0"},
        {"item_id": "i2", "category": "/", "deleted": None, "stock": None},
    ]
    land("items", f"{D1}", "a.csv", csv_text(items))
    land("users", f"{D1}", "a.csv", csv_text([{"user_id": "u1", "preferred_categories": "home/mugs/|| toys "}]))
    land(
        "users",
        f"{D1}",
        "b.jsonl",
        [{"user_id": "u2", "preferred_categories": ["/home/mugs", "toys"], "deleted": True}],
    )
    land("users", f"{D1}", "c.parquet", [{"user_id": "u3", "preferred_categories": ["home/mugs", "toys/"]}])
    run(D1)
    assert [(row["category"], row["deleted"], row["stock"]) for row in staged(lake, "items")] == [
        ("home/kitchen/mugs", True, 3),
        (None, False, None),
    ]
    users = {row["user_id"]: row for row in staged(lake, "users")}
    assert all(row["preferred_categories"] == ["home/mugs", "toys"] for row in users.values())
    assert [users[name]["deleted"] for name in ("u1", "u2", "u3")] == [False, True, False]


def test_exposures_keep_their_arms_and_propensity(land, lake, run):
    land("events", f"{D1}")
    shown = {
        "request_id": "r1", "ts": "2026-01-01T10:00:00Z", "user_id": "u1", "item_id": "i1", "position": 0,
        "arms": {"ranker": "b"}, "propensity": 0.25, "limit": 20, "filters": {"in_stock": True},
    }  # fmt: skip
    land("exposures", f"{D1}", "a.jsonl", [shown, shown])  # a log delivered twice
    summary = run(D1)
    (staged_rows,) = staged(lake, "exposures")
    assert (staged_rows["arms"], staged_rows["propensity"], staged_rows["limit"]) == ([("ranker", "b")], 0.25, 20)
    assert staged_rows["filters"] == '{"in_stock": true}'
    assert (summary.counts["exposures"].kept, summary.counts["exposures"].repeated) == (1, 1)
