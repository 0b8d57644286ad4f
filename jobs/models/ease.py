"""EASE: item-item weights in closed form (Steck, WWW 2019)."""

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from jobs.features.strength import faded


def ease_weights(days_since: sp.csr_matrix, decay_days: float, ridge: float) -> sp.csr_matrix:
    """Return EASE's item-item weights (Steck 2019, "Embarrassingly Shallow Autoencoders"), positive ones only."""
    baskets = days_since.astype(np.float64)
    baskets.data = faded(days_since.data - 1, decay_days).astype(np.float64)
    gram = (baskets.T @ baskets).toarray()
    gram[np.diag_indices_from(gram)] += ridge
    inverse = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
    weights = inverse / -np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0.0)
    weights[weights < 1e-4] = 0.0
    return sp.csr_matrix(weights.astype(np.float32))
