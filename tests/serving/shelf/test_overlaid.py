"""Overlays on every kind of store, and what a lookup reads once one is laid over its base."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.intraday.overlay import StaleBaseError, read_live, write_overlay
from jobs.publishing.publish import publish
from serving.shelf.encoded_parts import EncodedParts
from serving.shelf.fill import fill_shelf
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filled_shelf import SLOT_TYPES
from serving.shelf.item_fields import FIELDS
from serving.shelf.item_state import LiveItems
from serving.shelf.languages import built_in_languages
from serving.shelf.overlaid import with_overlay
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.request import Policy, ShelfRequest
from serving.shelf.similar import similar_items
from serving.shelf.snapshot import Snapshot
from serving.snapshot.manifest import StoreError
from serving.snapshot.overlay import OverlayContents, OverlayItem, is_over, overlay_url
from serving.stores import open_store
from tests.serving.small_shop import night

NEW = [
    OverlayItem(
        item_id="brand-new mug ✓",
        title="Mug of today",
        category="home/kitchen/mugs",
        brand="brand-2",
        image_url="/today.jpg",
        price_minor=777,
        stock=5,
        neighbours=[("item-00007", 0.8), ("brand-new toy", 0.7), ("no such item", 0.6), ("item-00003", 0.5)],
    ),
    OverlayItem(
        item_id="brand-new toy", title="Toy of today", category="toys/wooden", brand="a", stock=0, price_minor=500
    ),
    OverlayItem(item_id="brand-new thing"),
]

ENGLISH = built_in_languages().english.templates


def base_of(url: str, day: str = "2026-01-31", seed: int = 0) -> str:
    with closing(open_store(url)) as store:
        return publish(night(day, explores=True, seed=seed), store).manifest.version


def over_of(url: str, base: Snapshot) -> Snapshot:
    with closing(open_store(overlay_url(url))) as store, closing(store.open(str(store.pointer().live))) as stored:
        return with_overlay(base, stored)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Snapshot, Snapshot]]:
    """A base, and the same with an overlay over it."""
    url = f"lmdb://{tmp_path_factory.mktemp('overlay')}/store"
    version = base_of(url)
    write_overlay(url, version, trending=[("brand-new mug ✓", 9.0), ("item-00043", 8.0)], new_items=NEW)
    with closing(open_store(url)) as store:
        base = Snapshot(store.open(version))
        yield base, over_of(url, base)


def test_each_job_writes_its_part_and_keeps_the_others(store_url: str) -> None:
    version = base_of(store_url)
    first = write_overlay(store_url, version, trending=[("item-00001", 2.5)])
    assert is_over(first, version)
    second = write_overlay(store_url, version, new_items=NEW)
    third = write_overlay(store_url, version, trending=[("item-00002", 1.0)])
    assert len({first, second, third}) == 3
    with closing(open_store(overlay_url(store_url))) as store:
        assert store.pointer().live == third
        assert read_live(store, version) == OverlayContents([("item-00002", 1.0)], NEW)
        seq = store.pointer().seq
        assert write_overlay(store_url, version, trending=[("item-00002", 1.0)]) == third
        assert store.pointer().seq == seq  # repeating it changed nothing


def test_old_overlays_are_swept_and_the_bases_of_the_store_are_left_alone(store_url: str) -> None:
    version = base_of(store_url)
    names = [write_overlay(store_url, version, trending=[("item-00001", float(n))]) for n in range(6)]
    with closing(open_store(overlay_url(store_url))) as store:
        present = {manifest.version for manifest in store.versions()}
        assert names[-1] in present
        assert len(present) <= 4
    with closing(open_store(store_url)) as store:
        assert [manifest.version for manifest in store.versions()] == [version]


def test_an_overlay_for_a_base_that_is_not_live_is_refused_and_one_of_another_base_is_no_overlay(
    tmp_path: Path,
) -> None:
    url = f"lmdb://{tmp_path}/store"
    first = base_of(url)
    write_overlay(url, first, new_items=NEW)
    second = base_of(url, "2026-02-01", seed=1)
    with pytest.raises(StaleBaseError, match=f"{first} is not live, {second} is"):
        write_overlay(url, first, trending=[])
    with closing(open_store(url)) as store:
        base = Snapshot(store.open(second))
        with pytest.raises(StoreError, match="is not bound to"):
            over_of(url, base)
    write_overlay(url, second, trending=[])
    with closing(open_store(overlay_url(url))) as store:
        assert read_live(store, second) == OverlayContents([], [])  # nothing of the other base's came along


def test_an_overlay_that_is_too_large_is_refused(tmp_path: Path) -> None:
    url = f"lmdb://{tmp_path}/store"
    version = base_of(url)
    with pytest.raises(StoreError, match="at most 200"):
        write_overlay(url, version, trending=[(f"item-{n:05d}", 1.0) for n in range(201)])
    with pytest.raises(StoreError, match="at most 4096"):
        write_overlay(url, version, new_items=[OverlayItem(item_id=str(n)) for n in range(4097)])


def test_new_items_stand_behind_the_bases_and_are_found_by_their_ids(shop: tuple[Snapshot, Snapshot]) -> None:
    base, over = shop
    assert (len(base), len(over)) == (100, 103)
    assert over.position("item-00042") == base.position("item-00042") == 42
    assert [over.position(item.item_id) for item in NEW] == [100, 101, 102]
    assert base.position("brand-new toy") == -1
    assert [over.item_id(position) for position in (99, 100)] == ["item-00099", "brand-new mug ✓"]
    assert over.titles[100] == "Mug of today"
    assert [over.category(position) for position in (100, 101, 102)] == ["home/kitchen/mugs", "toys", ""]
    assert (over.price_minor[100], over.stock[101], over.stock[102]) == (777, 0, -1)
    assert [over.brand(position) for position in (2, 100, 101, 102)] == [base.brand(2), "brand-2", "a", ""]
    assert [over.image_url(position) for position in (2, 100, 102)] == [base.image_url(2), "/today.jpg", ""]
    assert over.reason(6, 0, 100) == "Because you viewed Mug of today"
    assert (over.overlay, base.overlay) == (over.overlay, None)
    assert over.version == base.version
    assert over.base is base


def test_answers_name_the_items_of_the_overlay_that_is_live_and_not_those_of_the_one_before(tmp_path: Path) -> None:
    url = f"lmdb://{tmp_path}/store"
    version = base_of(url)
    with closing(open_store(url)) as store:
        base = Snapshot(store.open(version))
        write_overlay(url, version, new_items=NEW)
        before = EncodedParts(over_of(url, base))
        for position in (7, 100, 101):
            before.items([position])
            before.items_with(FIELDS, [position])
            before.reasons([6], [position], [position], ENGLISH)
        write_overlay(url, version, new_items=[OverlayItem(item_id="newest", title="Newest"), *NEW])
        parts = EncodedParts(over_of(url, base), before)
        assert parts.bytes < before.bytes
        fresh = EncodedParts(over_of(url, base))
        assert parts.items([7, 100, 101]) == fresh.items([7, 100, 101])
        assert parts.items_with(FIELDS, [7, 100, 101]) == fresh.items_with(FIELDS, [7, 100, 101])
        assert b"".join(parts.reasons([6, 6], [0, 0], [100, 101], ENGLISH)) == (
            b'"Because you viewed Newest"},"Because you viewed Mug of today"},'
        )


def test_new_items_bring_pictures_to_a_night_that_has_none(tmp_path: Path) -> None:
    url, tonight = f"lmdb://{tmp_path}/store", night()
    with closing(open_store(url)) as store:
        publish(replace(tonight, items=tonight.items.drop_columns(["image_url"])), store)
        base = Snapshot(store.open(tonight.version))
        write_overlay(url, tonight.version, new_items=NEW)
        over = over_of(url, base)
    assert [over.image_url(position) for position in (0, 99, 100, 101)] == ["", "", "/today.jpg", ""]
    assert base.image_url(0) == ""


def test_stored_shelves_are_the_same_with_and_without_an_overlay(shop: tuple[Snapshot, Snapshot]) -> None:
    base, over = shop
    shelf_request = ShelfRequest(user_id="user-1", limit=15)
    assert (
        fill_shelf(over, LiveItems(over), shelf_request).positions
        == fill_shelf(base, LiveItems(base), shelf_request).positions
    )


def test_the_trending_shelf_is_the_overlays_and_the_bases_where_it_has_none(
    shop: tuple[Snapshot, Snapshot], tmp_path: Path
) -> None:
    base, over = shop
    filled = fill_shelf(over, LiveItems(over), ShelfRequest(limit=8))
    assert filled.positions[:2] == [100, 43]
    assert [LEVELS[level] for level in filled.levels[:3]] == ["trending", "trending", "global"]
    url = f"lmdb://{tmp_path}/store"
    write_overlay(url, base_of(url), new_items=NEW)
    with closing(open_store(url)) as store:
        own = Snapshot(store.open(str(store.pointer().live)))
        assert fill_shelf(over_of(url, own), LiveItems(over), ShelfRequest(limit=8)).positions == (
            fill_shelf(base, LiveItems(base), ShelfRequest(limit=8)).positions
        )


def test_neighbours_of_a_new_item_are_served_and_follow_a_look_at_it(shop: tuple[Snapshot, Snapshot]) -> None:
    _, over = shop
    live = LiveItems(over)
    assert over.similar(100)[0].tolist() == [7, 101, 3]
    assert similar_items(over, live, 100, 2).positions == [7, 3]  # the toy is out of stock
    live.set(101, 500, 3, 0)
    assert similar_items(over, live, 100, 2).positions == [7, 101]
    done = LastActions([100], [ACTION_KINDS.index("view")], [5.0])
    filled = fill_shelf(over, live, ShelfRequest(limit=8), actions=done)
    assert filled.positions[:3] == [7, 101, 3]
    assert {LEVELS[level] for level in filled.levels[:3]} == {"recent"}


def test_new_items_are_explored_with_exact_propensities_like_any_other(shop: tuple[Snapshot, Snapshot]) -> None:
    base, over = shop
    for path, pool in over.pools.items():
        added = [over.position(item.item_id) for item in NEW if not path or item.category.startswith(f"{path}/")]
        assert pool.items == base.pools[path].items + added
        np.testing.assert_array_equal(pool.draws[:, : len(base.pools[path])], base.pools[path].draws)
    shown: dict[int, float] = {}
    for number in range(600):
        filled = fill_shelf(
            over, LiveItems(over), ShelfRequest(user_id="user-1", limit=5), request_key=number.to_bytes(16, "big")
        )
        place = [SLOT_TYPES[slot] for slot in filled.slots].index("explore")
        shown[filled.positions[place]] = filled.propensities[place]
    assert sum(shown.values()) == pytest.approx(1.0)
    assert {100, 102} & set(shown)
    assert 101 not in shown  # it is out of stock


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 110),
    path=st.sampled_from([None, "home", "home/kitchen/mugs", "toys"]),
    highest=st.one_of(st.none(), st.integers(0, 900)),
    gone=st.sets(st.integers(0, 102), max_size=90),
)
def test_a_shelf_over_an_overlay_is_full_and_holds_what_may_be_shown(
    shop: tuple[Snapshot, Snapshot], limit: int, path: str | None, highest: int | None, gone: set[int]
) -> None:
    _, over = shop
    live = LiveItems(over)
    for position in gone:
        live.set(position, -2, 0, 0)
    shelf_request = ShelfRequest(user_id="user-1", limit=limit, category=path, price_max_minor=highest)
    filled = fill_shelf(over, live, shelf_request, request_key=b"k" * 16, policy=Policy(explore_share=0.3))
    possible = {
        p
        for p in range(103)
        if live.servable[p]
        and (path is None or f"{over.category(p)}/".startswith(f"{path}/"))
        and (highest is None or 0 <= live.price_minor[p] <= highest)
    }
    assert set(filled.positions) <= possible
    assert len(set(filled.positions)) == len(filled.positions) == min(limit, len(possible))
    assert filled.short == (limit > len(possible))


def test_an_overlay_that_is_not_as_it_was_published_is_refused(tmp_path: Path) -> None:
    url = f"lmdb://{tmp_path}/store"
    version = base_of(url)
    write_overlay(url, version, trending=[("item-00043", 8.0)])
    (blob,) = tmp_path.glob("store/overlays/versions/*/blobs/trending.npy")
    blob.write_bytes(blob.read_bytes().replace(b"item-00043", b"item-00044"))
    with closing(open_store(url)) as store, pytest.raises(StoreError, match="is not as it was published"):
        over_of(url, Snapshot(store.open(version)))
