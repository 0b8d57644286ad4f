from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.publishing.publish import publish
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filters import Filters
from serving.shelf.item_state import LiveItems
from serving.shelf.similar import similar_items
from serving.shelf.snapshot import Snapshot
from serving.snapshot.record import REASON_CODES
from serving.stores import open_store
from tests.serving.small_shop import night

N_ITEMS = 100


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    folder: Path = tmp_path_factory.mktemp("similar")
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night(n_items=N_ITEMS), store)
        yield Snapshot(store.open(str(store.pointer().live)))


def test_neighbours_come_first_then_the_items_category_and_those_above(snapshot: Snapshot) -> None:
    live = LiveItems(snapshot)
    live.set(11, -2, 0, 0)
    live.set(12, -2, 4, 0)
    filled = similar_items(snapshot, live, 10, 30)
    assert filled.positions[0] == 12
    assert LEVELS[filled.levels[0]] == "similar"
    assert (REASON_CODES[filled.reasons[0]], filled.reason_positions[0]) == ("viewed", 10)
    paths = [snapshot.category(position) for position in filled.positions[1:]]
    narrow = [path for path in paths if path == "home/kitchen/mugs"]
    assert narrow
    assert paths[: len(narrow)] == narrow
    assert all(path.startswith("home") for path in paths)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    position=st.integers(0, N_ITEMS - 1),
    limit=st.integers(1, 110),
    prices=st.one_of(st.none(), st.tuples(st.integers(0, 250), st.integers(0, 250))),
    path=st.sampled_from([None, "home", "toys", "nowhere"]),
    exclude=st.sets(st.integers(0, N_ITEMS - 1), max_size=10),
    gone=st.sets(st.integers(0, N_ITEMS - 1), max_size=80),
)
def test_similar_items_may_all_be_shown_are_never_the_item_itself_and_are_all_there_are(
    snapshot: Snapshot,
    position: int,
    limit: int,
    prices: tuple[int, int] | None,
    path: str | None,
    exclude: set[int],
    gone: set[int],
) -> None:
    live = LiveItems(snapshot)
    for out in gone:
        live.set(out, -2, 0, 0)
    nodes = None if path is None else snapshot.category_nodes(path)
    filled = similar_items(snapshot, live, position, limit, filters=Filters(prices, nodes), exclude=exclude)
    possible = {
        p
        for p in range(N_ITEMS)
        if p != position
        and p not in exclude
        and live.servable[p]
        and (prices is None or prices[0] <= live.price_minor[p] <= prices[1])
        and (path is None or f"{snapshot.category(p)}/".startswith(f"{path}/"))
    }
    assert set(filled.positions) <= possible
    assert len(set(filled.positions)) == len(filled.positions) == min(limit, len(possible))
    assert filled.short == (len(possible) < limit)
