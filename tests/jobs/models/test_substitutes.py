"""Which items stand for another one: by their words and price, and by how shoppers look and buy."""

import numpy as np
import pytest
import scipy.sparse as sp

from jobs.models.content import ContentParameters, tf_idf, train_content, words_of
from jobs.models.substitutes import LARGEST_VISIT, like_by_words, looked_at_instead
from tests.jobs.models.test_content import items

TEAWARE = [
    ("green regency teacup and saucer", "", "", 295),
    ("pink regency teacup and saucer", "", "", 295),
    ("regency cakestand three tier", "", "", 1275),
    ("regency milk jug pink", "", "", 325),
    ("wicker basket", "", "", 295),
    ("wicker heart large", "", "", 625),
    ("glass heart large", "", "", 85),
    ("bread basket tray", "", "", 999),
]


def pairs(found: sp.csr_matrix) -> set[tuple[int, int]]:
    coo = found.tocoo()
    return set(zip(coo.row.tolist(), coo.col.tolist(), strict=True))


def alike(rows: list[tuple[str, str, str, int | None]]) -> set[tuple[int, int]]:
    content, _ = train_content(items(rows), ContentParameters(10, 7))
    words = tf_idf([words_of(title, category, brand, None) for title, category, brand, _ in rows])
    prices = np.array([price or 0 for *_, price in rows])
    return pairs(like_by_words(words, prices, content["content_indptr"], content["content_indices"]))


def test_a_cup_in_another_colour_at_the_same_price_stands_for_a_cup() -> None:
    assert alike(TEAWARE) == {(0, 1), (1, 0)}


def test_products_that_share_words_at_different_prices_do_not_stand_for_each_other() -> None:
    dearer = [*TEAWARE[:1], ("pink regency teacup and saucer", "", "", 395), *TEAWARE[2:]]
    assert alike(dearer) == set()


@pytest.mark.parametrize(
    ("prices", "found"),
    [
        ([295, 295, 295], {(0, 1), (0, 2)}),
        ([295, 300, 625], {(0, 1)}),
        ([295, 0, 0], {(0, 2)}),
        ([0, 0, 0], {(0, 2)}),
    ],
)
def test_without_a_price_the_words_must_be_all_but_the_same(prices: list[int], found: set[tuple[int, int]]) -> None:
    words = sp.csr_matrix([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.8, 0.0, 0.6]])  # of the last two 0.48: not neighbours
    like = like_by_words(words, np.array(prices), np.array([0, 2, 3, 4]), np.array([1, 2, 0, 0]))
    assert pairs(like) == found | {(other, one) for one, other in found}
    assert {like[pair] for pair in found} <= {0.6, 0.8}  # the cosines, once, though 0 and 1 are neighbours both ways


def test_products_without_words_stand_for_nothing() -> None:
    assert alike([("", "", "", 295)] * 3 + TEAWARE[2:4]) == set()


def visits(*kinds: tuple[int, list[int], list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """So many visits that looked at the first items and bought the second."""
    rows = []
    for times, looked, bought in kinds:
        for _ in range(times):
            number = rows[-1][0] + 1 if rows else 0
            rows += [(number, item, False) for item in looked] + [(number, item, True) for item in bought]
    visit, item, is_bought = zip(*rows, strict=True)
    return np.array(visit), np.array(item), np.array(is_bought)


PHONES = [(20, [0, 1, 2], [0, 2]), (20, [0, 1, 2], [1, 2]), (10, [3, 4], [3, 4])]
"""Of two phones one is bought, with the case, 2. The others are bought together."""


def test_phones_that_are_compared_and_bought_one_at_a_time_stand_for_each_other() -> None:
    assert pairs(looked_at_instead(*visits(*PHONES), 5)) == {(0, 1), (1, 0)}


def test_a_few_visits_say_nothing() -> None:
    few = [(times // 10, looked, bought) for times, looked, bought in PHONES]
    assert pairs(looked_at_instead(*visits(*few), 5)) == set()


def test_what_is_looked_at_and_seldom_bought_stands_for_nothing() -> None:
    seldom = [(200, [0, 1, 2], [0, 2]), (1, [0, 1], [1, 0])]
    assert pairs(looked_at_instead(*visits(*seldom), 3)) == set()


def test_a_visit_that_looked_at_a_whole_catalogue_compared_nothing() -> None:
    rest = list(range(5, 5 + LARGEST_VISIT))
    endless = [(times, looked + rest, bought) for times, looked, bought in PHONES]
    assert pairs(looked_at_instead(*visits(*endless), 5 + LARGEST_VISIT)) == set()


def test_how_often_an_item_was_looked_at_and_in_which_order_changes_nothing() -> None:
    rows = visits(*PHONES)
    order = np.random.default_rng(3).permutation(np.tile(np.arange(len(rows[0])), 2))
    assert pairs(looked_at_instead(*(column[order] for column in rows), 5)) == {(0, 1), (1, 0)}


@pytest.mark.parametrize("n_items", [0, 4])
def test_a_shop_without_visits_has_no_substitutes(n_items: int) -> None:
    nothing = np.empty(0, np.int64)
    found = looked_at_instead(nothing, nothing, np.empty(0, np.bool_), n_items)
    assert (found.shape, found.nnz) == ((n_items, n_items), 0)
