"""The head of a shelf: varied by content, capped by group, by value where nothing is asked."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jobs.features.catalogue import Catalogue
from jobs.shelves.blend import Blend, NewItemBoost, blended
from tests.jobs.small_shop import catalogue

ITEMS = 60


def shop(categories: int = 4) -> tuple[Catalogue, np.ndarray]:
    """Items in turn of each category; a category's vectors are equal, and at right angles to the others'."""
    codes = np.arange(ITEMS, dtype=np.int32) % categories
    items = replace(catalogue(ITEMS), category_code=codes, owners={"brand": codes // 2, "seller_id": codes * 0 - 1})
    return items, np.eye(categories, dtype=np.float32)[codes]


def shelves(seed: int, users: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(user, item, value, rows by value): each user has some of the items, with values above 0."""
    random = np.random.default_rng(seed)
    of_user = [np.sort(random.permutation(ITEMS)[: random.integers(1, ITEMS)]) for _ in range(users)]
    user = np.repeat(np.arange(users), [len(items) for items in of_user])
    item = np.concatenate(of_user).astype(np.int32)
    value = random.random(len(item)) + 0.01
    return user, item, value, np.lexsort((item, -value, user))


def order_of(seed: int, how: Blend, **of: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    user, item, value, by_value = rows = shelves(seed, **of)
    return blended(user, item, value, by_value, *shop(), how), rows


def test_by_value_alone_nothing_moves() -> None:
    order, (*_, by_value) = order_of(1, Blend())
    assert order is by_value


def test_of_equal_values_the_most_different_item_comes_next() -> None:
    items, vectors = shop()
    user, item, value = np.zeros(4, np.int64), np.array([0, 4, 8, 1], np.int32), np.array([1.0, 0.9, 0.9, 0.9])
    order = blended(user, item, value, np.arange(4), items, vectors, Blend(mmr_lambda=0.5))
    assert item[order].tolist() == [0, 1, 4, 8]


def test_the_head_is_what_the_formula_says_place_by_place() -> None:
    items, vectors = shop()
    vectors = np.random.default_rng(3).normal(size=(ITEMS, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    user, item, value, by_value = shelves(3, users=1)
    order = blended(user, item, value, by_value, items, vectors, Blend(mmr_lambda=0.7, places=10))
    left, placed = list(by_value), []
    for _ in range(10):

        def gain(row: int) -> float:
            near = max((float(vectors[item[row]] @ vectors[item[other]]) for other in placed), default=0.0)
            return 0.7 * value[row] / value[by_value[0]] - 0.3 * max(near, 0.0)

        best = max(left, key=gain)
        placed.append(best)
        left.remove(best)
    assert order[:10].tolist() == placed
    assert order[10:].tolist() == left


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.integers(1, 30), st.integers(1, 4))
def test_every_shopper_keeps_their_items_and_capped_groups_only_overflow_where_nothing_else_is_left(
    seed: int, mmr_lambda: float, places: int, most: int
) -> None:
    how = Blend(mmr_lambda, places, {"category": most})
    order, (user, item, _, by_value) = order_of(seed, how)
    assert sorted(order.tolist()) == sorted(by_value.tolist())
    assert (np.diff(user[order]) >= 0).all()
    codes = shop()[0].category_code
    for shopper in range(user.max() + 1):
        mine = order[user[order] == shopper]
        pool = set(item[by_value[user[by_value] == shopper]][: places * 5].tolist())
        for place, row in enumerate(mine[:places]):
            before = np.bincount(codes[item[mine[:place]]], minlength=4)
            open_groups = {int(codes[one]) for one in pool if before[codes[one]] < most}
            assert before[codes[item[row]]] < most or not open_groups
            pool.discard(int(item[row]))


def test_an_item_without_a_group_is_held_back_by_no_cap() -> None:
    order, (*_, by_value) = order_of(5, Blend(most_of={"seller_id": 1}))
    assert order.tolist() == by_value.tolist()


@given(st.integers(0, 10_000))
def test_nobodys_shelf_depends_on_who_else_is_in_the_batch(seed: int) -> None:
    how = Blend(0.6, 8, {"brand": 3})
    order, (user, item, value, _) = order_of(seed, how)
    for shopper in range(user.max() + 1):
        mine = np.flatnonzero(user == shopper)
        by_value = np.lexsort((item[mine], -value[mine]))
        alone = blended(user[mine] * 0, item[mine], value[mine], by_value, *shop(), how)
        assert mine[alone].tolist() == order[user[order] == shopper].tolist()


def test_a_boost_raises_new_items_by_a_share_that_fades_evenly_with_their_age() -> None:
    boost = NewItemBoost(new_item_boost=0.5, new_item_boost_days=10)
    value = boost.boosted(np.full(5, 2.0), np.array([0, 4, 9, 10, 300]))
    np.testing.assert_allclose(value, [3.0, 2.6, 2.1, 2.0, 2.0])


def test_without_a_boost_values_are_the_same_array() -> None:
    value = np.ones(3)
    assert NewItemBoost().boosted(value, np.zeros(3)) is value
