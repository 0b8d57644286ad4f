"""The metrics by hand, and what must hold of them for any lists."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from jobs.numeric.list_metrics import (
    RepeatedItemError,
    bounds_and_margins,
    coverage,
    gini,
    hits,
    intervals,
    ndcg,
    novelty,
    rounded,
    score_lists,
    user_values,
    without_seen,
)

N_ITEMS = 12


def rows(*items: list[int], n_items: int = N_ITEMS) -> sparse.csr_matrix:
    dense = np.zeros((len(items), n_items))
    for row, chosen in enumerate(items):
        dense[row, chosen] = 1.0
    return sparse.csr_matrix(dense)


def test_recall_ndcg_and_hit_rate_are_as_computed_by_hand():
    lists = np.array([[4, 7, 1], [0, 2, -1], [5, 6, 8]])
    values = user_values(lists, rows([1, 4, 9, 10], [3], [6]), k=3)

    best_of_three = 1 + 1 / math.log2(3) + 1 / 2
    np.testing.assert_allclose(values["recall@3"], [2 / 4, 0, 1])
    np.testing.assert_allclose(values["ndcg@3"], [(1 + 1 / 2) / best_of_three, 0, 1 / math.log2(3)])
    np.testing.assert_allclose(values["hit_rate@3"], [1, 0, 1])


def test_the_ideal_list_holds_no_more_than_k_items():
    lists = np.array([[0, 1]])

    assert ndcg(hits(lists, rows([0, 1, 2, 3])), rows([0, 1, 2, 3]), k=2) == pytest.approx([1.0])


def test_padding_is_never_a_hit_of_the_user_before():
    # Row 1 minus one is the last item of row 0 where keys are made of row and position.
    truth = rows([N_ITEMS - 1], [0])

    assert not hits(np.array([[-1], [-1]]), truth).any()


def test_gini_is_0_for_even_shelves_and_near_1_for_the_same_shelf_for_all():
    assert gini(np.array([[0, 1], [2, 3]]), n_items=4) == 0
    assert gini(np.array([[0, -1], [0, -1]]), n_items=100) == pytest.approx(0.99)
    assert gini(np.array([[0, 1], [0, 2]]), n_items=3, k=1) == pytest.approx(2 / 3)
    assert gini(np.array([[-1, -1]]), n_items=3) == 0


def test_coverage_counts_each_item_once_and_only_above_the_cut():
    assert coverage(np.array([[0, 1, 2], [1, 3, -1]]), n_items=10, k=2) == pytest.approx(3 / 10)


def test_novelty_is_the_mean_of_bits_over_a_list_and_then_over_users():
    # Of 8 users 4, 1 and 0 know the items: 1, 3 and (as if one knew it) 3 bits. The third user has no list.
    lists = np.array([[0, 1], [2, -1], [-1, -1]])

    assert novelty(lists, np.array([4, 1, 0]), n_history_users=8, k=2) == pytest.approx(((1 + 3) / 2 + 3) / 2)


def test_what_was_seen_leaves_the_list_before_it_is_cut():
    filtered = without_seen(np.array([[3, 1, 4, 5], [2, 0, -1, -1]]), rows([1, 3], []))

    assert filtered.tolist() == [[4, 5, -1, -1], [2, 0, -1, -1]]


def test_new_scores_count_only_users_with_unseen_truth_and_only_that_truth():
    lists = np.array([[0, 1, 2, 3], [0, 1, 2, 3]])
    scores = score_lists(lists, rows([0, 3], [1]), rows([0, 1, 2], [1]), np.ones(N_ITEMS, int), 4, k=2)

    assert scores.n_users == {"all": 2, "new": 1}
    assert scores.metrics["all"]["recall@2"] == pytest.approx((1 / 2 + 1) / 2)
    assert scores.metrics["new"] == {
        "recall@2": 1.0,
        "ndcg@2": 1.0,
        "hit_rate@2": 1.0,
        "coverage@2": pytest.approx(1 / N_ITEMS),
        "gini@2": pytest.approx(1 - 1 / N_ITEMS),
        "novelty@2": 2.0,
    }


def test_a_user_without_a_list_counts_as_0():
    lists = np.array([[0, 1], [-1, -1]])

    scores = score_lists(lists, rows([0], [0]), rows([], []), np.ones(N_ITEMS, int), 2, k=2)

    assert scores.n_users["all"] == 2
    assert scores.metrics["all"]["recall@2"] == 0.5


def test_no_users_give_zeros():
    scores = score_lists(np.array([[0]]), rows([3]), rows([3]), np.ones(N_ITEMS, int), 1)

    assert scores.n_users == {"all": 1, "new": 0}
    assert set(scores.metrics["new"].values()) == {0.0}
    assert intervals(scores.values["new"]) == {}


def test_a_list_that_holds_an_item_twice_is_refused_by_row_and_item():
    with pytest.raises(RepeatedItemError, match="list 1 holds item position 5 more than once"):
        score_lists(np.array([[0, 1, 2], [5, 2, 5]]), rows([0], [5]), rows([], []), np.ones(N_ITEMS, int), 2)


@st.composite
def questions(draw: st.DrawFn) -> tuple[np.ndarray, sparse.csr_matrix, sparse.csr_matrix]:
    n_users = draw(st.integers(1, 5))
    item_sets = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=N_ITEMS)
    lists = np.full((n_users, N_ITEMS), -1)
    for user in range(n_users):
        chosen = draw(item_sets)
        lists[user, : len(chosen)] = chosen
    return lists, rows(*(draw(item_sets) for _ in range(n_users))), rows(*(draw(item_sets) for _ in range(n_users)))


@given(questions(), st.integers(1, N_ITEMS))
@settings(max_examples=150, deadline=None)
def test_every_metric_but_novelty_lies_between_0_and_1(question, k):
    lists, truth, seen = question
    scores = score_lists(lists, truth, seen, np.arange(N_ITEMS), N_ITEMS, k=k)

    for metrics in scores.metrics.values():
        assert all(0 <= value <= 1 + 1e-12 for name, value in metrics.items() if not name.startswith("novelty"))
        assert metrics[f"novelty@{k}"] >= 0


@given(questions(), st.integers(1, N_ITEMS))
@settings(max_examples=150, deadline=None)
def test_a_list_that_starts_with_all_of_the_truth_is_perfect(question, k):
    _, truth, seen = question
    perfect = np.stack([np.argsort(-row, kind="stable") for row in truth.toarray()])
    scores = score_lists(perfect, truth, seen, np.arange(N_ITEMS), N_ITEMS, k=k)

    for kind, n_users in scores.n_users.items():
        assert not n_users or scores.metrics[kind][f"ndcg@{k}"] == pytest.approx(1.0)
        assert not n_users or scores.metrics[kind][f"hit_rate@{k}"] == 1.0
        if k == N_ITEMS and n_users:
            assert scores.metrics[kind][f"recall@{k}"] == pytest.approx(1.0)


@given(questions(), st.integers(1, N_ITEMS), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_what_stands_below_the_cut_changes_nothing(question, k, random):
    lists, truth, _ = question
    tail = list(range(k, N_ITEMS))
    random.shuffle(tail)
    shuffled = lists[:, [*range(k), *tail]]
    nothing_seen = rows(*([] for _ in lists))

    scores = [score_lists(of, truth, nothing_seen, np.arange(N_ITEMS), 9, k=k).metrics for of in (lists, shuffled)]

    assert scores[0] == scores[1]


@given(questions())
@settings(max_examples=50, deadline=None)
def test_hits_agree_with_sets(question):
    lists, truth, _ = question
    expected = [[item in set(truth[user].indices) for item in row] for user, row in enumerate(lists.tolist())]

    assert hits(lists, truth).tolist() == expected


def test_intervals_hold_the_mean_narrow_with_users_and_repeat_for_a_seed():
    values = np.random.default_rng(1).random(4000)
    few, many = intervals({"recall@20": values[:100]}), intervals({"recall@20": values})

    assert few["recall@20"][0] < values[:100].mean() < few["recall@20"][1]
    assert np.diff(many["recall@20"]) < np.diff(few["recall@20"]) / 3
    # A uniform value has deviation sqrt(1/12); 95% of means lie within 1.96 of it over sqrt(n).
    assert np.diff(many["recall@20"]) == pytest.approx(2 * 1.96 * math.sqrt(1 / 12 / 4000), rel=0.15)
    assert intervals({"recall@20": values}) == many
    assert intervals({"recall@20": values}, seed=2) != many


def test_a_margin_is_the_paired_difference_with_its_interval_and_repeats_for_a_seed():
    truth, seen = rows(*[[user % 5] for user in range(60)]), rows(*[[] for _ in range(60)])
    audience = np.ones(N_ITEMS, dtype=np.int64)
    shelf = score_lists(np.tile([0, 1, 2], (60, 1)), truth, seen, audience, 60, k=3)
    other = score_lists(np.tile([5, 6, 0], (60, 1)), truth, seen, audience, 60, k=3)

    bounds, margins = bounds_and_margins(shelf, {"other": other, "itself": shelf}, seed=7)

    difference, low, high = margins["other"]["all"]["recall@3"]
    assert difference == pytest.approx(2 / 5)
    assert low < difference < high
    assert margins["itself"]["all"]["recall@3"] == [0.0, 0.0, 0.0]
    assert bounds["new"]["recall@3"][0] < 3 / 5 < bounds["new"]["recall@3"][1]
    assert bounds_and_margins(shelf, {"other": other, "itself": shelf}, seed=7) == (bounds, margins)
    assert bounds_and_margins(shelf, {"other": other, "itself": shelf}, seed=8)[0] != bounds


def test_rounding_reaches_into_a_report_and_leaves_the_rest():
    assert rounded({"a": [0.12345678], "n": 3, "t": "x"}) == {"a": [0.123457], "n": 3, "t": "x"}
