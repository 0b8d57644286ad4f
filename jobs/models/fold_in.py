"""Fold users in around ALS's item factors: the user's own equations, solved exactly (Hu, Koren, Volinsky, ICDM 2008).

>>> folding = FoldIn(item_factors, alpha=10.0, regularization=5.0)
>>> factors = folding.users(strength)

Of a user with the items' rows T [h, f] and confidences c = alpha x strength, the equations are A x = T'c with
A = Y'Y + regularization + T'CT and C = diag(c - 1). With fewer items than factors, h x h equations give the same
(Woodbury's identity): A^-1 T' = P T' (I + C T P T')^-1, where P, the inverse of Y'Y + regularization, is everybody's.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from jobs.numeric.arrays import Floats, Integers, Values

BLOCK = 65_536
LEAST_RIDGE = 1e-6
"""What is added to Y'Y at least: factors of nothing but zeros have no inverse."""


@dataclass(frozen=True)
class FoldIn:
    """Item factors [n_items, f], and the values that they were fitted with."""

    item_factors: Floats
    alpha: float
    regularization: float

    @cached_property
    def _shared(self) -> Values:
        """Y'Y + regularization: what the equations of all users share."""
        shared = max(self.regularization, LEAST_RIDGE) * np.eye(self.item_factors.shape[1])
        for start in range(0, len(self.item_factors), BLOCK):  # all at once would copy a large catalogue
            block = self.item_factors[start : start + BLOCK].astype(np.float64)
            shared += block.T @ block
        return shared

    @cached_property
    def _inverse(self) -> Values:
        return np.asarray(np.linalg.inv(self._shared))

    def users(self, strength: sp.csr_matrix) -> Floats:
        """Return the factors [n_users, f] of users with these strengths [n_users, n_items]; zeros without any."""
        factors = np.zeros((strength.shape[0], self.item_factors.shape[1]), dtype=np.float32)
        for user in np.flatnonzero(np.diff(strength.indptr)):
            own = slice(strength.indptr[user], strength.indptr[user + 1])
            confidence, touched = self._own(strength.indices[own], strength.data[own])
            if len(touched) < touched.shape[1]:
                spread, within = self._spread(touched, confidence)
                factors[user] = np.linalg.solve(within, confidence) @ spread
            else:
                factors[user] = np.linalg.solve(self._equations(touched, confidence), touched.T @ confidence)
        return factors

    def solved(self, items: Integers, strength: Floats) -> tuple[Values, Values, Values]:
        """Return c [h], T [h, f] and A^-1 T' [f, h] of one user with these items and strengths."""
        confidence, touched = self._own(items, strength)
        if len(touched) < touched.shape[1]:
            spread, within = self._spread(touched, confidence)
            return confidence, touched, np.asarray(spread.T @ np.linalg.inv(within), dtype=np.float64)
        solved = np.linalg.solve(self._equations(touched, confidence), touched.T)
        return confidence, touched, np.asarray(solved, dtype=np.float64)

    def _own(self, items: Integers, strength: Floats) -> tuple[Values, Values]:
        return self.alpha * strength.astype(np.float64), self.item_factors[items].astype(np.float64)

    def _equations(self, touched: Values, confidence: Values) -> Values:
        return np.asarray(self._shared + (touched.T * (confidence - 1)) @ touched)

    def _spread(self, touched: Values, confidence: Values) -> tuple[Values, Values]:
        """Return T P [h, f] and I + C T P T' [h, h]."""
        spread = touched @ self._inverse
        return spread, np.eye(len(touched)) + (confidence - 1)[:, None] * (spread @ touched.T)
