import gc
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.publishing.publish import publish
from serving.shelf.explore import CHOICES, Choices, ExplorePool, choose, exploration_slots, ordering_number
from serving.shelf.fill import fill_shelf
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filled_shelf import SLOT_TYPES
from serving.shelf.item_state import LiveItems
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.request import Policy, ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.snapshot.blobs import unpack, unpack_json
from serving.snapshot.contents import ORDERINGS, ContentsError, Pool, PoolHead, pool_blobs, read_pools
from serving.snapshot.record import REASON_CODES, SOURCES
from serving.stores import open_store
from tests.serving.small_shop import night

SECRET = Policy().secret


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    folder: Path = tmp_path_factory.mktemp("explore")
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night(n_items=400, explores=True), store)
        yield Snapshot(store.open(str(store.pointer().live)))


def keys_of_every_draw() -> list[bytes]:
    found: dict[int, bytes] = {}
    number = 0
    while len(found) < ORDERINGS:
        key = number.to_bytes(16, "big")
        found.setdefault(ordering_number(SECRET, key), key)
        number += 1
    return [found[draw] for draw in range(ORDERINGS)]


KEYS = keys_of_every_draw()


def pool_of(draws: np.ndarray) -> ExplorePool:
    n = draws.shape[1]
    return ExplorePool(Pool("", np.arange(n), np.full(n, 0.1), np.zeros(n, bool), draws.astype(np.float32), (1, 19)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(1, 8), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_propensity_is_the_share_of_the_orderings_that_put_the_item_into_the_slot(
    n: int, count: int, seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    pool = pool_of(rng.beta(2, rng.integers(2, 40, n), (ORDERINGS, n)))
    mask = rng.random(n) < share
    found = [pool.choice(mask.tobytes(), count, ordering) for ordering in range(ORDERINGS)]
    assert {total for total, _, _ in found} == {mask.sum()}
    naive = []
    for draw in range(ORDERINGS):
        order = sorted(range(n), key=lambda row, draw=draw: (-pool.draws[draw, row], row))
        naive.append([row for row in order if mask[row]][:count])
    for draw, (_, rows, propensities) in enumerate(found):
        assert list(rows) == naive[draw]
        for slot, (row, propensity) in enumerate(zip(rows, propensities, strict=True)):
            assert propensity == sum(other[slot] == row for other in naive) / ORDERINGS


def test_a_pool_most_of_which_is_gone_is_looked_through_to_its_end() -> None:
    pool = pool_of(np.random.default_rng(0).random((ORDERINGS, 200)))
    mask = np.zeros(200, bool)
    mask[[3, 90, 170]] = True
    found = [pool.choice(mask.tobytes(), 2, ordering) for ordering in range(ORDERINGS)]
    assert {total for total, _, _ in found} == {3}
    assert {row for _, rows, _ in found for row in rows} == {3, 90, 170}


def test_the_choices_of_all_pools_together_stay_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pools = [pool_of(rng.random((ORDERINGS, 200))) for _ in range(4)]
    monkeypatch.setattr(CHOICES, "max_bytes", 2 << 20)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(400):  # each set of eligible items is a new one, as it is for shelves of 500
            mask = rng.random(200) < 0.8
            pools[number % 4].choice(mask.tobytes(), 50, 0)
            assert CHOICES.bytes <= 2 << 20
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 1 << 20 < held < 2.1 * (1 << 20)  # what is told is what is held


def test_choices_that_were_used_lately_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(np.random.default_rng(1).random((ORDERINGS, 20)))
    made: list[int] = []

    def counted(orders: np.ndarray, mask: np.ndarray, count: int) -> Choices:
        made.append(count)
        return choose(orders, mask, count)

    monkeypatch.setattr("serving.shelf.explore.choose", counted)
    everything = np.ones(20, bool).tobytes()
    assert list(pool.choice(everything, 3, 7)[1]) == list(pool.choice(everything, 3, 7)[1])
    assert made == [3]


def test_a_pool_that_is_gone_is_not_held_by_its_choices() -> None:
    pool = pool_of(np.random.default_rng(2).random((ORDERINGS, 20)))
    pool.choice(np.ones(20, bool).tobytes(), 3, 7)
    gone = weakref.ref(pool)
    gc.disable()
    try:
        del pool
        assert gone() is None
    finally:
        gc.enable()


def test_the_slots_are_a_tenth_of_the_places_and_the_same_for_every_user() -> None:
    assert exploration_slots(4, 0.1) == ()
    assert exploration_slots(5, 0.1) == (4,)
    assert exploration_slots(20, 0.1) == (4, 14)
    assert len(exploration_slots(500, 0.1)) == 50
    assert exploration_slots(20, 0.0) == ()
    assert exploration_slots(3, 1.0) == (0, 1, 2)
    for limit in range(1, 60):
        assert exploration_slots(limit, 0.1) == tuple(place for place in exploration_slots(500, 0.1) if place < limit)


def test_a_requests_key_draws_every_ordering_about_as_often_and_the_secret_decides_which() -> None:
    counts = np.bincount(
        [ordering_number(SECRET, number.to_bytes(16, "big")) for number in range(51_200)], minlength=256
    )
    assert ((counts - 200) ** 2 / 200).sum() < 360  # chi-square with 255 degrees of freedom: p = 0.00002
    assert [ordering_number(SECRET, key) for key in KEYS[:8]] != [
        ordering_number(b"another", key) for key in KEYS[:8]
    ]


@pytest.mark.parametrize(
    "shelf_request",
    [
        ShelfRequest(user_id="user-1", limit=20),
        ShelfRequest(user_id="user-1", limit=45, category="home", price_max_minor=300),
        ShelfRequest(limit=10, region="DE"),
    ],
)
def test_over_all_orderings_each_item_is_explored_as_often_as_its_propensity_says(
    snapshot: Snapshot, shelf_request: ShelfRequest
) -> None:
    live = LiveItems(snapshot)
    seen: Counter[tuple[int, int]] = Counter()
    told: dict[tuple[int, int], float] = {}
    places = exploration_slots(shelf_request.limit, 0.1)
    assert places
    for key in KEYS:
        filled = fill_shelf(snapshot, live, shelf_request, request_key=key)
        explored = [place for place, slot in enumerate(filled.slots) if SLOT_TYPES[slot] == "explore"]
        assert tuple(explored) == places
        for place in explored:
            assert LEVELS[filled.levels[place]] == "explore"
            assert SOURCES[filled.sources[place]] == "explore"
            assert REASON_CODES[filled.reasons[place]] in ("new_item", "explore")
            what = (place, filled.positions[place])
            seen[what] += 1
            assert told.setdefault(what, filled.propensities[place]) == filled.propensities[place]
        others = [share for place, share in enumerate(filled.propensities) if place not in explored]
        assert others == [1.0] * len(others)
    assert {what: count / ORDERINGS for what, count in seen.items()} == told
    assert len({position for _, position in seen}) > 5


def test_what_is_not_explored_is_the_same_for_every_ordering(snapshot: Snapshot) -> None:
    live = LiveItems(snapshot)
    shelves = set()
    for key in KEYS:
        filled = fill_shelf(snapshot, live, ShelfRequest(user_id="user-1", limit=20), request_key=key)
        rows = zip(filled.positions, filled.slots, strict=True)
        shelves.add(tuple(position for position, slot in rows if SLOT_TYPES[slot] != "explore"))
    assert len(shelves) == 1


def test_explored_items_pass_the_filters_are_not_excluded_and_not_what_was_just_seen(snapshot: Snapshot) -> None:
    live = LiveItems(snapshot)
    pool = snapshot.pools[""]
    for position in pool.items[::3]:
        live.set(position, -2, 0, 0)
    seen, excluded = pool.items[1], pool.items[2]
    done = LastActions([seen], [ACTION_KINDS.index("impression")], [5.0])
    shelf_request = ShelfRequest(limit=20, price_max_minor=250, exclude=(snapshot.item_id(excluded),))
    shown = set()
    for key in KEYS:
        filled = fill_shelf(snapshot, live, shelf_request, actions=done, request_key=key)
        shown |= {p for p, slot in zip(filled.positions, filled.slots, strict=True) if SLOT_TYPES[slot] == "explore"}
    assert shown
    assert shown <= {p for p in pool.items if live.servable[p] and 0 <= live.price_minor[p] <= 250}
    assert not shown & {seen, excluded}


def test_slots_that_find_nothing_to_explore_are_ranked(snapshot: Snapshot) -> None:
    live = LiveItems(snapshot)
    shelf_request = ShelfRequest(user_id="user-1", limit=15)
    own = snapshot.shelf("user-1")
    assert own is not None
    left = next(p for p in snapshot.pools[""].items if live.servable[p] and p not in own.positions)
    for position in set(snapshot.pools[""].items) - {left}:
        live.set(position, -2, 0, 0)
    plain = fill_shelf(snapshot, live, shelf_request)
    assert left not in plain.positions
    filled = fill_shelf(snapshot, live, shelf_request, request_key=KEYS[0])
    assert exploration_slots(15, 0.1) == (4, 14)
    assert (filled.positions[4], filled.propensities[4]) == (left, 1.0)  # the only one there is
    assert [SLOT_TYPES[slot] for slot in filled.slots].count("explore") == 1
    assert filled.positions[:4] + filled.positions[5:] == plain.positions[:14]


def test_a_category_is_explored_from_its_own_pool_or_the_nearest_above(snapshot: Snapshot) -> None:
    assert snapshot.pool(None) is snapshot.pools[""]
    assert snapshot.pool("home/kitchen/mugs") is snapshot.pools["home"]
    assert snapshot.pool("toys") is snapshot.pools[""]


def test_without_a_key_or_without_pools_nothing_is_explored(snapshot: Snapshot, tmp_path: Path) -> None:
    assert set(fill_shelf(snapshot, LiveItems(snapshot), ShelfRequest(limit=20)).slots) == {SLOT_TYPES.index("fill")}
    with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        publish(night(n_items=100), store)
        bare = Snapshot(store.open(str(store.pointer().live)))
        filled = fill_shelf(bare, LiveItems(bare), ShelfRequest(user_id="user-1"), request_key=KEYS[0])
        assert len(filled.positions) == 20
        assert "explore" not in {SLOT_TYPES[slot] for slot in filled.slots}


def test_pools_are_read_as_they_were_written() -> None:
    rng = np.random.default_rng(0)
    pools = [
        Pool(name, np.arange(n) * 2, rng.random(n), rng.random(n) < 0.5, rng.random((ORDERINGS, n)), (1.5, 30.0))
        for name, n in (("", 7), ("home", 0), ("toys", 3))
    ]
    blobs = dict(pool_blobs(pools, 20))
    columns = {name.removeprefix("pool_"): unpack(data) for name, data in blobs.items() if name != "pools"}
    found = read_pools(unpack_json(blobs["pools"], list[PoolHead]), **columns)
    for pool, want in zip(found, pools, strict=True):
        assert (pool.category, pool.prior) == (want.category, want.prior)
        np.testing.assert_array_equal(pool.positions, want.positions)
        np.testing.assert_array_equal(pool.new, want.new)
        np.testing.assert_allclose(pool.means, want.means, rtol=1e-6)
        np.testing.assert_allclose(pool.draws, want.draws, rtol=1e-6)


@pytest.mark.parametrize(
    ("positions", "draws", "fault"),
    [
        ([1, 1], (ORDERINGS, 2), "repeats an item"),
        ([1, 20], (ORDERINGS, 2), "names an unknown one"),
        ([1, 2], (8, 2), "draws of"),
        (list(range(300)), (ORDERINGS, 300), "at most 256"),
    ],
)
def test_a_pool_of_a_wrong_shape_is_refused(positions: list[int], draws: tuple[int, int], fault: str) -> None:
    n = len(positions)
    pool = Pool("", np.array(positions), np.zeros(n), np.zeros(n, bool), np.zeros(draws), (1, 19))
    with pytest.raises(ContentsError, match=fault):
        list(pool_blobs([pool], 20))
