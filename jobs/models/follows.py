"""Learn what shoppers turn to after an item, from the order in which they last turned to each of theirs.

>>> matrix = follows(moments)

Sequential rules (Kamehkhosh, Jannach, Ludewig, CEUR 1922, 2017) over a shopper's whole history. A moment is a time
at which a shopper did something. All that was done at one time, such as the lines of an invoice, is one moment, and
has no order within. A shop without times has one moment a shopper, and nothing follows. docs/quality.md tells what
chose the constants.
"""

import numpy as np
import scipy.sparse as sp

from jobs.models.co_occurrence import best_of_product
from jobs.numeric.arrays import Values

MOST_STEPS = 10
"""Items count together that are at most so many moments apart."""
STEP_WEIGHT = 0.9
"""Each further moment weighs this share of the one before."""
BACKWARD = 0.3
"""What came before an item counts as following it for this share: most pairs of items are met in one order only."""
ROW_POWER, COLUMN_POWER = 0.3, 0.15
"""Sums are divided by these powers of the item's own sum, and of the other's: rare items weigh more."""
MOST_PAIRS = 2_000_000
"""In a larger shop every second shopper counts, or fewer, so that about so many pairs are left."""


def follows(moments: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """Return what follows each item: CSR [n_items, n_items] of each row's `most` highest weights, ties by position.

    `moments` is CSR [shoppers, items]: 1 for what a shopper turned to last, 2 for the moment before, and so on.
    """
    n_items = moments.shape[1]
    moments = moments[:: -(-moments.nnz // MOST_PAIRS) or 1]
    pairs = moments.tocoo()
    # Groups are moments, by shopper and then latest first.
    most_moments = int(pairs.data.max(initial=0)) + 1
    key = pairs.row.astype(np.int64) * most_moments + pairs.data.astype(np.int64)
    group, at = np.unique(key, return_inverse=True)
    items = sp.csr_matrix((np.ones(len(at)), (at, pairs.col)), shape=(len(group), n_items))
    around = sp.csr_matrix(_weights(group // most_moments) @ items)
    row_sum = np.asarray(items.T @ around.sum(axis=1)).ravel()
    column_sum = np.asarray(around.T @ items.sum(axis=1)).ravel()
    left = sp.csr_matrix(sp.diags(_scale(row_sum, ROW_POWER)) @ items.T)
    right = sp.csr_matrix(around @ sp.diags(_scale(column_sum, COLUMN_POWER)))
    return best_of_product(left, right, most)


def _scale(total: Values, power: float) -> Values:
    return np.asarray(np.maximum(total, 1e-9) ** -power)


def _weights(owner: np.ndarray) -> sp.csr_matrix:
    """Return [n_groups, n_groups]: what the moments around each one weigh; groups of an owner stand latest first."""
    n_groups, rows, columns, weights = len(owner), [], [], []
    for step in range(1, min(MOST_STEPS, n_groups - 1) + 1):
        later = np.flatnonzero(owner[step:] == owner[:-step])
        if not len(later):
            break
        weight = STEP_WEIGHT ** (step - 1)
        rows += [later + step, later]
        columns += [later, later + step]
        weights += [np.full(len(later), weight), np.full(len(later), weight * BACKWARD)]
    nothing = np.empty(0, np.int64)
    where = (np.concatenate([nothing, *rows]), np.concatenate([nothing, *columns]))
    return sp.csr_matrix((np.concatenate([np.empty(0), *weights]), where), shape=(n_groups, n_groups))
