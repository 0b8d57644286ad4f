"""Shelves: the best first, equals by position, and the same for a shopper whoever else is ranked with them."""

from functools import cache
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.candidates.candidate_set import Candidates
from jobs.candidates.generate import candidates
from jobs.candidates.sources import SCORES, Sources
from jobs.config.parameters import Parameters
from jobs.features.shoppers import ShopperHistories
from jobs.ranking.pair_features import FEATURES, ranking_features
from jobs.ranking.ranker import Ranker
from jobs.shelves.blend import NewItemBoost
from jobs.shelves.top_n import top_n
from jobs.training.examples import Examples
from jobs.training.train_heads import train
from tests.jobs.small_shop import catalogue, drawn_shop, shoppers, sources, touch

PARAMETERS = Parameters().with_values(
    {"ranking.trees": 8, "ranking.leaves": 7, "ranking.threads": 1, "ranking.head_weight.conversion": 0.0}
)
NO_HEADS = Ranker({}, {})


@cache
def trained() -> Ranker:
    """A ranker that learned from the first drawn shop: what a shopper has touched is what they will buy."""
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 60)
    features = ranking_features(shop, found, drawn)
    label = (features[:, FEATURES.index("pair_event_count")] > 0).astype(np.int32)
    of = Examples(
        found.user,
        shop.user_id,
        found.item,
        found.sources,
        features,
        {"purchase": label, "interaction": label},
        draw=np.zeros(len(label), np.float32),
        is_whole=np.ones(len(shop), np.bool_),
    )
    return train([of], PARAMETERS)


def shelves(
    shop: ShopperHistories, drawn: Sources, n: int, ranker: Ranker | None = None
) -> list[list[tuple[int, float]]]:
    """Each shopper's shelf as (item, value)."""
    found = candidates(shop, drawn, 50)
    row, rank, value = top_n(shop, found, drawn, ranker or trained(), n)
    user = found.user[row]
    assert rank.tolist() == [place + 1 for owner in range(len(shop)) for place in range((user == owner).sum())]
    assert (np.diff(user) >= 0).all()
    placed = list(zip(user.tolist(), found.item[row].tolist(), value.tolist(), strict=True))
    return [[(item, of) for owner, item, of in placed if owner == number] for number in range(len(shop))]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2), st.integers(1, 60), st.booleans())
def test_a_shelf_holds_the_best_of_the_candidates_each_once_in_order_of_value_and_position(
    seed: int, n: int, with_heads: bool
) -> None:
    shop, drawn = drawn_shop(seed)
    ranker = trained() if with_heads else NO_HEADS
    found = candidates(shop, drawn, 50)
    value = ranker.value(ranking_features(shop, found, drawn))
    for user, shelf in enumerate(shelves(shop, drawn, n, ranker)):
        mine = found.user == user
        everything = sorted(zip((-value[mine]).tolist(), found.item[mine].tolist(), strict=True))
        assert [(-of, item) for item, of in shelf] == everything[:n]


def test_equal_values_rank_by_item_position_whatever_order_their_candidates_came_in() -> None:
    n = 6
    found = Candidates(
        user=np.repeat([0, 1], n),
        item=np.tile(np.array([5, 0, 3, 1, 4, 2], np.int32), 2),
        source=np.zeros(2 * n, np.int8),
        sources=np.ones(2 * n, np.int32),
        scores={name: np.zeros(2 * n, np.float32) for name in SCORES},
    )
    shop = shoppers(n, [], [touch(3, bought=1), touch(4, bought=1)])
    row, rank, value = top_n(shop, found, sources(catalogue(n)), trained(), 4)
    assert found.item[row].tolist() == [0, 1, 2, 3, 3, 4, 0, 1]
    assert rank.tolist() == [1, 2, 3, 4] * 2
    assert [np.unique(of).size for of in (value[:4], value[4:6], value[6:])] == [1, 1, 1]
    assert value[4] > value[6]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2), st.lists(st.integers(0, 40), max_size=4))
def test_shoppers_in_other_batches_keep_their_shelves(seed: int, cuts: list[int]) -> None:
    shop, drawn = drawn_shop(seed)
    found = candidates(shop, drawn, 50)
    row, rank, value = top_n(shop, found, drawn, trained(), 20)
    bounds = sorted({0, *cuts, len(shop)})
    for low, high in pairwise(bounds):
        rows = np.flatnonzero((found.user >= low) & (found.user < high))
        scores = {name: values[rows] for name, values in found.scores.items()}
        part = Candidates(found.user[rows] - low, found.item[rows], found.source[rows], found.sources[rows], scores)
        own_row, own_rank, own_value = top_n(shop.take(low, high), part, drawn, trained(), 20)
        mine = (found.user[row] >= low) & (found.user[row] < high)
        np.testing.assert_array_equal(rows[own_row], row[mine])
        np.testing.assert_array_equal(own_rank, rank[mine])
        np.testing.assert_array_equal(own_value, value[mine])


def test_a_shorter_shelf_is_the_beginning_of_a_longer_one() -> None:
    shop, drawn = drawn_shop()
    assert [shelf[:7] for shelf in shelves(shop, drawn, 20)] == shelves(shop, drawn, 7)


def test_a_shopper_without_candidates_has_no_shelf_and_others_have_theirs() -> None:
    empty = np.empty(0, np.int8)
    bare = {name: np.empty(0, np.float32) for name in SCORES}
    none = Candidates(np.empty(0, np.int64), np.empty(0, np.int32), empty, empty, bare)
    row, rank, value = top_n(shoppers(4, [], []), none, sources(catalogue(4)), NO_HEADS, 5)
    assert (len(row), len(rank), len(value)) == (0, 0, 0)


def test_without_heads_what_more_sources_rank_highly_comes_first() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 50)
    row, rank, _ = top_n(shop, found, drawn, NO_HEADS, 50)
    votes = found.votes[row].astype(float)
    assert votes[rank <= 5].mean() > votes[rank > 25].mean() + 1


def test_a_boost_of_new_items_is_in_the_value_that_shelves_are_ordered_by() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 50)
    boost = NewItemBoost(new_item_boost=0.5, new_item_boost_days=30)
    plain = trained().value(ranking_features(shop, found, drawn))
    row, _, value = top_n(shop, found, drawn, trained(), 50, boost=boost)
    left = np.clip(1 - drawn.catalogue.columns["age_days"][found.item[row]] / 30, 0, 1)
    assert (left > 0).any()
    np.testing.assert_allclose(value, plain[row] * (1 + 0.5 * left))
    same_shopper = np.diff(found.user[row]) == 0
    assert (np.diff(value)[same_shopper] <= 0).all()
