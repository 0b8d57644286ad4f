import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs import snapshot_versions as versions
from jobs.contracts import contract
from jobs.publish import SHELF_TEXTS, publish
from jobs.publish_gates import GateLimits
from jobs.snapshot_columns import POPULARITY, PublishError, catalogue_of
from jobs.snapshot_diff import difference
from jobs.snapshot_export import export
from serving.snapshot import Snapshot
from serving.stores import Store, StoreError, open_store
from tests.serving.publisher import whole
from tests.serving.small_shop import item_ids, items_table, night

D1, D2, D3, D4 = "2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"lmdb://{tmp_path}/store")) as opened:
        yield opened


def version(day: str, seed: int = 0) -> str:
    return night(day, seed=seed).version


def gates_of(done: object) -> dict[str, str]:
    return {gate.name: gate.outcome for gate in done.manifest.gates}  # type: ignore[attr-defined]


# What is published ---------------------------------------------------------------------------------------


def test_every_shelf_is_in_the_snapshot_as_the_mart_has_it(store: Store) -> None:
    tonight = night(D1)
    publish(tonight, store)
    snapshot = Snapshot(store.open(tonight.version))
    ids = item_ids(100)
    for shard in range(tonight.n_shards):
        table = tonight.shelves(shard)
        for user in pc.unique(table["user_id"]).to_pylist():
            rows = table.filter(pc.equal(table["user_id"], user)).to_pylist()
            shelf = snapshot.shelf(user)
            assert shelf is not None
            assert [ids[p] for p in shelf.positions] == [row["item_id"] for row in rows]
            about = [None if p < 0 else ids[p] for p in shelf.reason_positions]
            assert about == [row["reason_item_id"] for row in rows]


def test_a_shelf_carries_its_users_segment(store: Store) -> None:
    tonight = night(D1)
    publish(tonight, store)
    snapshot = Snapshot(store.open(tonight.version))
    for shard in range(tonight.n_shards):
        for row in tonight.users(shard).to_pylist():
            shelf = snapshot.shelf(row["user_id"])
            assert shelf is not None
            assert snapshot.segments[shelf.segment] == (row["region"] or "", row["age_band"] or "")


def test_the_catalogue_fallbacks_postings_and_neighbours_are_read_back(store: Store) -> None:
    tonight = night(D1)
    publish(tonight, store)
    snapshot = Snapshot(store.open(tonight.version))
    rows = tonight.items.to_pylist()
    for position, row in enumerate(rows):
        assert snapshot.item_ids[position] == row["item_id"]
        assert snapshot.titles[position] == (row["title"] or "")
        assert snapshot.category(position) == (row["category"] or "")
        assert snapshot.price_minor[position] == (-1 if row["price_minor"] is None else row["price_minor"])
        assert snapshot.stock[position] == (-1 if row["stock"] is None else row["stock"])
        assert snapshot.position(row["item_id"]) == position
    by_popularity = sorted(range(100), key=lambda p: (-rows[p]["purchaser_count_30d"], p))
    assert snapshot.postings().tolist() == by_popularity
    for path in ("home", "home/kitchen", "home/kitchen/mugs", "toys"):
        inside = [p for p in by_popularity if (f"{rows[p]['category']}/").startswith(f"{path}/")]
        assert snapshot.postings(path).tolist() == inside
        low, high = snapshot.category_nodes(path)
        assert sorted(inside) == [p for p in range(100) if low <= snapshot.item_category[p] < high]
    assert snapshot.postings("hom").tolist() == []
    found = snapshot.fallback("region", "DE")
    assert found is not None
    assert found[0].tolist() == list(range(15))
    assert snapshot.fallback("region", "XX") is None
    assert snapshot.similar(99)[0].tolist() == [0, 1]


def test_the_same_night_published_twice_is_the_same_snapshot(tmp_path: Path) -> None:
    hashes = []
    for name, now in (("a", "2026-01-02T01:00:00+00:00"), ("b", "2026-01-05T01:00:00+00:00")):
        with closing(open_store(f"lmdb://{tmp_path}/{name}")) as store:
            hashes.append(publish(replace(night(D1), run_id=name * 12), store, now=now).manifest.hash)
    assert hashes[0] == hashes[1]


def test_columns_read_as_dictionaries_make_the_same_snapshot(tmp_path: Path) -> None:
    tonight = night(D1)

    def coded(shard: int) -> pa.Table:
        table = tonight.shelves(shard)
        half = len(table) // 2  # two row groups, each with a dictionary of its own
        parts = [table.slice(0, half), table.slice(half)]
        for name in SHELF_TEXTS:
            at = table.column_names.index(name)
            parts = [part.set_column(at, name, part[name].combine_chunks().dictionary_encode()) for part in parts]
        return pa.concat_tables(parts)

    hashes = []
    for name, given in (("plain", tonight), ("coded", replace(tonight, shelves=coded))):
        with closing(open_store(f"lmdb://{tmp_path}/{name}")) as store:
            hashes.append(publish(given, store).manifest.hash)
    assert hashes[0] == hashes[1]


def test_a_shop_without_purchases_is_ordered_by_what_is_looked_at() -> None:
    items = items_table(4).set_column(8, "purchaser_count_30d", pa.array([0, 0, 0, 0], pa.int64()))
    for name, weights in (("weight_30d", [5, 0, 9, 0]), ("weight_total", [5, 1, 9, 3])):
        items = items.append_column(name, pa.array(weights, pa.int64()))
    assert catalogue_of(items).popularity.tolist() == [2, 0, 3, 1]
    assert set(POPULARITY) <= {column.name for column in contract("features/item").columns}


def test_several_variants_of_a_user_are_stored_side_by_side(store: Store) -> None:
    base = night(D1)
    arm = night(D1, seed=5)

    def both(shard: int) -> pa.Table:
        other = arm.shelves(shard).set_column(0, "variant", pa.array(["arm-b"] * len(arm.shelves(shard))))
        return pa.concat_tables([other, base.shelves(shard)])  # sorted by variant first, as the mart is

    publish(replace(base, shelves=both), store)
    snapshot = Snapshot(store.open(base.version))
    one, two = snapshot.shelf("user-1"), snapshot.shelf("user-1", "arm-b")
    assert one is not None
    assert two is not None
    assert one.positions.tolist() != two.positions.tolist()
    assert snapshot.shelf("user-1", "arm-c") is None


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("item_id", "ghost", "names item 'ghost'"),
        ("source", "tea_leaves", "source 'tea_leaves'"),
        ("reason_code", "hunch", "reason_code 'hunch'"),
        ("rank", 7, "ranks do not count from 1"),
        ("score", float("nan"), "score nan"),
    ],
)
def test_a_mart_that_cannot_be_a_snapshot_ends_in_an_error_and_changes_nothing(
    store: Store, column: str, value: object, said: str
) -> None:
    publish(night(D1), store)
    bad = night(D2)

    def spoiled(shard: int) -> pa.Table:
        table = bad.shelves(shard)
        values = table[column].to_pylist()
        if shard == 1:
            values[0] = value
        return table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))

    with pytest.raises(PublishError, match=said):
        publish(replace(bad, shelves=spoiled), store)
    assert store.pointer().live == version(D1)
    assert [m.version for m in store.versions()] == [version(D1)]


def test_a_version_that_was_sealed_but_never_verified_is_verified_before_it_goes_live(store: Store) -> None:
    publish(night(D1), store)
    tonight = night(D2)
    dies = patch("jobs.publish.verify", side_effect=KeyboardInterrupt)
    with dies, pytest.raises(KeyboardInterrupt):
        publish(tonight, store)
    assert store.pointer().live == version(D1)
    assert version(D2) in {m.version for m in store.versions()}
    path = next(Path(store.url.removeprefix("lmdb://")).glob(f"versions/{version(D2)}/shards/00001.mdb"))
    path.chmod(0o644)
    data = path.read_bytes()
    record = next(iter(store.open(version(D2)).scan(1)))[1]
    at = data.index(record)
    path.write_bytes(data[: at + 20] + bytes([data[at + 20] ^ 1]) + data[at + 21 :])
    with pytest.raises(StoreError, match="failed its verification and was removed"):
        publish(tonight, store)
    assert store.pointer().live == version(D1)
    assert publish(tonight, store).live


# The publishing rule -------------------------------------------------------------------------------------


def test_a_later_day_goes_live_and_an_earlier_one_never_does(store: Store) -> None:
    assert publish(night(D2), store).live
    assert not publish(night(D1), store).live
    assert store.pointer().live == version(D2)
    assert publish(night(D3), store).live


def test_a_failed_night_that_is_backfilled_goes_live(store: Store) -> None:
    publish(night(D1), store)
    assert publish(night(D2), store).live  # D2 failed at first, and is now run by hand


def test_the_same_day_with_other_parameters_waits_for_a_person(store: Store) -> None:
    publish(night(D1, seed=1), store)
    again = publish(night(D1, seed=2), store)
    assert not again.live
    assert "topshelf promote" in again.reason
    versions.promote(store, again.manifest.version)
    assert store.pointer().live == again.manifest.version


def test_after_a_rollback_a_retry_of_the_same_night_does_not_go_live_and_the_next_night_does(store: Store) -> None:
    publish(night(D1), store)
    publish(night(D2), store)
    assert versions.rollback(store).live == version(D1)
    assert not publish(night(D2), store).live
    assert store.pointer().live == version(D1)
    assert publish(night(D3), store).live


def test_rolling_back_without_an_earlier_version_says_what_to_do(store: Store) -> None:
    publish(night(D1), store)
    with pytest.raises(StoreError, match="topshelf snapshots"):
        versions.rollback(store)
    assert store.pointer().live == version(D1)


def test_a_pinned_version_stays_live_while_nights_go_on(store: Store) -> None:
    publish(night(D1), store)
    publish(night(D2), store)
    versions.pin(store, version(D1))
    done = publish(night(D3), store)
    assert not done.live
    assert "topshelf unpin" in done.reason
    assert store.pointer().live == version(D1)
    publish(night(D4), store)
    assert version(D1) in {m.version for m in store.versions()}
    with pytest.raises(StoreError, match="pinned"):
        versions.promote(store, version(D4))
    versions.unpin(store)
    assert publish(night(D4), store).live


@pytest.mark.parametrize("order", list(itertools.permutations((D1, D2, D3))))
def test_of_publishers_racing_the_latest_day_is_live_at_the_end(tmp_path: Path, order: tuple[str, ...]) -> None:
    url = f"lmdb://{tmp_path}/store"
    errors: list[BaseException] = []

    def run(day: str) -> None:
        try:
            with closing(open_store(url)) as mine:
                publish(night(day), mine)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(day,)) for day in order]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with closing(open_store(url)) as store:
        assert store.pointer().live == version(D3)
        assert store.pointer().highest_day == D3
        assert version(D3) in {m.version for m in store.versions()}


# Retention ----------------------------------------------------------------------------------------------


def test_retention_keeps_two_and_never_the_live_or_the_one_before(store: Store) -> None:
    for day in (D1, D2, D3, D4):
        publish(night(day), store)
    assert [m.version for m in store.versions()] == [version(D3), version(D4)]
    versions.rollback(store)
    publish(night("2025-12-30"), store)
    publish(night("2025-12-31"), store)
    kept = {m.version for m in store.versions()}
    assert version(D3) in kept  # live
    assert {version("2025-12-30"), version("2025-12-31")} <= kept  # the two newest published
    assert store.pointer().live == version(D3)


def test_what_a_dead_publisher_left_is_removed_by_the_next(store: Store, tmp_path: Path) -> None:
    with store.begin("2026-01-01-dead", 3) as loading:
        loading.write_shard(0, [])
    publish(night(D2), store)
    assert store.unfinished() == []
    assert [path.name for path in (tmp_path / "store" / "loading").iterdir()] == []


def test_a_version_that_is_still_being_loaded_is_not_removed(store: Store, tmp_path: Path) -> None:
    with closing(open_store(store.url)) as other, other.begin("2026-01-01-slow", 3) as loading:
        report = loading.write_shard(0, [])
        publish(night(D2), store)
        assert loading.write_shard(1, []).records == 0
    with store.begin("2026-01-01-slow", 3) as loading:
        assert loading.finished[0] == report


# Gates --------------------------------------------------------------------------------------------------


def test_a_first_snapshot_skips_the_gates_that_compare_and_says_so(store: Store) -> None:
    done = publish(night(D1), store)
    assert done.live
    assert gates_of(done)["users"] == "skipped"
    assert "no snapshot of a day before" in done.manifest.gates[3].reason


@pytest.mark.parametrize(
    ("changes", "gate"),
    [({"n_users": 40}, "users"), ({"n_items": 70}, "items")],
)
def test_a_fall_beyond_the_set_share_is_stored_and_not_promoted(
    store: Store, changes: dict[str, int], gate: str
) -> None:
    publish(night(D1), store)
    done = publish(night(D2, **changes), store)  # type: ignore[arg-type]
    assert gates_of(done)[gate] == "failed"
    assert not done.live
    assert gate in done.reason
    assert store.pointer().live == version(D1)
    assert version(D2) in {m.version for m in store.versions()}


def test_a_snapshot_held_back_is_no_measure_for_the_next_night(store: Store) -> None:
    publish(night(D1), store)
    publish(night(D2, n_users=30), store)
    done = publish(night(D3, n_users=30), store)
    assert gates_of(done)["users"] == "failed"
    assert store.pointer().live == version(D1)


def test_a_worse_evaluation_and_an_overlap_out_of_range_hold_a_snapshot_back(store: Store) -> None:
    publish(night(D1, metrics={"holdout": {"all": {"ndcg@20": 0.3}}}), store)
    worse = night(D2, metrics={"holdout": {"all": {"ndcg@20": 0.2}}})
    limits = GateLimits(overlap_at_10=(0.0, 0.5))
    outcome = gates_of(publish(worse, store, limits=limits))
    assert (outcome["evaluation"], outcome["overlap"]) == ("failed", "failed")  # the same seed: the very same shelves


@pytest.mark.parametrize(
    ("before", "now", "outcome"), [(500, 500, "failed"), (500, 499, "skipped"), (40, 800, "skipped")]
)
def test_a_worse_evaluation_of_a_handful_of_users_holds_nothing_back(
    store: Store, before: int, now: int, outcome: str
) -> None:
    def told(ndcg: float, users: int) -> dict[str, object]:
        return {"holdout": {"all": {"ndcg@20": ndcg}, "n_users": {"all": users}}}

    publish(night(D1, metrics=told(0.3, before)), store)
    done = publish(night(D2, seed=1, metrics=told(0.2, now)), store, limits=GateLimits(overlap_at_10=(0.0, 1.0)))
    assert gates_of(done)["evaluation"] == outcome
    assert done.live == (outcome == "skipped")


def test_a_short_fallback_and_a_record_over_budget_hold_a_snapshot_back(store: Store) -> None:
    done = publish(night(D1), store, limits=GateLimits(min_fallback=60, record_bytes=100))
    assert gates_of(done) | {"fallback": "failed", "record_budget": "failed"} == gates_of(done)
    assert store.pointer().live is None


def test_force_needs_a_reason_and_keeps_it_in_the_manifest(store: Store) -> None:
    publish(night(D1), store)
    assert not publish(night(D2, n_users=30), store).live
    done = publish(night(D2, n_users=30), store, force="the Swiss shop was sold")
    assert done.live
    assert store.versions()[-1].forced == "the Swiss shop was sold"
    assert gates_of(done)["users"] == "failed"


def test_a_forced_publish_without_a_reason_is_refused_on_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.publish", "--ds", D1, "--lake", str(tmp_path), "--force", " "]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "written reason" in done.stderr


# Reading it another way ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shelves.parquet", "shelves.jsonl"])
def test_an_export_holds_every_shelf_with_item_ids(store: Store, tmp_path: Path, name: str) -> None:
    tonight = night(D1)
    publish(tonight, store)
    users = export(store, tmp_path / name)
    if name.endswith("parquet"):
        rows = pq.read_table(tmp_path / name).to_pylist()
    else:
        shelves = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        rows = [
            {"user_id": shelf["user_id"], "variant": shelf["variant"], "rank": rank, **item}
            for shelf in shelves
            for rank, item in enumerate(shelf["items"], 1)
        ]
    mart = [row for shard in range(tonight.n_shards) for row in tonight.shelves(shard).to_pylist()]
    assert users == 60
    assert len(rows) == len(mart)
    for got, want in zip(rows, mart, strict=True):
        assert got["score"] == pytest.approx(want["score"], rel=1e-3)
        assert {key: got[key] for key in want if key != "score"} == {k: v for k, v in want.items() if k != "score"}


def test_an_export_is_cut_where_asked_and_refuses_an_unknown_format(store: Store, tmp_path: Path) -> None:
    publish(night(D1), store)
    export(store, tmp_path / "a.parquet", first=3)
    assert pq.read_table(tmp_path / "a.parquet")["rank"].to_numpy().max() == 3
    with pytest.raises(StoreError, match=r"parquet or \.jsonl"):
        export(store, tmp_path / "a.xlsx")
    assert {path.name for path in tmp_path.iterdir()} == {"store", "a.parquet"}


def test_a_difference_counts_users_items_overlap_and_drift(store: Store) -> None:
    publish(night(D1, n_users=60, n_items=100), store)
    publish(night(D2, n_users=50, n_items=90), store)
    same = difference(store, version(D1), version(D1))
    assert (same.users_changed, same.overlap_at_10, same.overlap_at_n, same.mean_score_drift) == (0, 1.0, 1.0, 0.0)
    found = difference(store, version(D1), version(D2))
    assert (found.users_of_both, found.users_went, found.users_came) == (50, 10, 0)
    assert (found.items_came, found.items_went) == (0, 10)
    assert found.users_changed == 50
    assert 0 < found.overlap_at_10 < 1
    assert found.mean_score_drift > 0


# Deaths and outages -------------------------------------------------------------------------------------


LIMITED = """
import resource, signal, sys
from contextlib import closing
from jobs.contracts import contract
from jobs.publish import SHELF_TEXTS, publish
from serving.stores import open_store
from tests.serving.small_shop import night
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
with closing(open_store(sys.argv[1])) as store:
    publish(night(sys.argv[2], n_users=600, n_items=200, top_n=60), store)
"""


def test_a_full_disk_while_loading_is_told_and_what_was_live_stays(store: Store) -> None:
    publish(night(D1), store)
    command = [sys.executable, "-c", LIMITED, store.url, D2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "could not be written" in done.stderr
    assert "free space" in done.stderr
    assert store.pointer().live == version(D1)
    assert whole(store, version(D1))
    assert publish(night(D2, n_users=600, n_items=200, top_n=60), store).live  # with space again
