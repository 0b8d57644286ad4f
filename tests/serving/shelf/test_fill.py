from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.publishing.publish import publish
from serving.shelf.fill import fill_shelf
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.item_state import LiveItems
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.request import Policy, ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.snapshot.record import record_key
from serving.stores import open_store
from serving.stores.protocols import StoredVersion
from tests.serving.small_shop import night

N_ITEMS = 100
NEWCOMER = ("newcomer", "DE", "18-24", ["toys"])


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    folder: Path = tmp_path_factory.mktemp("shelf")
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night(n_items=N_ITEMS, explores=True, newcomers=[NEWCOMER]), store)
        yield Snapshot(store.open(str(store.pointer().live)))


categories = st.sampled_from([None, "home", "home/kitchen", "home/kitchen/mugs", "toys", "nowhere", "hom"])
prices = st.one_of(st.none(), st.integers(0, 250))
asks = st.builds(
    ShelfRequest,
    user_id=st.sampled_from([None, "user-1", "user 0 ✓", "newcomer", "stranger"]),
    limit=st.integers(1, 120),
    category=categories,
    price_min_minor=prices,
    price_max_minor=prices,
    region=st.sampled_from([None, "DE", "XX"]),
    age_band=st.sampled_from([None, "18-24"]),
    categories=st.sampled_from([(), ("toys",), ("home/garden", "toys"), ("nowhere",)]),
    exclude=st.lists(st.sampled_from([f"item-{n:05d}" for n in range(0, 110, 7)]), max_size=6).map(tuple),
)
feeds = st.lists(
    st.tuples(
        st.integers(0, N_ITEMS - 1), st.integers(-2, 300), st.sampled_from([-2, 0, 0, 0, 5]), st.integers(0, 1)
    ),
    max_size=80,
)


actions = st.one_of(
    st.none(),
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(range(0, N_ITEMS, 9)), st.integers(0, N_ITEMS - 1)),
            st.integers(0, len(ACTION_KINDS) - 1),
            st.sampled_from([0.0, 60.0, 3600.0, 40_000.0, 90_000.0]),
        ),
        min_size=1,
        max_size=20,
    ).map(lambda rows: LastActions(*(list(column) for column in zip(*rows, strict=True)))),
)
policies = st.sampled_from(
    [Policy(), Policy(explore_share=0.0), Policy(explore_share=0.4), Policy(explore_share=1.0)]
)


def live_of(snapshot: Snapshot, feed: list[tuple[int, int, int, int]]) -> LiveItems:
    live = LiveItems(snapshot)
    for change in feed:
        live.set(*change)
    return live


def may_be_shown(snapshot: Snapshot, live: LiveItems, shelf_request: ShelfRequest, position: int) -> bool:
    """What the rules say of one item, item by item and without NumPy."""
    price, path = int(live.price_minor[position]), snapshot.category(position)
    asked_price = shelf_request.price_min_minor is not None or shelf_request.price_max_minor is not None
    return bool(
        live.servable[position]
        and live.stock[position] != 0
        and snapshot.item_ids[position] not in shelf_request.exclude
        and (shelf_request.category is None or f"{path}/".startswith(f"{shelf_request.category}/"))
        and (not asked_price or price >= 0)
        and (shelf_request.price_min_minor is None or price >= shelf_request.price_min_minor)
        and (shelf_request.price_max_minor is None or price <= shelf_request.price_max_minor)
    )


def adjusted(ranked: list[int], done: LastActions | None) -> list[int]:
    """The documented adjustment, as the documentation says it."""
    acted = [] if done is None else list(zip(done.positions, done.kinds, done.ages_s, strict=True))
    held = {position for position, kind, _ in acted if ACTION_KINDS[kind] in ("add_to_cart", "purchase")}
    places = {"impression": 5, "click": 20, "view": 20, "rating": 20}
    rows = []
    for place, position in enumerate(p for p in ranked if p not in held):
        back = sum(
            places.get(ACTION_KINDS[kind], 0) * max(0.0, 1 - age_s / 86_400)
            for acted_on, kind, age_s in acted
            if acted_on == position
        )
        rows.append((place + back + 0.5 * (back > 0), place, position))
    return [position for _, _, position in sorted(rows)]


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shelf_request=asks, feed=feeds, done=actions, key=st.sampled_from([b"", b"a" * 16, b"b" * 16]), policy=policies
)
def test_a_shelf_holds_only_what_may_be_shown_now_once_and_all_there_is(
    snapshot: Snapshot,
    shelf_request: ShelfRequest,
    feed: list[tuple[int, int, int, int]],
    done: LastActions | None,
    key: bytes,
    policy: Policy,
) -> None:
    live = live_of(snapshot, feed)
    filled = fill_shelf(snapshot, live, shelf_request, actions=done, request_key=key, policy=policy)
    everything = {p for p in range(N_ITEMS) if may_be_shown(snapshot, live, shelf_request, p)}
    assert len(set(filled.positions)) == len(filled.positions)
    assert set(filled.positions) <= everything
    assert len(filled.positions) == min(shelf_request.limit, len(everything))
    assert filled.short == (len(everything) < shelf_request.limit)
    assert filled.degraded == []
    lists = [getattr(filled, name) for name in list(FilledShelf.__struct_fields__)[:9]]
    assert {len(values) for values in lists} == {len(filled.positions)}
    assert all(type(value) in (int, float) for values in lists for value in values)
    assert all(0 < count <= N_ITEMS for count in filled.eligible)
    again = fill_shelf(snapshot, live, shelf_request, actions=done, request_key=key, policy=policy)
    assert [getattr(again, name) for name in list(FilledShelf.__struct_fields__)[:9]] == lists


def by_visit(snapshot: Snapshot, stored: list[int], done: LastActions | None) -> list[int]:
    """The order of a stored shelf, tilted to the categories of the last half hour's actions."""
    if done is None:
        return stored
    acted = zip(done.positions, done.kinds, done.ages_s, strict=True)
    paths = [snapshot.category(p) for p, kind, age_s in acted if ACTION_KINDS[kind] != "impression" and age_s <= 1800]
    met = Counter(path for path in paths if path)
    share = {path: count / met.total() for path, count in met.items()}
    places = {p: (place + 1) / (1 + 8 * share.get(snapshot.category(p), 0)) for place, p in enumerate(stored)}
    return sorted(stored, key=places.__getitem__)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shelf_request=asks, feed=feeds, done=actions, key=st.sampled_from([b"", b"a" * 16, b"b" * 16]), policy=policies
)
@example(  # an excluded item stands before the two of which the visit puts the later one first
    shelf_request=ShelfRequest(user_id="user-1", limit=1, category="home", exclude=("item-00035",)),
    feed=[],
    done=LastActions(positions=[0, 0, 18], kinds=[1, 1, 1], ages_s=[0.0, 0.0, 0.0]),
    key=b"",
    policy=Policy(),
)
def test_the_nights_order_is_kept_within_a_level_after_the_adjustment_for_last_actions(
    snapshot: Snapshot,
    shelf_request: ShelfRequest,
    feed: list[tuple[int, int, int, int]],
    done: LastActions | None,
    key: bytes,
    policy: Policy,
) -> None:
    live = live_of(snapshot, feed)
    filled = fill_shelf(snapshot, live, shelf_request, actions=done, request_key=key, policy=policy)
    shown = list(zip(filled.positions, filled.levels, strict=True))
    outside = {p for p, level in shown if LEVELS[level] in ("recent", "explore")}
    ranked = [(p, level) for p, level in shown if LEVELS[level] != "explore"]
    in_levels = [level for _, level in ranked if LEVELS[level] != "recent"]
    assert in_levels == sorted(in_levels)
    own = snapshot.shelf(shelf_request.user_id) if shelf_request.user_id else None
    any_item = msgspec.structs.replace(shelf_request, exclude=())
    stored = [] if own is None else [p for p in own.positions.tolist() if may_be_shown(snapshot, live, any_item, p)]
    # An excluded item keeps its place until the visit has tilted the shelf, so that all pages are tilted alike.
    tilted = [p for p in by_visit(snapshot, stored, done) if may_be_shown(snapshot, live, shelf_request, p)]
    expected = [p for p in adjusted(tilted, done) if p not in outside]
    from_own = [p for p, level in ranked if LEVELS[level] == "user"]
    assert from_own == expected[: len(from_own)]
    if len(from_own) < len(expected):  # then nothing below was needed
        assert set(in_levels) <= {LEVELS.index("user")}
    recent = [place for place, (_, level) in enumerate(ranked) if LEVELS[level] == "recent"]
    if own is None or not len(own):  # all that the last actions bring in comes first
        assert recent == list(range(len(recent)))
    else:
        assert all(place % 3 == 1 for place in recent)
    bought = set() if done is None else {p for p, k in zip(done.positions, done.kinds, strict=True) if k in (3, 4)}
    waited = [p in bought for p, _ in ranked]
    assert waited == sorted(waited)  # bought items come after everything else


def levels_of(snapshot: Snapshot, shelf_request: ShelfRequest) -> list[str]:
    return list(
        dict.fromkeys(LEVELS[level] for level in fill_shelf(snapshot, LiveItems(snapshot), shelf_request).levels)
    )


def test_a_known_user_is_filled_from_the_segment_the_category_the_world_and_the_catalogue(snapshot: Snapshot) -> None:
    assert levels_of(snapshot, ShelfRequest(user_id="user-1", limit=10)) == ["user"]
    assert levels_of(snapshot, ShelfRequest(user_id="user-12", limit=90)) == ["user", "segment", "global", "postings"]
    assert levels_of(snapshot, ShelfRequest(user_id="stranger", category="toys", limit=90)) == [
        "category",
        "postings",
    ]


def test_a_new_user_gets_the_shelf_of_the_region_and_age_band_that_the_request_names(snapshot: Snapshot) -> None:
    assert levels_of(snapshot, ShelfRequest(user_id="stranger", limit=5)) == ["trending", "global"]
    assert levels_of(snapshot, ShelfRequest(user_id="stranger", limit=5, region="DE")) == ["segment"]
    assert levels_of(snapshot, ShelfRequest(limit=5, age_band="18-24")) == ["segment"]


def test_a_newcomer_gets_what_a_stranger_gets_who_names_the_same_region_age_band_and_categories(
    snapshot: Snapshot,
) -> None:
    stranger = ShelfRequest(user_id="stranger", limit=10, region="DE", age_band="18-24", categories=("toys",))
    found = [
        fill_shelf(snapshot, LiveItems(snapshot), shelf_request)
        for shelf_request in (ShelfRequest(user_id="newcomer", limit=10), stranger)
    ]
    assert found[0].positions == found[1].positions
    assert {LEVELS[level] for level in found[0].levels} == {"segment"}
    toys = [position for position in found[0].positions if snapshot.category(position) == "toys"]
    assert toys[0] == found[0].positions[0]
    assert len(toys) >= 3


def test_what_the_request_says_of_a_user_counts_before_what_the_night_knew(snapshot: Snapshot) -> None:
    asks = [
        ShelfRequest(user_id=user, limit=9, region="XX", categories=("nowhere",)) for user in ("newcomer", "stranger")
    ]
    asks[1] = msgspec.structs.replace(asks[1], age_band="18-24")
    newcomer, stranger = (fill_shelf(snapshot, LiveItems(snapshot), shelf_request) for shelf_request in asks)
    assert newcomer.positions == stranger.positions


def test_a_stored_shelf_that_repeats_an_item_is_answered_without_the_repeat(tmp_path: Path) -> None:
    tonight = night(n_items=N_ITEMS)

    def repeating(shard: int) -> pa.Table:
        table = tonight.shelves(shard)
        ids = table["item_id"].to_pylist()
        repeated = [ids[row - 1] if rank == 2 else ids[row] for row, rank in enumerate(table["rank"].to_pylist())]
        return table.set_column(table.column_names.index("item_id"), "item_id", pa.array(repeated, pa.string()))

    with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        publish(replace(tonight, shelves=repeating), store)
        found = Snapshot(store.open(tonight.version))
        for limit in (5, 60):
            filled = fill_shelf(found, LiveItems(found), ShelfRequest(user_id="user-1", limit=limit))
            assert len(set(filled.positions)) == len(filled.positions) == limit


class OneRecord:
    """A stored version that answers every look-up with one record."""

    def __init__(self, stored: StoredVersion) -> None:
        self._stored = stored
        self.record: bytes | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._stored, name)

    def look_up(self, key: bytes) -> bytes | None:
        return self.record


def test_an_answer_over_an_altered_record_is_full_and_marked_as_degraded(tmp_path: Path) -> None:
    rng, degraded = np.random.default_rng(5), set()
    with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        publish(night(n_items=N_ITEMS, explores=True), store)
        stored = OneRecord(store.open(str(store.pointer().live)))
        snapshot, record = Snapshot(stored), stored.get(record_key("user-3"))
        for number in range(300):
            altered = bytearray(record)
            for place in rng.integers(0, len(altered), 3):
                altered[place] = rng.integers(256)
            stored.record = bytes(altered)
            filled = fill_shelf(snapshot, LiveItems(snapshot), ShelfRequest(user_id=f"user-3-{number}", limit=30))
            assert len(set(filled.positions)) == 30
            assert all(
                snapshot.reason(*why)
                for why in zip(filled.reasons, filled.positions, filled.reason_positions, strict=True)
            )
            degraded.update(filled.degraded)
    assert degraded == {"record_unreadable", "record_newer"}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7])
def test_answers_are_full_whatever_share_of_the_catalogue_is_out_of_stock(snapshot: Snapshot, share: float) -> None:
    live = LiveItems(snapshot)
    gone = np.random.default_rng(3).permutation(N_ITEMS)[: int(share * N_ITEMS)]
    for position in gone.tolist():
        live.set(position, -2, 0, 0)
    filled = fill_shelf(snapshot, live, ShelfRequest(user_id="user-1", limit=20))
    assert len(filled.positions) == 20
    assert not set(filled.positions) & set(gone.tolist())


def test_the_reason_names_what_it_speaks_of(snapshot: Snapshot) -> None:
    said = {code: snapshot.reason(code, 0, 2) for code in range(10)}
    assert said == {
        0: "Popular right now",
        1: "Trending in mugs",
        2: "Popular in mugs",
        3: "New in mugs",
        4: "Buy again",
        5: "Because you bought Thing № 2",
        6: "Because you viewed Thing № 2",
        7: "Because Thing № 2 is in your basket",
        8: "Picked for your taste",
        9: "Worth a look",
    }
    assert snapshot.reason(1, 4, -1) == "Trending now"  # no category
    assert snapshot.reason(3, 4, -1) == "New arrival"
    assert snapshot.reason(5, 0, -1) == "Because of what you bought"
    assert snapshot.reason(5, 0, 6) == "Because of what you bought"  # item 6 has no title
