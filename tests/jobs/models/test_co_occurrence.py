"""Products of sparse matrices, a block of rows at a time."""

import numpy as np
import pytest
import scipy.sparse as sp

from jobs.models import co_occurrence
from jobs.models.co_occurrence import best_of_product

LEFT = sp.random(30, 20, density=0.3, format="csr", random_state=1)
RIGHT = sp.random(20, 30, density=0.3, format="csr", random_state=2)


def test_each_row_keeps_its_highest_values_without_the_diagonal() -> None:
    whole = (LEFT @ RIGHT).toarray()
    np.fill_diagonal(whole, 0)
    found = best_of_product(LEFT, RIGHT, 4).toarray()
    for row, values in enumerate(whole):
        best = np.argsort(-values.astype(np.float32), kind="stable")[:4]
        wanted = np.where(np.isin(np.arange(30), best[values[best] > 0]), values, 0)
        np.testing.assert_allclose(found[row], wanted, rtol=1e-6)


def test_blocks_change_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = best_of_product(LEFT, RIGHT, 5)
    monkeypatch.setattr(co_occurrence, "MOST_PRODUCTS", 10)
    cut = best_of_product(LEFT, RIGHT, 5)
    assert (whole != cut).nnz == 0


def test_an_empty_product_has_its_shape() -> None:
    assert best_of_product(sp.csr_matrix((0, 3)), sp.csr_matrix((3, 0)), 2).shape == (0, 0)
    assert best_of_product(sp.csr_matrix((4, 3)), sp.csr_matrix((3, 4)), 2).nnz == 0
