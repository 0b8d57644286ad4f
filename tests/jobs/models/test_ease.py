"""The one EASE solver, which the artifact and the baselines share."""

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs.evaluation.baselines import EASE_LAMBDA, History, ease_scorer
from jobs.models.ease import LEAST_WEIGHT, ease_weights, item_weights

BASKETS = arrays(np.float64, (8, 5), elements=st.sampled_from([0.0, 0.25, 1.0]))


@settings(max_examples=40, deadline=None)
@given(BASKETS, st.sampled_from([0.5, 3.0, 100.0]))
def test_the_weights_are_the_ridge_regression_of_each_item_on_all_others(baskets: np.ndarray, ridge: float) -> None:
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


def test_the_artifact_and_the_baseline_weigh_pairs_that_do_not_fade_alike() -> None:
    met = np.random.default_rng(2).random((50, 12)) < 0.3
    met[0] = True
    stored = ease_weights(sp.csr_matrix(met.astype(np.float32)), np.inf, EASE_LAMBDA).toarray()
    scores = ease_scorer(History(sp.csr_matrix(met.astype(np.int64)), np.arange(12)[::-1]))(np.arange(50))
    weights = np.linalg.lstsq(met.astype(np.float64), scores, rcond=None)[0]
    np.testing.assert_allclose(stored, np.where(weights < LEAST_WEIGHT, 0, weights), atol=1e-7)
