from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.publish import publish
from serving.item_state import LiveItems
from serving.shelf import LEVELS, Ask, pick
from serving.snapshot import Snapshot
from serving.stores import open_store
from tests.serving.small_shop import night

N_ITEMS = 100


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    folder: Path = tmp_path_factory.mktemp("shelf")
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night(n_items=N_ITEMS), store)
        yield Snapshot(store.open(str(store.pointer().live)))


categories = st.sampled_from([None, "home", "home/kitchen", "home/kitchen/mugs", "toys", "nowhere", "hom"])
prices = st.one_of(st.none(), st.integers(0, 250))
asks = st.builds(
    Ask,
    user_id=st.sampled_from([None, "user-1", "user 0 ✓", "stranger"]),
    limit=st.integers(1, 120),
    category=categories,
    price_min_minor=prices,
    price_max_minor=prices,
    region=st.sampled_from([None, "DE", "XX"]),
    age_band=st.sampled_from([None, "18-24"]),
    exclude=st.lists(st.sampled_from([f"item-{n:05d}" for n in range(0, 110, 7)]), max_size=6).map(tuple),
)
feeds = st.lists(
    st.tuples(
        st.integers(0, N_ITEMS - 1), st.integers(-2, 300), st.sampled_from([-2, 0, 0, 0, 5]), st.integers(0, 1)
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ask=asks, feed=feeds)
def test_a_shelf_holds_only_what_may_be_shown_now_once_and_all_there_is(
    snapshot: Snapshot, ask: Ask, feed: list[tuple[int, int, int, int]]
) -> None:
    live = LiveItems(snapshot)
    for change in feed:
        live.set(*change)

    def allowed(position: int) -> bool:
        price, path = int(live.price_minor[position]), snapshot.category(position)
        asked_price = ask.price_min_minor is not None or ask.price_max_minor is not None
        return bool(
            live.servable[position]
            and live.stock[position] != 0
            and snapshot.item_ids[position] not in ask.exclude
            and (ask.category is None or f"{path}/".startswith(f"{ask.category}/"))
            and (not asked_price or price >= 0)
            and (ask.price_min_minor is None or price >= ask.price_min_minor)
            and (ask.price_max_minor is None or price <= ask.price_max_minor)
        )

    picked = pick(snapshot, live, ask)
    everything = [position for position in range(N_ITEMS) if allowed(position)]
    assert len(set(picked.positions)) == len(picked.positions)
    assert set(picked.positions) <= set(everything)
    assert len(picked.positions) == min(ask.limit, len(everything))
    assert picked.short == (len(everything) < ask.limit)
    assert picked.levels == sorted(picked.levels)
    own = snapshot.shelf(ask.user_id) if ask.user_id else None
    from_own = [p for p, level in zip(picked.positions, picked.levels, strict=True) if level == 0]
    ranked = [] if own is None else [p for p in own.positions.tolist() if allowed(p)]
    assert from_own == ranked[: ask.limit]
    assert picked.degraded == []
    lists = (picked.scores, picked.sources, picked.reasons, picked.reason_positions, picked.levels, picked.eligible)
    assert {len(values) for values in lists} == {len(picked.positions)}


def levels_of(snapshot: Snapshot, ask: Ask) -> list[str]:
    return list(dict.fromkeys(LEVELS[level] for level in pick(snapshot, LiveItems(snapshot), ask).levels))


def test_a_known_user_is_filled_from_the_segment_the_category_the_world_and_the_catalogue(snapshot: Snapshot) -> None:
    assert levels_of(snapshot, Ask(user_id="user-1", limit=10)) == ["user"]
    assert levels_of(snapshot, Ask(user_id="user-12", limit=90)) == ["user", "segment", "global", "postings"]
    assert levels_of(snapshot, Ask(user_id="stranger", category="toys", limit=90)) == ["category", "postings"]


def test_a_new_user_gets_the_shelf_of_the_region_and_age_band_that_the_request_names(snapshot: Snapshot) -> None:
    assert levels_of(snapshot, Ask(user_id="stranger", limit=5)) == ["trending", "global"]
    assert levels_of(snapshot, Ask(user_id="stranger", limit=5, region="DE")) == ["segment"]
    assert levels_of(snapshot, Ask(limit=5, age_band="18-24")) == ["segment"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7])
def test_answers_are_full_whatever_share_of_the_catalogue_is_out_of_stock(snapshot: Snapshot, share: float) -> None:
    live = LiveItems(snapshot)
    gone = np.random.default_rng(3).permutation(N_ITEMS)[: int(share * N_ITEMS)]
    for position in gone.tolist():
        live.set(position, -2, 0, 0)
    picked = pick(snapshot, live, Ask(user_id="user-1", limit=20))
    assert len(picked.positions) == 20
    assert not set(picked.positions) & set(gone.tolist())


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
