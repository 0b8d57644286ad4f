"""Landing to staging: what is kept, byte for byte, and how days are built."""

from datetime import date

import pytest

from jobs.config.parameters import EventWeights, Parameters
from jobs.lake.contracts import contract, tables
from jobs.lake.lake import Lake
from jobs.landing import rows as reader_of_rows
from jobs.landing.folders import UnreadableFileError
from jobs.staging.ingest import StrangersError, ingest
from tests.jobs.staging.landed_events import D1, D2, D3, csv_text, event, on_both_engines, staged

STAGING = tables("staging")


def digests(lake: Lake, *days: date) -> dict[str, list[str]]:
    return {f"{table} {ds}": sorted(lake.manifest(table, ds).files.values()) for table in STAGING for ds in days}


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


@on_both_engines
def test_days_built_together_or_one_by_one_or_by_many_workers_are_the_same_bytes(
    land, lake, run, tmp_path, monkeypatch
):
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
    by_workers = Lake(str(tmp_path / "by-workers"))
    monkeypatch.setattr(reader_of_rows, "HERE_BYTES", -1)
    run(D3, by_workers)
    assert digests(lake, D1, D2, D3) == digests(by_workers, D1, D2, D3)


def test_both_engines_stage_the_same_rows(spark, land, landing, tmp_path, monkeypatch):
    for n, day in enumerate((D1, D2)):
        with_id = [event(event_id=f"e{k}", value=1.5 * k, quantity=k, unit_price="9.99") for k in range(3)]
        without = [event(session_id="s", user_id=None, ts=f"{D1}T10:00:00.123456Z", position=n), event(), event()]
        land("events", f"{day}", "a.jsonl", [*with_id, *without, event(event_type="stare"), event(ts="noon")])
        rows = [{"item_id": "i1", "title": f"Mug “{k}”", "category": "a / b", "price": "1,5"} for k in (1, 2, 2)]
        land("items", f"{day}", "a.jsonl", [row | {"embedding": [0.5, n], "stock": -1} for row in rows])
        land("users", f"{day}", "a.jsonl", [{"user_id": "u1", "preferred_categories": ["a / b", " "]}] * 2)
        shown = {"request_id": "r", "ts": f"{D1}", "item_id": "i1", "position": 0, "filters": {"brand": "x"}}
        land("exposures", f"{day}", "a.jsonl", [shown, shown, shown | {"item_id": "i2", "score": 0.25}])
    lakes = {name: Lake(str(tmp_path / name)) for name in ("duckdb", "spark")}
    for name, limit in (("duckdb", 100_000_000), ("spark", -1)):
        monkeypatch.setattr("jobs.spark.engine.MOST_ROWS_HERE", limit)
        ingest(lakes[name], str(landing), D2, Parameters().with_values({"staging.max_quarantine_share": 1.0}))
    for table in STAGING:
        here, there = (staged(lake, table.partition("/")[2], D2) for lake in lakes.values())
        assert here == there, table
        assert here
        metrics = [lake.manifest(table, D2).metrics for lake in lakes.values()]
        assert metrics[0] == metrics[1]


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


@on_both_engines
def test_events_of_a_catalogue_with_other_ids_stop_the_night_with_examples_of_both(land, lake, run):
    land("events", f"{D1}", "a.csv", csv_text([event(item_id=f"shop_DE_{n}") for n in range(5)]))
    land("items", f"{D1}", "a.csv", "item_id\n1001\n")
    with pytest.raises(StrangersError, match=r"events have item_id 'shop_DE_0', .*, items have '1001'\. Land both"):
        run(D1)
    land("events", f"{D1}", "a.csv", csv_text([event(item_id=f"shop_DE_{n}") for n in range(4)]))
    assert run(D1).counts["events"].kept == 4


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


@on_both_engines
@pytest.mark.parametrize("reader", ["driver", "workers"])
def test_a_parquet_file_damaged_in_its_middle_is_named(land, lake, run, monkeypatch, reader):
    if reader == "workers":
        monkeypatch.setattr(reader_of_rows, "HERE_BYTES", -1)
    landed = [event(event_id=f"{n:06d}") for n in range(5000)]
    path = land("events", f"{D1}", "whole.parquet", landed)
    land("events", f"{D2}", "hurt.parquet", landed)
    hurt = path.parent.parent / f"ds={D2}" / "hurt.parquet"
    raw = bytearray(hurt.read_bytes())
    raw[50:400] = b"\0" * 350
    hurt.write_bytes(bytes(raw))
    with pytest.raises(UnreadableFileError, match=r"ds=2026-01-02/hurt\.parquet cannot be read"):
        run(D2)


def test_the_query_knows_the_same_event_types_as_the_contract_and_the_weights():
    (check,) = [check for check in contract("staging/interactions").checks if check.kind == "in_set"]
    without_weight = {"remove_from_cart", "return"}  # nothing is learned from the one, the other takes back
    assert set(check.arguments["values"]) == {*EventWeights.model_fields, *without_weight}
