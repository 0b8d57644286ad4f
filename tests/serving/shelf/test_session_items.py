"""Session items: the shelf of a visitor's last actions, checked against sums by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.shelf.session_items import DECAY, SEEDS, SessionItems, session_items
from serving.shelf.snapshot import ScoredPositions

N_ITEMS = 30
Lists = dict[int, list[tuple[int, float]]]


class OneList:
    """The part of a snapshot that session items read."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists

    def item_list(self, name: str, position: int) -> ScoredPositions:
        assert name == "looked_next"
        row = self._lists.get(position, [])
        return np.array([item for item, _ in row], np.uint32), np.array([score for _, score in row], np.float32)


def found(lists: Lists, seeds: Sequence[int], acted_on: Sequence[int] = ()) -> SessionItems:
    return session_items(OneList(lists), seeds, acted_on)  # type: ignore[arg-type]


entries = st.dictionaries(st.integers(0, N_ITEMS - 1), st.floats(0.125, 10, width=32), max_size=8)
drawn_lists = st.dictionaries(
    st.integers(0, N_ITEMS - 1), entries.map(lambda row: sorted(row.items(), key=lambda e: -e[1])), max_size=N_ITEMS
)
seeds_drawn = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=20)


@settings(max_examples=200, deadline=None)
@given(drawn_lists, seeds_drawn, st.lists(st.integers(0, N_ITEMS - 1), max_size=5))
def test_scores_are_the_sums_of_the_seeds_lists_the_older_the_less(
    lists: Lists, seeds: list[int], acted_on: list[int]
) -> None:
    items = found(lists, seeds, acted_on)
    wanted: dict[int, dict[int, float]] = {}
    for turn, seed in enumerate(seeds[:SEEDS]):
        for item, score in lists.get(seed, []):
            if item not in [*seeds[:SEEDS], *acted_on]:
                wanted.setdefault(item, {})[seed] = float(np.float32(score)) * DECAY**turn
    assert dict(zip(items.positions.tolist(), items.scores.tolist(), strict=True)) == pytest.approx(
        {item: sum(given.values()) for item, given in wanted.items()}, rel=1e-5
    )
    for item, seed in zip(items.positions.tolist(), items.seeds.tolist(), strict=True):
        assert wanted[item][seed] == pytest.approx(max(wanted[item].values()), rel=1e-5)
    both = list(zip((-items.scores).tolist(), items.positions.tolist(), strict=True))
    assert both == sorted(both)


def test_an_item_of_two_lists_comes_before_its_equal_of_one() -> None:
    items = found({1: [(10, 1.0), (11, 1.0)], 2: [(11, 0.2)]}, [1, 2])
    assert items.positions.tolist() == [11, 10]
    assert items.scores.tolist() == pytest.approx([1.1, 1.0])
    assert items.seeds.tolist() == [1, 1]


def test_equal_items_stand_by_position_and_name_the_newest_seed() -> None:
    items = found({1: [(12, 0.5), (10, 0.5)], 2: [(10, 1.0)]}, [1, 2])
    assert items.positions.tolist() == [10, 12]
    assert items.seeds.tolist() == [1, 1]


def test_an_older_item_than_the_seeds_counts_no_more() -> None:
    assert found({SEEDS: [(29, 1.0)]}, range(SEEDS + 1)).positions.tolist() == []
    assert found({SEEDS - 1: [(29, 1.0)]}, range(SEEDS)).positions.tolist() == [29]


def test_without_seeds_or_lists_there_is_nothing() -> None:
    for items in (found({}, []), found({}, [1, 2]), found({1: [(2, 1.0)]}, [1], [2])):
        assert [len(column) for column in items] == [0, 0, 0]
