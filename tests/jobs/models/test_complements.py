"""What is bought together with each item: directional, beyond popularity, without substitutes, bounded."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.models import complements as module
from jobs.models.complements import (
    ITEM_PRIOR,
    LARGEST_BASKET,
    LENGTH,
    PAIR_PRIOR,
    ROUNDING,
    ItemLists,
    complements,
    nothing_instead,
)

ITEMS = 8
BASKETS = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=6), max_size=12)
PAIRS = st.sets(st.tuples(st.integers(0, ITEMS - 1), st.integers(0, ITEMS - 1)), max_size=10)


def rows_of(baskets: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    basket = [number for number, items in enumerate(baskets) for _ in items]
    return np.array(basket, np.int64), np.array([item for items in baskets for item in items], np.int64)


def instead_of(pairs: set[tuple[int, int]], n_items: int = ITEMS) -> sp.csr_matrix:
    matrix = nothing_instead(n_items).tolil()
    for one, other in pairs:
        matrix[one, other] = matrix[other, one] = True
    return matrix.tocsr()


def lists_of(
    baskets: list[list[int]], n_items: int = ITEMS, pairs: set[tuple[int, int]] = frozenset()
) -> list[list[int]]:
    lists = complements(*rows_of(baskets), instead_of(pairs, n_items))
    return [lists.positions[start:end].tolist() for start, end in pairwise(lists.indptr)]


def by_hand(baskets: list[list[int]], pairs: set[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """The scores as the documentation has them, for shops without a large basket."""
    held = [sorted(set(items)) for items in baskets]
    known, company = defaultdict(int), defaultdict(int)
    walk, times = defaultdict(float), defaultdict(int)
    for items in held:
        for one in items:
            known[one] += 1
            company[one] += len(items) > 1
            for other in items:
                if one != other:
                    walk[one, other] += 1 / (len(items) - 1)
                    times[one, other] += 1
    scores = {}
    for (one, other), strength in walk.items():
        by_chance = company[one] * company[other] / sum(company.values())
        if strength > by_chance * (1 + ROUNDING) and (one, other) not in pairs and (other, one) not in pairs:
            damped = strength / (known[one] + ITEM_PRIOR) / (known[other] + ITEM_PRIOR) ** 0.5
            scores[one, other] = damped * times[one, other] / (times[one, other] + PAIR_PRIOR)
    return scores


@settings(max_examples=50, deadline=None)
@given(BASKETS, PAIRS)
def test_a_list_is_the_damped_walk_over_the_item_s_baskets(
    baskets: list[list[int]], pairs: set[tuple[int, int]]
) -> None:
    lists = complements(*rows_of(baskets), instead_of(pairs))
    row = np.repeat(np.arange(ITEMS), np.diff(lists.indptr))
    found = dict(zip(zip(row.tolist(), lists.positions.tolist(), strict=True), lists.scores.tolist(), strict=True))
    assert found == pytest.approx(by_hand(baskets, pairs), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(BASKETS, PAIRS)
def test_no_list_has_the_item_itself_or_what_stands_for_it(
    baskets: list[list[int]], pairs: set[tuple[int, int]]
) -> None:
    for item, found in enumerate(lists_of(baskets, pairs=pairs)):
        assert item not in found
        assert len(set(found)) == len(found)
        assert not {(item, other) for other in found} & (pairs | {(other, one) for one, other in pairs})


@settings(max_examples=50, deadline=None)
@given(BASKETS)
def test_a_list_descends_with_ties_by_position(baskets: list[list[int]]) -> None:
    lists = complements(*rows_of(baskets), nothing_instead(ITEMS))
    for start, end in pairwise(lists.indptr):
        entries = list(zip(-lists.scores[start:end], lists.positions[start:end], strict=True))
        assert entries == sorted(entries)


@settings(max_examples=50, deadline=None)
@given(BASKETS, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_rows_that_are_repeated_change_no_byte(
    baskets: list[list[int]], random: object
) -> None:
    basket, item = rows_of(baskets)
    order = list(range(len(item))) * 2
    random.shuffle(order)  # type: ignore[attr-defined]
    one = complements(basket, item, nothing_instead(ITEMS))
    other = complements(basket[order], item[order], nothing_instead(ITEMS))
    assert [array.tobytes() for array in one] == [array.tobytes() for array in other]


def test_the_size_of_a_block_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    basket, item = draw.integers(0, 300, 4_000), draw.integers(0, 60, 4_000)
    whole = complements(basket, item, nothing_instead(60))
    monkeypatch.setattr(module, "PAIRS_A_BLOCK", 100)
    assert [array.tobytes() for array in complements(basket, item, nothing_instead(60))] == [
        array.tobytes() for array in whole
    ]


def test_what_goes_with_an_item_need_not_be_what_the_item_goes_with() -> None:
    lamps, bulb, fuse = range(5), 5, 6
    found = lists_of([[lamp, bulb] for lamp in lamps for _ in range(10)] + [[bulb, fuse]] * 40 + [[fuse, 7]] * 2)
    assert [found[lamp] for lamp in lamps] == [[bulb]] * 5
    assert found[bulb][0] == fuse


def test_a_companion_stands_before_what_everybody_buys() -> None:
    cup, saucer, bag = 0, 1, 2
    others = [[item, 3 + (item + 1) % 5, bag] for item in range(3, 8)] * 40
    found = lists_of([[cup, saucer, bag]] * 10 + [[cup, bag, 3]] * 5 + others)
    assert found[cup][0] == saucer


def test_what_meets_an_item_no_more_often_than_by_chance_is_not_in_its_list() -> None:
    everything = [[item for item in range(ITEMS) if item % 2 == side or item == 0] for side in (0, 1)] * 50
    found = lists_of(everything + [[0, 1]] * 2)
    assert 1 not in found[2] and 2 not in found[1]
    assert found[0] and all(0 in of for of in found[3:])


def test_a_pair_counts_for_more_in_a_small_basket() -> None:
    found = lists_of([[0, 1]] * 3 + [[0, 2, 3, 4, 5, 6]] * 3 + [[2, 7]] * 3 + [[1, 7]] * 3)
    assert found[0][0] == 1


def test_one_basket_alone_stands_behind_many() -> None:
    found = lists_of([[0, 1]] + [[0, 2, 3]] * 4 + [[4, 5]] * 3)
    assert found[0][0] in {2, 3} and found[0][-1] == 1


def test_a_huge_basket_makes_pairs_of_the_items_bought_least_alone() -> None:
    n_items = 20 * LARGEST_BASKET
    huge = list(range(n_items))
    often = [[item, item + 1] for item in range(0, n_items - LARGEST_BASKET, 2)] * 2
    found = lists_of([huge, *often], n_items)
    rare = set(range(n_items - LARGEST_BASKET, n_items))
    assert all(set(found[item]) <= rare and len(found[item]) == LENGTH for item in rare)
    assert all(found[item] == [item + 1] for item in range(0, n_items - LARGEST_BASKET, 2))
    assert sum(map(len, found)) == LARGEST_BASKET * LENGTH + n_items - LARGEST_BASKET


def test_lists_have_a_length() -> None:
    n_items = LENGTH + 30
    found = lists_of([[0, item] for item in range(1, n_items)] * 2, n_items)
    assert found[0] == list(range(1, LENGTH + 1))


@pytest.mark.parametrize("baskets", [[], [[]], [[3]], [[3], [4], [3]]])
def test_a_shop_where_nothing_is_bought_together_has_empty_lists(baskets: list[list[int]]) -> None:
    lists = complements(*rows_of(baskets), nothing_instead(ITEMS))
    assert lists.indptr.tolist() == [0] * (ITEMS + 1)
    assert (len(lists.positions), len(lists.scores)) == (0, 0)


def test_a_shop_without_products_has_no_lists() -> None:
    lists = complements(*rows_of([]), nothing_instead(0))
    assert [len(array) for array in lists] == [1, 0, 0]
    assert isinstance(lists, ItemLists) and [array.dtype for array in lists] == [np.int64, np.uint32, np.float32]
