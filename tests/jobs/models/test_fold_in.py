"""Users are folded in as implicit does it, whichever equations are smaller."""

import numpy as np
import pytest
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares

from jobs.models.fold_in import FoldIn

RNG = np.random.default_rng(7)
FACTORS = RNG.normal(size=(60, 12)).astype(np.float32)
STRENGTH = sp.vstack(
    [sp.csr_matrix((1, 60)), sp.random(39, 60, density=0.25, format="csr", random_state=3)], format="csr"
).astype(np.float32)
"""The first user touched nothing."""


def test_users_get_the_factors_that_implicit_gives() -> None:
    lengths = np.diff(STRENGTH.indptr)
    assert lengths.min() == 0
    assert (lengths < 12).any()  # fewer items than factors
    assert (lengths > 12).any()
    model = AlternatingLeastSquares(factors=12, alpha=7.0, regularization=3.0, num_threads=1)
    model.item_factors = FACTORS
    wanted = model.recalculate_user(np.arange(40), STRENGTH)
    np.testing.assert_allclose(FoldIn(FACTORS, 7.0, 3.0).users(STRENGTH), wanted, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("n_items", [1, 5, 12, 40])
def test_the_solved_columns_are_those_of_the_users_equations(n_items: int) -> None:
    items, strength = np.arange(n_items), RNG.random(n_items).astype(np.float32)
    confidence, touched, solved = FoldIn(FACTORS, 7.0, 3.0).solved(items, strength)
    left = FACTORS.T.astype(np.float64) @ FACTORS + 3.0 * np.eye(12) + (touched.T * (confidence - 1)) @ touched
    np.testing.assert_allclose(left @ solved, touched.T, atol=1e-9)
    np.testing.assert_allclose(confidence, 7.0 * strength, rtol=1e-6)


def test_factors_of_nothing_fold_into_nothing() -> None:
    assert not FoldIn(np.zeros((60, 12), np.float32), 7.0, 0.0).users(STRENGTH).any()
