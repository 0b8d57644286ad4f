"""Features: what stands in each column of a candidate, by hand, and that nobody's depend on who is beside them."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.candidates.candidate_set import Candidates
from jobs.candidates.fusion import SOURCE_CODE
from jobs.candidates.generate import candidates
from jobs.candidates.sources import SCORES
from jobs.features.shoppers import ShopperHistories
from jobs.ranking.pair_features import FEATURES, ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES, ranking_features
from tests.jobs.small_shop import catalogue, drawn_shop, shoppers, sources, touch

NAN = float("nan")


def named(user: list[int], item: list[int], **scores: list[float]) -> Candidates:
    """Candidates by hand: a score that is not given is 0."""
    n = len(user)
    return Candidates(
        user=np.array(user, np.int64),
        item=np.array(item, np.int32),
        source=np.full(n, SOURCE_CODE["ease"], np.int8),
        sources=np.full(n, 0b111, np.int32),
        scores={name: np.array(scores.get(name, [0.0] * n), np.float32) for name in SCORES},
    )


def column(matrix: np.ndarray, name: str) -> list[float]:
    return matrix[:, FEATURES.index(name)].tolist()


def features(shop: ShopperHistories, found: Candidates, category: Any = (), **columns: list[float]) -> np.ndarray:
    return ranking_features(shop, found, sources(catalogue(shop.n_items, category, **columns)))


def test_every_column_has_a_name_of_its_own() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 20)
    matrix = ranking_features(shop, found, drawn)
    assert matrix.shape == (len(found.user), len(FEATURES))
    assert matrix.dtype == np.float32
    assert not np.isinf(matrix).any()


def test_items_and_shoppers_bring_their_own_columns() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 20)
    matrix = ranking_features(shop, found, drawn)
    for name in ITEM_FEATURES:
        wanted = drawn.catalogue.columns[name][found.item]
        np.testing.assert_array_equal(column(matrix, f"item_{name}"), wanted, err_msg=name)
    for name in USER_FEATURES:
        np.testing.assert_array_equal(column(matrix, f"user_{name}"), shop.users[name][found.user], err_msg=name)
    for name in SCORES:
        np.testing.assert_array_equal(column(matrix, name), found.scores[name], err_msg=name)
    assert column(matrix, "source") == found.source.tolist()
    assert column(matrix, "votes") == found.votes.tolist()


def test_a_pair_brings_its_history_and_a_pair_without_one_is_missing_not_zero() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 20)
    matrix = ranking_features(shop, found, drawn)
    rows = {
        (int(user), int(item)): row
        for row, (user, item) in enumerate(zip(shop.history_user(), shop.history["item_pos"], strict=True))
    }
    of_pair = [rows.get((int(user), int(item))) for user, item in zip(found.user, found.item, strict=True)]
    assert 0 < of_pair.count(None) < len(of_pair)
    for name in PAIR_FEATURES:
        wanted = [NAN if row is None else shop.history[name][row] for row in of_pair]
        np.testing.assert_allclose(column(matrix, f"pair_{name}"), wanted, rtol=1e-6, err_msg=name)


def test_ranks_and_shares_are_among_the_shoppers_own_candidates_with_ties_by_position() -> None:
    shop = shoppers(5, [], [], [])
    als = [0.5, 2.0, 0.5, 1.0, 4.0, 3.0]
    matrix = features(shop, named([0, 0, 0, 0, 2, 2], [0, 1, 2, 4, 1, 3], als=als, ease=[0.0] * 6))
    assert column(matrix, "als_rank") == [2, 0, 3, 1, 0, 1]
    assert column(matrix, "als_share") == [0.25, 1, 0.25, 0.5, 1, 0.75]
    assert column(matrix, "ease_rank") == [0, 1, 2, 3, 0, 1]
    assert column(matrix, "ease_share") == [0] * 6
    assert column(matrix, "candidate_count") == [4, 4, 4, 4, 2, 2]


def test_a_price_is_told_as_the_logarithm_of_its_ratio_to_what_the_shopper_pays() -> None:
    shop = shoppers(4, [], [], mean_price_minor=[200, NAN])
    matrix = features(shop, named([0, 0, 0, 0, 1], [0, 1, 2, 3, 0]), price_minor=[400, 100, NAN, 0])
    assert column(matrix, "price_ratio") == pytest.approx([np.log(2), -np.log(2), NAN, NAN, NAN], nan_ok=True)


def test_a_categorys_share_is_of_the_shoppers_whole_weight_and_missing_for_an_item_without_one() -> None:
    category = ["a", "b", "a", None, "c"]
    history = [touch(0, viewed=3), touch(1, viewed=1), touch(3, viewed=4)]
    shop = shoppers(5, history, [], [touch(4, viewed=2)])
    matrix = features(shop, named([0] * 5 + [1, 2, 2], [0, 1, 2, 3, 4, 0, 0, 4]), category)
    wanted = [3 / 8, 1 / 8, 3 / 8, NAN, 0, 0, 0, 1]
    assert column(matrix, "category_share") == pytest.approx(wanted, nan_ok=True)


def test_in_a_shop_without_categories_their_share_is_missing() -> None:
    shop = shoppers(2, [touch(0, viewed=3)])
    assert column(features(shop, named([0, 0], [0, 1])), "category_share") == pytest.approx([NAN] * 2, nan_ok=True)


def test_rhythm_is_the_time_since_the_last_purchase_over_the_gaps_between_them() -> None:
    history = [touch(0, bought=3, days_ago=30) | {"mean_gap_days": 10.0}, touch(1, bought=1, days_ago=8)]
    shop = shoppers(3, history, mean_gap_days=[4.0], purchase_count_total=[16], purchase_day_count_total=[6])
    matrix = features(shop, named([0, 0, 0], [0, 1, 2]))
    assert column(matrix, "gap_ratio") == pytest.approx([3, NAN, NAN], nan_ok=True)
    assert column(matrix, "user_gap_ratio") == pytest.approx([7.5, 2, NAN], nan_ok=True)
    assert column(matrix, "pair_purchase_share") == pytest.approx([3 / 16, 1 / 16, NAN], nan_ok=True)
    assert column(matrix, "pair_day_share") == pytest.approx([0.5, 1 / 6, NAN], nan_ok=True)


def test_a_trend_is_the_weeks_share_of_the_month_and_loyalty_the_share_of_buyers_who_came_back() -> None:
    week, month, back, buyers = [10, 0, 0], [40, 50, 0], [1, 0, 0], [4, 3, 0]
    counts = {"weight_7d": week, "weight_30d": month, "repeat_purchaser_count": back, "purchaser_count_total": buyers}
    matrix = features(shoppers(3, []), named([0] * 3, [0, 1, 2]), **counts)
    assert column(matrix, "trend_ratio") == [0.25, 0, 0]
    assert column(matrix, "buyer_repeat_share") == [0.25, 0, 0]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2), st.lists(st.integers(0, 40), max_size=5))
def test_shoppers_in_other_batches_keep_their_features(seed: int, cuts: list[int]) -> None:
    shop, drawn = drawn_shop(seed)
    found = candidates(shop, drawn, 20)
    whole = ranking_features(shop, found, drawn)
    bounds = sorted({0, *cuts, len(shop)})
    for low, high in pairwise(bounds):
        rows = np.flatnonzero((found.user >= low) & (found.user < high))
        part = Candidates(
            found.user[rows] - low,
            found.item[rows],
            found.source[rows],
            found.sources[rows],
            {name: values[rows] for name, values in found.scores.items()},
        )
        np.testing.assert_array_equal(ranking_features(shop.take(low, high), part, drawn), whole[rows])


def test_a_batch_without_a_candidate_or_without_any_history_has_its_columns_all_the_same() -> None:
    assert features(shoppers(3, [], []), named([], []), ["a", "b", None]).shape == (0, len(FEATURES))
    bare = features(shoppers(3, [], []), named([0, 1], [2, 0]), ["a", "b", None])
    assert np.isnan(column(bare, "pair_event_count")).all()
    assert column(bare, "category_share") == pytest.approx([NAN, 0], nan_ok=True)
