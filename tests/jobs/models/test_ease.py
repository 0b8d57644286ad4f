"""EASE on neighbourhoods: with all items near it is EASE itself; with fewer, the ridge regression on those."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs.evaluation.baselines import item_weights
from jobs.models import ease
from jobs.models.ease import LEAST_WEIGHT, ease_weights

BASKETS = arrays(np.float64, (8, 5), elements=st.sampled_from([0.0, 0.25, 1.0]))
SHOP = (np.random.default_rng(2).random((300, 40)) < 0.15).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(BASKETS, st.sampled_from([0.5, 3.0, 100.0]))
def test_the_baseline_is_the_ridge_regression_of_each_item_on_all_others(baskets: np.ndarray, ridge: float) -> None:
    weights = item_weights(np.asfortranarray(baskets.T @ baskets), ridge)
    for item in range(5):
        others = np.delete(np.arange(5), item)
        left = baskets[:, others].T @ baskets[:, others] + ridge * np.eye(4)
        wanted = np.linalg.solve(left, baskets[:, others].T @ baskets[:, item])
        np.testing.assert_allclose(weights[others, item], wanted, atol=1e-9)
        assert weights[item, item] == 0


def test_the_order_of_the_matrix_changes_no_bit_and_fortran_order_is_solved_in_place() -> None:
    baskets = np.random.default_rng(1).random((60, 40))
    gram = np.asfortranarray(baskets.T @ baskets)
    by_rows = item_weights(np.ascontiguousarray(gram), 2.0)
    by_columns = item_weights(gram, 2.0)
    assert by_rows.tobytes() == by_columns.tobytes()
    assert np.shares_memory(gram, by_columns)


def test_where_all_items_are_near_the_weights_are_those_of_ease() -> None:
    met = (np.random.default_rng(2).random((50, 12)) < 0.3).astype(np.float32)
    met[0] = 1  # so that every item shares somebody with every other
    stored = ease_weights(sp.csr_matrix(met), 3.0, 12).toarray()
    weights = item_weights((met.T @ met).astype(np.float64), 3.0)
    np.testing.assert_allclose(stored, np.where(weights < LEAST_WEIGHT, 0, weights), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(BASKETS, st.integers(1, 4), st.sampled_from([0.5, 10.0]))
def test_an_item_is_regressed_on_its_nearest_by_cosine_alone(baskets: np.ndarray, nearest: int, ridge: float) -> None:
    gram = baskets.T @ baskets
    length = np.sqrt(np.diag(gram))
    wanted = np.zeros((5, 5))
    for item in range(5):
        cosine = np.where(gram[item] > 0, gram[item] / np.maximum(length, 1e-12), 0)
        cosine[item] = 0
        near = [
            other for other in np.argsort(-cosine.astype(np.float32), kind="stable")[:nearest] if cosine[other] > 0
        ]
        left = gram[np.ix_(near, near)] + ridge * np.eye(len(near))
        wanted[near, item] = np.linalg.solve(left, gram[near, item]) if near else 0
    found = ease_weights(sp.csr_matrix(baskets.astype(np.float32)), ridge, nearest).toarray()
    # Equal cosines may be told apart by float32 alone: then other neighbours were as near.
    if not _has_ties(gram, length):
        np.testing.assert_allclose(found, np.where(wanted < LEAST_WEIGHT, 0, wanted), atol=1e-4)
    assert np.count_nonzero(found, axis=0).max() <= nearest
    assert not np.diag(found).any()


def _has_ties(gram: np.ndarray, length: np.ndarray) -> bool:
    cosine = gram / np.maximum(np.outer(length, length), 1e-12)
    return any(
        np.diff(np.sort(np.delete(row, item)[np.delete(row, item) > 0])).min(initial=1.0) < 1e-5
        for item, row in enumerate(cosine)
    )


def test_a_large_shop_holds_only_the_nearest_pairs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ease_weights(sp.csr_matrix(SHOP), 5.0, 6).toarray()
    monkeypatch.setattr(ease, "MOST_DENSE", 0)
    monkeypatch.setattr(ease, "MOST_TOGETHER", 40 * 20)
    cut = ease_weights(sp.csr_matrix(SHOP), 5.0, 6).toarray()
    assert (cut > 0).sum(axis=0).tolist() == (whole > 0).sum(axis=0).tolist()  # the neighbours are the same
    assert 0 < np.abs(cut - whole).max() < 0.1  # what they share among each other is known in part


def test_equations_that_what_was_left_out_made_indefinite_are_solved_all_the_same() -> None:
    left = np.array([[1, 2, 0], [2, 1, 2], [0, 2, 1]], np.float32)
    assert np.linalg.eigvalsh(left).min() < 0
    right = np.array([1, 2, 3], np.float32)
    np.testing.assert_allclose(left @ ease._solution(left, right), right, rtol=1e-5)


def test_the_same_baskets_give_the_same_bytes_and_nobody_gives_nothing() -> None:
    one, other = (ease_weights(sp.csr_matrix(SHOP), 5.0, 6) for _ in range(2))
    assert all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ("data", "indices", "indptr")
    )
    nothing = ease_weights(sp.csr_matrix((4, 3), dtype=np.float32), 5.0, 6)
    assert nothing.nnz == 0
    assert nothing.shape == (3, 3)


def test_parts_are_picked_the_same_from_the_whole_by_hand_and_by_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    from_whole = ease_weights(sp.csr_matrix(SHOP), 5.0, 7)
    monkeypatch.setattr(ease, "MOST_DENSE", 0)
    by_hand = ease_weights(sp.csr_matrix(SHOP), 5.0, 7)
    monkeypatch.setattr(ease, "MOST_GATHERED", 0)
    by_scipy = ease_weights(sp.csr_matrix(SHOP), 5.0, 7)
    assert (from_whole != by_hand).nnz == 0
    assert (by_hand != by_scipy).nnz == 0
