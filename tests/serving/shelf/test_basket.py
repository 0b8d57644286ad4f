"""What goes with a basket: sums of its items' lists, without the basket and what stands for any of it."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.shelf.basket import ItemLists, goes_with, one_of_a_kind

ITEMS = 9
LISTS = st.lists(
    st.dictionaries(st.integers(0, ITEMS - 1), st.floats(0.0625, 4, width=16), max_size=6),
    min_size=ITEMS,
    max_size=ITEMS,
)
BASKET = st.lists(st.integers(0, ITEMS - 1), max_size=6)
NOTHING: list[dict[int, float]] = [{}] * ITEMS


def arrays(lists: list[dict[int, float]]) -> ItemLists:
    """Lists as a snapshot holds them; halves and quarters, so that sums are exact."""
    ordered = [sorted(of.items(), key=lambda entry: (-entry[1], entry[0])) for of in lists]
    entries = [entry for of in ordered for entry in of]
    indptr = np.cumsum([0, *map(len, ordered)])
    positions = np.array([position for position, _ in entries], np.uint32)
    return ItemLists(indptr, positions, np.array([score for _, score in entries], np.float32))


def found(
    basket: list[int], lists: list[dict[int, float]], instead: list[dict[int, float]]
) -> list[tuple[int, float]]:
    offered = goes_with(np.array(basket, np.int64), arrays(lists), arrays(instead))
    return list(zip(offered.positions.tolist(), offered.scores.tolist(), strict=True))


@settings(max_examples=50, deadline=None)
@given(BASKET, LISTS, LISTS)
def test_scores_are_added_over_the_basket_and_nothing_of_it_comes_back(
    basket: list[int], lists: list[dict[int, float]], instead: list[dict[int, float]]
) -> None:
    total: dict[int, float] = defaultdict(float)
    for item in set(basket):
        for other, score in lists[item].items():
            total[other] += score
    unwanted = set(basket).union(*(instead[item] for item in basket))
    wanted = [(item, score) for item, score in total.items() if item not in unwanted]
    assert found(basket, lists, instead) == sorted(wanted, key=lambda entry: (-entry[1], entry[0]))


@settings(max_examples=50, deadline=None)
@given(BASKET, LISTS, st.randoms(use_true_random=False))
def test_the_order_of_a_basket_and_an_item_in_it_twice_change_nothing(
    basket: list[int], lists: list[dict[int, float]], random: object
) -> None:
    shuffled = basket * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert found(shuffled, lists, NOTHING) == found(basket, lists, NOTHING)


@settings(max_examples=50, deadline=None)
@given(BASKET, LISTS)
def test_each_item_says_which_of_the_basket_counts_most_for_it(
    basket: list[int], lists: list[dict[int, float]]
) -> None:
    offered = goes_with(np.array(basket, np.int64), arrays(lists), arrays(NOTHING))
    for item, because in zip(offered.positions.tolist(), offered.because.tolist(), strict=True):
        assert because in basket
        assert lists[because][item] == max(lists[held].get(item, 0) for held in basket)


def test_what_goes_with_one_item_and_stands_for_another_is_not_offered() -> None:
    phone, other_phone, case, charger = range(4)
    lists = [{case: 2.0}, {case: 2.0}, {phone: 1.0, other_phone: 1.5, charger: 0.5}, *NOTHING[3:]]
    instead = [{other_phone: 1.0}, {phone: 1.0}, *NOTHING[2:]]
    assert found([case], lists, instead) == [(other_phone, 1.5), (phone, 1.0), (charger, 0.5)]
    assert found([case, phone], lists, instead) == [(charger, 0.5)]


def test_an_empty_basket_and_items_that_have_no_list_have_nothing_that_goes_with_them() -> None:
    lists = [{1: 1.0}, *NOTHING[1:]]
    assert (
        found([], lists, NOTHING) == found([4], lists, NOTHING) == found([-1, ITEMS, ITEMS + 7], lists, NOTHING) == []
    )
    assert found([-1, 0, ITEMS], lists, NOTHING) == [(1, 1.0)]


def test_a_catalogue_without_items_offers_nothing() -> None:
    nothing = ItemLists(np.zeros(1, np.int64), np.empty(0, np.uint32), np.empty(0, np.float32))
    assert len(goes_with(np.array([0, 5]), nothing, nothing).positions) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, ITEMS - 1), unique=True), LISTS, st.integers(0, 5))
def test_of_items_that_stand_for_each_other_the_first_is_kept(
    positions: list[int], instead: list[dict[int, float]], limit: int
) -> None:
    both = [
        {other: 1.0 for other in range(ITEMS) if other in instead[item] or item in instead[other]}
        for item in range(ITEMS)
    ]
    places = one_of_a_kind(np.array(positions, np.int64), arrays(both), limit)
    kept = [positions[place] for place in places]
    assert len(kept) <= limit and places == sorted(places)
    assert not any(other in both[one] for place, one in enumerate(kept) for other in kept[place + 1 :])
    before = positions[: places[-1] + 1] if places else []
    assert all(item in kept or any(item in both[one] for one in kept) for item in before)
    if len(kept) < limit:
        assert all(item in kept or any(item in both[one] for one in kept) for item in positions)


@pytest.mark.parametrize("limit", [0, 2, 9])
def test_without_substitutes_the_first_are_kept(limit: int) -> None:
    assert one_of_a_kind(np.array([7, 3, 5]), arrays(NOTHING), limit) == [0, 1, 2][:limit]


def test_lists_of_a_snapshot_are_read_in_place() -> None:
    lists = arrays([{1: 1.0, 2: 0.5}, *NOTHING[1:]])
    for array in lists:
        array.flags.writeable = False
    assert [start for start, _ in pairwise(lists.indptr)][:2] == [0, 2]
    assert goes_with(np.array([0]), lists, arrays(NOTHING)).positions.tolist() == [1, 2]
