"""What a publish puts into a snapshot, and what is left of it when it ends early."""

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.lake.contracts import contract
from jobs.publishing import snapshot_columns
from jobs.publishing.night_contents import SHELF_TEXTS
from jobs.publishing.publish import publish
from jobs.publishing.snapshot_columns import POPULARITY, PublishError, catalogue_of
from serving.shelf.snapshot import Snapshot
from serving.snapshot.contents import Segment
from serving.snapshot.manifest import StoreError
from serving.stores import open_store
from serving.stores.protocols import Store
from tests.serving.publisher import whole
from tests.serving.small_shop import item_ids, items_table, night, version

D1, D2 = "2026-01-01", "2026-01-02"


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
            assert snapshot.segments[shelf.segment] == (row["region"] or "", row["age_band"] or "", ())


def test_a_newcomer_has_a_record_of_no_items_that_tells_the_segment(store: Store) -> None:
    newcomers = [
        ("new to all", None, None, None),
        ("chooser", "FR", "25-34", ["toys", "home/garden"]),
        ("alike", "FR", "25-34", ["home/garden", "toys"]),
    ]
    done = publish(night(D1, newcomers=newcomers), store)
    snapshot = Snapshot(store.open(version(D1)))
    assert done.manifest.users == 60 + len(newcomers)
    assert done.manifest.metrics["users_with_shelf"] == 60
    shelves = {user: snapshot.shelf(user) for user, *_ in newcomers}
    assert [len(shelf) for shelf in shelves.values() if shelf is not None] == [0, 0, 0]
    segments = {user: snapshot.segments[shelf.segment] for user, shelf in shelves.items() if shelf is not None}
    chosen = ("FR", "25-34", ("home/garden", "toys"))
    assert segments == {"new to all": ("", "", ()), "chooser": chosen, "alike": chosen}
    whole_shelf = snapshot.shelf("user-1")
    assert whole_shelf is not None
    assert len(whole_shelf) == 20


def test_of_too_many_segments_the_rarest_choices_fall_back_to_region_and_age_band(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_columns, "_MAX_SEGMENTS", 5)  # three of those with shelves, and two more
    often = [(f"often-{n}", "FR", "25-34", ["toys"]) for n in range(30)]
    publish(night(D1, newcomers=[*often, ("rare", "FR", "25-34", ["home"]), ("odd", "IT", None, None)]), store)
    snapshot = Snapshot(store.open(version(D1)))

    def segment(user: str) -> Segment:
        shelf = snapshot.shelf(user)
        assert shelf is not None
        return snapshot.segments[shelf.segment]

    assert segment("often-7") == ("FR", "25-34", ("toys",))
    assert segment("rare") == ("FR", "25-34", ())
    assert segment("odd") == ("", "", ())


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


def test_pictures_are_in_the_snapshot_but_not_what_a_page_might_run(store: Store) -> None:
    tonight = night(D1)
    urls = tonight.items["image_url"].to_pylist()
    given = [urls[0], "javascript:alert(1)", *urls[2:]]  # staged before addresses were checked
    at = tonight.items.column_names.index("image_url")
    publish(replace(tonight, items=tonight.items.set_column(at, "image_url", pa.array(given))), store)
    snapshot = Snapshot(store.open(tonight.version))
    assert [snapshot.image_url(position) for position in range(8)] == [
        "https://shop.example/0.jpg", "", "https://shop.example/2.jpg", "",
        *(f"https://shop.example/{number}.jpg" for number in (4, 5, 6)), "",
    ]  # fmt: skip


def test_a_night_of_before_there_were_pictures_has_none(store: Store) -> None:
    tonight = night(D1)
    done = publish(replace(tonight, items=tonight.items.drop_columns(["image_url"])), store)
    assert not any(name.startswith("image_urls") for name in done.manifest.blobs)
    snapshot = Snapshot(store.open(tonight.version))
    assert (snapshot.image_url(0), snapshot.brand(1)) == ("", "brand-1")


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
    dies = patch("jobs.publishing.publish.verify", side_effect=KeyboardInterrupt)
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


LIMITED = """
import resource, signal, sys
from contextlib import closing
from jobs.publishing.publish import publish
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
