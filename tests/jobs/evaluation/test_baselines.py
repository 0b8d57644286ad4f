"""The baselines on matrices small enough to follow, and against plain NumPy on larger ones."""

import numpy as np
import pytest
from scipy import sparse

import jobs.evaluation.baselines
from jobs.evaluation.baselines import EASE_LAMBDA, History, baseline_lists, best_lists
from jobs.numeric.arrays import top_columns


def history(counts: list[list[int]], popularity: list[int]) -> History:
    return History(sparse.csr_matrix(np.array(counts, dtype=float)), np.array(popularity))


@pytest.fixture
def shop() -> tuple[History, np.ndarray, sparse.csr_matrix]:
    """60 users and 25 items with taste: users buy mostly items of their own parity."""
    random = np.random.default_rng(7)
    same = (np.arange(60)[:, None] + np.arange(25)[None, :]) % 2 == 0
    counts = random.poisson(np.where(same, 0.5, 0.05))
    popularity = (counts[:30] > 0).sum(axis=0)
    rows = np.arange(0, 60, 3)
    return History(sparse.csr_matrix(counts.astype(float)), popularity), rows, sparse.csr_matrix(counts[rows] > 0)


def ranked(scores: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """All items by score, equals by popularity, equals by position, said the slow way."""
    items = range(scores.shape[1])
    return np.array([sorted(items, key=lambda i: (-round(row[i], 9), -popularity[i], i)) for row in scores])


def test_popular_items_stand_by_distinct_users_and_equals_by_position():
    lists, _ = baseline_lists(history([[1, 1, 1, 1]], [2, 5, 2, 9]), np.array([0]), sparse.csr_matrix((1, 4)), k=4)

    assert lists["popular_30d"][0, :4].tolist() == [3, 1, 0, 2]


def test_bought_before_counts_rows_then_goes_on_with_the_popular():
    lists, _ = baseline_lists(
        history([[0, 2, 5, 2, 0], [1, 0, 0, 0, 1]], [1, 3, 0, 4, 9]), np.array([0]), sparse.csr_matrix((1, 5)), k=5
    )

    assert lists["bought_before"][0, :5].tolist() == [2, 3, 1, 4, 0]


def test_lists_of_new_items_are_whole_however_much_the_user_has_seen():
    seen = np.array([[True] * 8 + [False] * 3])

    best = best_lists(np.arange(11.0)[None, ::-1], seen, k=3)

    assert best.tolist() == [[0, 1, 2, 8, 9, 10]]


def test_a_user_who_has_seen_everything_gets_no_new_item():
    best = best_lists(np.array([[0.5, 2.0, 1.0]]), np.ones((1, 3), dtype=bool), k=2)

    assert best.tolist() == [[1, 2, -1, -1]]


def test_an_item_never_stands_twice_where_seen_and_unseen_mix():
    best = best_lists(np.array([[5.0, 4.0, 3.0, 2.0, 1.0]]), np.array([[True, False, True, False, False]]), k=2)

    assert best.tolist() == [[0, 1, 3, 4]]


def test_the_first_of_equal_scores_get_the_room_at_the_cut():
    scores = np.array([[1.0, 3.0, 1.0, 1.0, 2.0], [0.0] * 5])

    assert top_columns(scores, 3).tolist() == [[1, 4, 0], [0, 1, 2]]


def test_fewer_items_than_places_gives_all_of_them():
    assert top_columns(np.array([[1.0, 2.0]]), 20).tolist() == [[1, 0]]
    assert top_columns(np.empty((2, 0)), 20).shape == (2, 0)


def test_item_knn_sums_cosines_of_the_binary_matrix_with_the_item_itself(shop):
    of, rows, seen = shop
    binary = (of.counts.toarray() > 0).astype(float)
    norms = np.sqrt(np.maximum(binary.sum(axis=0), 1))
    scores = binary[rows] @ (binary.T @ binary / norms[:, None] / norms[None, :])

    lists, _ = baseline_lists(of, rows, seen, k=25)

    np.testing.assert_array_equal(lists["item_knn"][:, :25], ranked(scores, of.popularity))


def test_item_knn_by_way_of_the_users_gives_the_same_lists(shop, monkeypatch):
    dense, _ = baseline_lists(*shop)
    monkeypatch.setattr(jobs.evaluation.baselines, "EASE_MAX_ITEMS", 10)

    by_users, skipped = baseline_lists(*shop)

    np.testing.assert_array_equal(by_users["item_knn"], dense["item_knn"])
    assert skipped == {"ease": "25 items; a dense inverse is made up to 10"}


def test_item_knn_is_skipped_with_its_cost_where_it_would_take_too_long(shop, monkeypatch):
    monkeypatch.setattr(jobs.evaluation.baselines, "EASE_MAX_ITEMS", 10)
    monkeypatch.setattr(jobs.evaluation.baselines, "KNN_MAX_PRODUCTS", 100)

    lists, skipped = baseline_lists(*shop)

    assert set(lists) == {"popular_30d", "bought_before", "als"}
    assert "it is made up to 100" in skipped["item_knn"]


def test_ease_is_the_closed_form_with_a_zero_diagonal(shop):
    of, rows, seen = shop
    binary = (of.counts.toarray() > 0).astype(float)
    inverse = np.linalg.inv(binary.T @ binary + EASE_LAMBDA * np.eye(25))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)

    lists, skipped = baseline_lists(of, rows, seen, k=25)

    assert not skipped
    np.testing.assert_array_equal(lists["ease"][:, :25], ranked(binary[rows] @ weights, of.popularity))


def test_als_finds_the_group_that_a_shopper_buys_from_and_says_the_same_twice():
    # Two groups of shoppers with ten items of their own each; shopper 0 has not bought item 4 and the odd items.
    counts = np.kron(np.eye(2), np.ones((20, 10)))
    counts[0, [1, 3, 4, 5, 7, 9]] = 0
    history = History(sparse.csr_matrix(counts), np.ones(20, dtype=np.int64))
    seen = sparse.csr_matrix(counts[:1])

    lists, _ = baseline_lists(history, np.array([0]), seen, k=6)
    again, _ = baseline_lists(history, np.array([0]), seen, k=6)

    unseen = [item for item in lists["als"][0] if item not in {0, 2, 6, 8}]
    assert set(unseen[:6]) == {1, 3, 4, 5, 7, 9}
    np.testing.assert_array_equal(again["als"], lists["als"])


def test_als_is_skipped_with_its_size_where_it_would_take_too_long(shop, monkeypatch):
    monkeypatch.setattr(jobs.evaluation.baselines, "ALS_MAX_PAIRS", 10)

    lists, skipped = baseline_lists(*shop)

    assert "als" not in lists
    assert skipped["als"] == "349 pairs; it is fitted up to 10"


def test_items_without_an_event_stand_behind_and_do_not_count_towards_the_size_of_ease(shop, monkeypatch):
    of, rows, seen = shop
    wider = History(
        sparse.hstack([of.counts, sparse.csr_matrix((60, 40))]).tocsr(), np.append(of.popularity, [0] * 40)
    )
    monkeypatch.setattr(jobs.evaluation.baselines, "EASE_MAX_ITEMS", 25)

    narrow, _ = baseline_lists(of, rows, seen, k=25)
    wide, skipped = baseline_lists(wider, rows, sparse.hstack([seen, sparse.csr_matrix((20, 40))]).tocsr(), k=25)

    assert not skipped
    np.testing.assert_array_equal(wide["item_knn"][:, :25], narrow["item_knn"][:, :25])
    for of_wide, of_narrow in zip(wide["ease"][:, :25], narrow["ease"][:, :25], strict=True):
        # Their score is 0, so they stand between the items with positive and with negative scores.
        met = of_wide[of_wide < 25]
        assert len(met) > 5
        assert met.tolist() == of_narrow[: len(met)].tolist()


def test_blocks_of_users_make_no_difference(shop, monkeypatch):
    whole, _ = baseline_lists(*shop)
    monkeypatch.setattr(jobs.evaluation.baselines, "SCORES_PER_BLOCK", 70)

    for name, lists in baseline_lists(*shop)[0].items():
        np.testing.assert_array_equal(lists, whole[name])
