"""The coarse cut keeps what the fine ranker would place, and changes nothing else."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.candidates.generate import candidates
from jobs.config.parameters import Parameters
from jobs.ranking.coarse_cut import COARSE, coarse_cut, coarse_keep, train_coarse_cut
from jobs.ranking.pair_features import COARSE_FEATURES, FEATURES, ranking_features
from jobs.shelves.top_n import top_n
from tests.jobs.shelves.test_top_n import trained
from tests.jobs.small_shop import drawn_shop

PARAMETERS = Parameters().with_values(
    {
        "shelves.top_n": 10,
        "ranking.coarse_keep": 15,
        "candidates.per_user": 50,
        "ranking.threads": 1,
        "ranking.head_weight.conversion": 0.0,
    }
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 12), st.integers(0, 9))
def test_each_users_best_are_kept_in_order_and_of_equal_ones_the_first(
    users: list[int], keep: int, seed: int
) -> None:
    user = np.sort(np.array(users, np.int64))
    score = np.random.default_rng(seed + 1).integers(0, 4, len(user)).astype(float)  # few values: many ties
    rows = coarse_cut(score, user, keep)
    wanted = []
    for one in np.unique(user):
        mine = np.flatnonzero(user == one)
        wanted += sorted(sorted(mine, key=lambda row: (-score[row], row))[:keep])
    assert rows.tolist() == wanted


def test_the_cut_keeps_at_least_twice_the_shelf_and_is_none_if_nothing_would_be_cut() -> None:
    assert coarse_keep(Parameters()) == 200
    assert coarse_keep(Parameters().with_values({"shelves.top_n": 120})) == 240
    assert coarse_keep(Parameters().with_values({"shelves.top_n": 150})) is None
    assert coarse_keep(Parameters().with_values({"ranking.coarse_keep": 300})) is None


def test_the_trees_recover_what_the_fine_ranker_places() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 50)
    features = ranking_features(shop, found, drawn)
    value = np.nan_to_num(features[:, FEATURES.index("ease")] + features[:, FEATURES.index("votes")])
    trees = train_coarse_cut(features, found.user, value, PARAMETERS)
    score = np.asarray(trees.predict(features[:, [FEATURES.index(name) for name in COARSE_FEATURES]]))
    kept = coarse_cut(score, found.user, 15)
    placed = coarse_cut(value, found.user, 10)
    by_position = coarse_cut(np.zeros(len(value)), found.user, 15)
    assert np.isin(placed, kept).mean() > 0.95
    assert np.isin(placed, by_position).mean() < 0.7


def test_a_cut_shelf_has_the_values_of_the_whole_one_and_misses_only_what_was_cut() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 50)
    ranker = trained()
    features = ranking_features(shop, found, drawn)
    coarse = train_coarse_cut(features, found.user, ranker.value(features), PARAMETERS)
    ranker = replace(ranker, coarse=coarse)
    assert list(ranker.models) == [*ranker.boosters, COARSE]
    kept = coarse_cut(ranker.coarse_score(ranking_features(shop, found, drawn, COARSE_FEATURES)), found.user, 15)
    row, rank, value = top_n(shop, found, drawn, ranker, 10, keep=15)
    whole_row, _, whole_value = top_n(shop, found, drawn, ranker, 50)
    assert np.isin(row, kept).all()
    left = np.isin(whole_row, kept)
    place = np.concatenate([np.arange(n) for n in np.bincount(found.user[whole_row[left]])])
    np.testing.assert_array_equal(row, whole_row[left][place < 10])
    np.testing.assert_array_equal(value, whole_value[left][place < 10])
    assert rank.max() == 10
