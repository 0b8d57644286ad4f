"""Reasons: each names what the shopper really did, with the item that speaks most for what it explains."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.candidates.fusion import SOURCE_CODE
from jobs.candidates.generate import candidates
from jobs.candidates.sources import Sources, score
from jobs.features.shoppers import ShopperHistories
from jobs.shelves.reasons import reasons
from serving.snapshot.record import MAX_REASON_ITEMS, REASON_CODES
from tests.bench.bench_reasons import LEARNED, Places, copies
from tests.jobs.small_shop import catalogue, drawn_shop, shoppers, sources, touch

OF_EVERYBODY = ("popular", "trending", "popular_in_category", "new_item")
DONE = {"bought": {"bought": 1}, "carted": {"carted": 1}, "viewed": {"viewed": 1}, "rated": {"rated": 1}}


def told(
    shop: ShopperHistories, of: Sources, user: list[int], item: list[int], source: list[str]
) -> list[tuple[str, int]]:
    """The reasons of placed items as (code, history item)."""
    codes = np.array([SOURCE_CODE[name] for name in source], np.int8)
    code, behind = reasons(shop, of, np.array(user, np.int64), np.array(item, np.int32), codes)
    return [(REASON_CODES[one], other) for one, other in zip(code.tolist(), behind.tolist(), strict=True)]


def alike(n: int, pairs: dict[tuple[int, int], float]) -> Sources:
    """Artifacts of `n` items whose neighbours by every matrix are these, whichever way they are read."""
    near = np.zeros((n, n))
    for (one, other), value in pairs.items():
        near[one, other] = near[other, one] = value
    return sources(catalogue(n), item_item=near, ease=near, content=near)


def whole_shelves(seed: int) -> tuple[ShopperHistories, Sources, np.ndarray, np.ndarray, np.ndarray]:
    """All candidates of a drawn shop, as if everything were placed by position."""
    shop, drawn = drawn_shop(seed)
    found = candidates(shop, drawn, 60)
    return shop, drawn, found.user, found.item, found.source


@pytest.mark.parametrize("source", OF_EVERYBODY)
def test_what_everybody_gets_says_so_and_names_no_item(source: str) -> None:
    shop = shoppers(3, [touch(0, bought=9)])
    assert told(shop, alike(3, {(0, 1): 1.0}), [0], [1], [source]) == [(source, -1)]


def test_what_was_bought_before_is_to_be_bought_again() -> None:
    assert told(shoppers(2, [touch(1, bought=2)]), alike(2, {}), [0], [1], ["bought_before"]) == [("buy_again", -1)]


@pytest.mark.parametrize("source", ["item_item", "ease", "content"])
@pytest.mark.parametrize("code", DONE)
def test_a_learned_item_names_the_history_item_behind_it_and_what_was_done_with_it(source: str, code: str) -> None:
    shop = shoppers(3, [touch(2, **DONE[code])])
    assert told(shop, alike(3, {(1, 2): 0.5}), [0], [1], [source]) == [(code, 2)]


def test_a_purchase_says_more_than_a_basket_and_a_basket_more_than_a_look() -> None:
    near = alike(3, {(1, 2): 0.5})
    both = shoppers(3, [touch(2, bought=1, carted=1, viewed=5)], [touch(2, carted=1, viewed=5)])
    assert told(both, near, [0, 1], [1, 1], ["ease", "ease"]) == [("bought", 2), ("carted", 2)]
    rated = shoppers(3, [touch(2, carted=1, rated=1)], [touch(2, viewed=1, rated=1)])
    assert told(rated, near, [0, 1], [1, 1], ["ease", "ease"]) == [("carted", 2), ("viewed", 2)]


def test_the_item_named_is_the_one_that_speaks_most_by_likeness_and_by_what_was_done() -> None:
    near = alike(4, {(0, 3): 0.3, (1, 3): 0.5, (2, 3): 0.4})
    as_alike = shoppers(4, [touch(0, viewed=2), touch(1, viewed=1), touch(2, viewed=1)])
    much_done = shoppers(4, [touch(0, bought=9), touch(1, viewed=1), touch(2, viewed=1)])
    for source in ("item_item", "ease", "content"):
        assert told(as_alike, near, [0], [3], [source]) == [("viewed", 1)]
    assert told(much_done, near, [0], [3], ["item_item"]) == [("bought", 0)]


def test_an_item_that_nothing_of_the_history_is_like_is_to_the_shoppers_taste() -> None:
    near = alike(4, {(0, 3): 0.3})
    shop = shoppers(4, [touch(1, bought=1)], [], [touch(0)])  # another history, none, and only an impression
    sources_of = ["item_item", "ease", "content"]
    assert told(shop, near, [0, 1, 2], [3, 3, 3], sources_of) == [("similar_taste", -1)] * 3


def test_what_was_looked_at_lately_is_its_own_reason() -> None:
    shop = shoppers(3, [touch(0, viewed=2), touch(1, carted=1)])
    assert told(shop, alike(3, {}), [0, 0], [0, 1], ["session", "session"]) == [("viewed", 0), ("carted", 1)]


def test_a_shelf_names_only_as_many_items_as_its_record_holds_the_first_of_each_shopper() -> None:
    n = MAX_REASON_ITEMS + 3
    shop = shoppers(n, *[[touch(item, viewed=1) for item in range(n)]] * 2)
    # Placed from the last item to the first, and the very first again as somebody's second reason.
    placed = [*range(n - 1, -1, -1), n - 1]
    user = [owner for owner in (0, 1) for _ in placed]
    found = told(shop, alike(n, {}), user, placed * 2, ["session"] * len(user))
    named = [("viewed", item) for item in range(n - 1, 2, -1)]
    assert len(named) == MAX_REASON_ITEMS
    assert found == (named + [("similar_taste", -1)] * 3 + [("viewed", n - 1)]) * 2


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2))
def test_a_reason_names_only_what_its_shopper_did_something_with(seed: int) -> None:
    shop, drawn, user, item, source = whole_shelves(seed)
    code, behind = reasons(shop, drawn, user, item, source)
    rows = zip(shop.history_user(), shop.history["item_pos"], range(len(shop.history["item_pos"])), strict=True)
    history = {(int(owner), int(of)): row for owner, of, row in rows}
    named = np.flatnonzero(behind >= 0)
    assert len(named) > 100
    for row in named:
        of = history[int(user[row]), int(behind[row])]
        name = REASON_CODES[code[row]]
        done = {"bought": "purchase_count", "carted": "cart_count", "viewed": "view_count"}[name]
        assert shop.history[done][of] > 0
        assert behind[row] != item[row] or source[row] == SOURCE_CODE["session"]
    for owner in range(len(shop)):
        assert len(set(behind[(user == owner) & (behind >= 0)].tolist())) <= MAX_REASON_ITEMS


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2), st.lists(st.integers(0, 40), max_size=4))
def test_shoppers_in_other_batches_keep_their_reasons(seed: int, cuts: list[int]) -> None:
    shop, drawn, user, item, source = whole_shelves(seed)
    code, behind = reasons(shop, drawn, user, item, source)
    for low, high in pairwise(sorted({0, *cuts, len(shop)})):
        mine = (user >= low) & (user < high)
        found = reasons(shop.take(low, high), drawn, user[mine] - low, item[mine], source[mine])
        np.testing.assert_array_equal(found[0], code[mine])
        np.testing.assert_array_equal(found[1], behind[mine])


def test_an_empty_shelf_has_no_reasons() -> None:
    assert told(shoppers(2, [], [touch(0, viewed=1)]), alike(2, {}), [], [], []) == []


@pytest.mark.parametrize("source", LEARNED)
def test_without_the_item_that_a_reason_names_its_source_would_score_lower(source: str) -> None:
    shop, drawn = drawn_shop(1, 60, 120)
    found = candidates(shop, drawn, 120)
    mine = found.source == SOURCE_CODE[source]
    user, item = found.user[mine], found.item[mine]
    _, behind = reasons(shop, drawn, user, item, found.source[mine])
    named = behind >= 0
    assert named.mean() > 0.3
    places = Places(shop, user[named], item[named], found.source[mine][named], behind[named])
    own = np.arange(len(places.user))
    with_it, without = (
        score(copies(places, without=gone), drawn).at(drawn, own, places.item)[source] for gone in (False, True)
    )
    assert (without < with_it).all()
