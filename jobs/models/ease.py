"""EASE: item-item weights in closed form (Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019)."""

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from jobs.features.strength import faded
from jobs.numeric.arrays import Values

LEAST_WEIGHT = 1e-4
"""Smaller weights are left out of the artifact."""


def item_weights(gram: Values, ridge: float) -> Values:
    """Return B [n_items, n_items] with a zero diagonal that minimises |X - X B|^2 + ridge |B|^2, given `gram` = X'X.

    `gram` is overwritten; in Fortran order it is inverted in place.
    """
    gram[np.diag_indices_from(gram)] += ridge
    weights = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights)


def ease_weights(days_since: sp.csr_matrix, decay_days: float, ridge: float) -> sp.csr_matrix:
    """Return EASE's item-item weights of LEAST_WEIGHT or more, fitted to pairs that fade with their age; maybe none.

    `days_since` is CSR [users, items]: the days since a pair's last event, plus one.
    """
    if not days_since.nnz:
        return sp.csr_matrix((days_since.shape[1], days_since.shape[1]), dtype=np.float32)
    baskets = days_since.astype(np.float64)
    baskets.data = faded(days_since.data - 1, decay_days).astype(np.float64)
    weights = item_weights((baskets.T @ baskets).toarray(order="F"), ridge)
    weights[weights < LEAST_WEIGHT] = 0.0
    return sp.csr_matrix(weights.astype(np.float32))
