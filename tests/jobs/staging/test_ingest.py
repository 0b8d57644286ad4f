"""Landing to staging: what is kept, byte for byte, and how days are built."""

import datetime as dt
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest

from jobs.config.parameters import EventWeights, Parameters
from jobs.lake.contracts import contract, tables
from jobs.lake.lake import Lake
from jobs.landing.folders import UnreadableFileError
from jobs.staging.ingest import ingest

D1, D2, D3, D4, D5 = (date(2026, 1, n) for n in (1, 2, 3, 4, 5))
STAGING = tables("staging")
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


@pytest.fixture
def run(spark, lake, landing):
    """Run an ingest up to a day: `run(D2)`; into another lake with `run(D2, other)`."""

    def to(ds: date, into: Lake = lake, **tuned):
        return ingest(spark, into, str(landing), ds, Parameters().with_values(tuned))

    return to


def staged(lake: Lake, table: str, ds: date = D1) -> list[dict]:
    manifest = lake.manifest(f"staging/{table}", ds)
    return lake.arrow(f"staging/{table}", ds).to_pylist() if manifest.files else []


def digests(lake: Lake, *days: date) -> dict[str, list[str]]:
    return {f"{table} {ds}": sorted(lake.manifest(table, ds).files.values()) for table in STAGING for ds in days}


def event(**given) -> dict:
    return {
        "event_id": None, "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-01T10:00:00Z",
    } | given  # fmt: skip


def csv_text(rows: list[dict]) -> str:
    def cell(value) -> str:
        return "" if value is None else '"' + str(value).replace('"', '""') + '"'

    return "\n".join([",".join(rows[0]), *(",".join(cell(value) for value in row.values()) for row in rows)]) + "\n"


def test_the_formats_stage_the_same_rows_and_odd_ids_survive_byte_exact(land, lake, run):
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
        assert [row["item_id"] for row in staged_rows] == ODD_IDS
        assert [row["user_id"] for row in staged_rows] == ODD_IDS
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
        " 7 ": 700,
        "90071992547409.93": 9007199254740993,
    }
    land("items", f"{D1}", "a.csv", csv_text([{"item_id": text, "price": text} for text in prices]))
    floats = pa.table({"item_id": ["float 1.005", "float 0.29"], "price": pa.array([1.005, 0.29])})
    land("items", f"{D1}", "b.parquet", floats)
    land("events", f"{D1}")
    run(D1)
    staged_rows = {row["item_id"]: row["price_minor"] for row in staged(lake, "items")}
    assert staged_rows == prices | {"float 1.005": 101, "float 0.29": 29}


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


# Rows that look alike ----------------------------------------------------------------------------------------


def test_equal_events_without_an_id_all_count_and_get_ids_of_their_own(land, lake, run):
    land("events", f"{D1}", "a.csv", csv_text([event(), event(), event(item_id="i2")]))
    run(D1)
    ids = [row["interaction_id"] for row in staged(lake, "interactions")]
    assert sorted(name.split("#")[1] for name in ids) == ["1", "1", "2"]
    assert len(set(ids)) == 3


def test_an_event_id_counts_once_in_its_day_and_the_first_to_land_keeps_it(land, lake, run):
    land("events", f"{D1}", "a.csv", csv_text([event(event_id="e1"), event(event_id="e1"), event(event_id="e2")]))
    late = event(event_id="e1", item_id="changed")
    own = event(event_id="e1", ts="2026-01-02T08:00:00Z")  # the shop counts its ids anew every day
    land("events", f"{D2}", "a.csv", csv_text([late, own, event(event_id="e3")]))
    run(D2)
    assert [row["interaction_id"] for row in staged(lake, "interactions", D1)] == ["e1", "e2"]
    assert [row["interaction_id"] for row in staged(lake, "interactions", D2)] == ["e1", "e3@2026-01-01"]
    for day in (D1, D2):
        (aside,) = staged(lake, "quarantine", day)
        assert (aside["reason"], aside["column_name"], aside["path"]) == ("duplicate_event_id", "event_id", "a.csv")


def test_days_built_together_or_one_by_one_are_the_same_bytes(land, lake, run, tmp_path):
    for n, day in enumerate((D1, D2, D3)):
        same = [event(event_id=f"e{k}", item_id=f"i{n}", ts="2026-01-01T10:00:00Z") for k in range(4)]
        fresh = [event(event_id=f"e{k}", item_id=f"i{k}", ts=f"{day}T11:00:00Z") for k in range(5)]
        land("events", f"{day}", "a.csv", csv_text(same[:2] + fresh[2:] + [event(), event()]))
        land("events", f"{day}", "b.jsonl", same[1:] + fresh[:3] + [event(event_type="stare")])
        land("items", f"{day}", "a.csv", csv_text([{"item_id": "i1", "title": f"{k}"} for k in (1, 2, 2)]))
    one_by_one = Lake(str(tmp_path / "one-by-one"))
    for day in (D1, D2, D3):
        assert run(day, one_by_one).built == [day]
    assert len(run(D3).built) == 3
    assert digests(lake, D1, D2, D3) == digests(one_by_one, D1, D2, D3)
    assert run(D3).built == []


def test_of_item_rows_that_conflict_in_a_day_the_last_stands(land, lake, run):
    land("events", f"{D1}")
    land("items", f"{D1}", "a.csv", csv_text([{"item_id": "i1", "title": "zz"}, {"item_id": "i2", "title": "only"}]))
    land("items", f"{D1}", "b.csv", csv_text([{"item_id": "i1", "title": name} for name in ("mid", "last", "last")]))
    summary = run(D1)
    assert [(row["item_id"], row["title"]) for row in staged(lake, "items")] == [("i1", "last"), ("i2", "only")]
    assert summary.counts["items"].repeated == 1
    assert summary.counts["items"].set_aside == {"conflicting_row": 2}
    assert sorted(row["path"] for row in staged(lake, "quarantine")) == ["a.csv", "b.csv"]


def test_events_of_items_that_never_landed_are_kept(land, lake, run):
    land("events", f"{D1}", "a.csv", csv_text([event(item_id="unheard of")]))
    land("items", f"{D1}", "a.csv", "item_id\ni1\n")
    run(D1)
    assert [row["item_id"] for row in staged(lake, "interactions")] == ["unheard of"]


# Days --------------------------------------------------------------------------------------------------------


def test_a_day_without_events_or_folders_still_has_its_partitions(land, lake, run):
    land("events", f"{D1}")
    summary = run(D1)
    assert all(lake.manifest(table, D1).row_count == 0 for table in STAGING)
    assert summary.counts["events"].landed == 0


def test_an_old_folder_that_changes_has_only_its_own_day_built_again(land, lake, run):
    for day in (D1, D2, D3):
        land("events", f"{day}", "a.csv", csv_text([event(event_id="e1", ts=f"{day}T01:00:00Z")]))
    assert run(D3).built == [D1, D2, D3]
    before = digests(lake, D1, D3)
    land("events", f"{D2}", "a.csv", csv_text([event(event_id="e1", ts=f"{D2}T02:00:00Z")]))
    land("items", f"{D3}", "a.csv", "item_id\ni1\n")
    assert run(D2).built == [D2]
    assert run(D3).built == [D3]
    assert digests(lake, D1)[f"staging/interactions {D1}"] == before[f"staging/interactions {D1}"]
    assert [f"{row['ts']:%H}" for row in staged(lake, "interactions", D2)] == ["02"]
    assert run(D3).built == []


def test_a_day_with_late_events_is_built_again_when_a_day_they_reach_back_to_changes(land, lake, run):
    land("events", f"{D1}", "a.csv", csv_text([event(event_id="e1")]))
    land("events", f"{D2}", "a.csv", csv_text([event(event_id="e2")]))
    land("events", f"{D3}", "a.csv", csv_text([event(event_id="e4", ts=f"{D3}T01:00:00Z")]))
    run(D3)
    land("events", f"{D1}", "a.csv", csv_text([event(event_id="e2")]))  # now the first day has e2 already
    assert run(D3).built == [D1, D2]
    assert staged(lake, "interactions", D2) == []
    assert [row["reason"] for row in staged(lake, "quarantine", D2)] == ["duplicate_event_id"]


def test_a_folder_that_is_taken_away_again_leaves_no_rows_behind(land, landing, lake, run):
    land("events", f"{D1}")
    path = land("items", f"{D1}", "a.csv", "item_id\ni1\n")
    run(D1)
    for left in (path, path.with_name("_SUCCESS")):
        left.unlink()
    path.parent.rmdir()
    assert run(D1).built == [D1]
    assert lake.manifest("staging/items", D1).row_count == 0


def test_file_names_with_spaces_and_special_characters_are_read_and_kept(land, lake, run):
    name = "from till 2 [a] {x}*?, 10.30+00%25 ☕.csv"
    land("events", f"{D1}", name, csv_text([event(), event(event_type="stare")]))
    run(D1)
    assert len(staged(lake, "interactions")) == 1
    assert [row["path"] for row in staged(lake, "quarantine")] == [name]


def test_a_parquet_file_damaged_in_its_middle_is_named(land, lake, run):
    rows = [event(event_id=f"{n:06d}") for n in range(5000)]
    path = land("events", f"{D1}", "whole.parquet", rows)
    land("events", f"{D2}", "hurt.parquet", rows)
    hurt = path.parent.parent / f"ds={D2}" / "hurt.parquet"
    raw = bytearray(hurt.read_bytes())
    raw[50:400] = b"\0" * 350
    hurt.write_bytes(bytes(raw))
    with pytest.raises(UnreadableFileError, match=r"ds=2026-01-02/hurt\.parquet cannot be read"):
        run(D2)


def test_the_query_knows_the_same_event_types_as_the_contract_and_the_weights():
    (check,) = [check for check in contract("staging/interactions").checks if check.kind == "in_set"]
    assert set(check.arguments["values"]) == set(EventWeights.model_fields)
