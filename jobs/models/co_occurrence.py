"""Products of sparse matrices that would be too large whole: of each row, only the highest values are kept."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from jobs.numeric.arrays import Floats, Whole, row_blocks

MOST_PRODUCTS = 50_000_000
"""A block of rows takes about so many multiplications, and holds no more values."""


def best_of_product(
    left: sp.csr_matrix, right: sp.csr_matrix, most: int, over: Floats | None = None
) -> sp.csr_matrix:
    """Return `left @ right` without its diagonal: of each row the `most` highest values above zero, ties by column.

    With `over` [n_columns], those are the highest after a division by their column's number; the values stay.
    Rows are made a block at a time; the blocks change no value.
    """
    blocks = [_best_rows_of(left[block] @ right, block.start, most, over) for block in blocks_of_product(left, right)]
    return sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix((left.shape[0], right.shape[1]))


def blocks_of_product(left: sp.csr_matrix, right: sp.csr_matrix) -> Iterator[slice]:
    """Yield blocks of rows of `left @ right` that take about MOST_PRODUCTS multiplications each."""
    lengths = np.diff(right.indptr)
    cost = np.asarray(sp.csr_matrix((np.ones_like(left.data), left.indices, left.indptr), left.shape) @ lengths)
    yield from row_blocks(cost, MOST_PRODUCTS)


def _best_rows_of(product: sp.csr_matrix, first: int, most: int, over: Floats | None) -> sp.csr_matrix:
    product.sort_indices()
    row = np.repeat(np.arange(product.shape[0]), np.diff(product.indptr))
    kept = np.flatnonzero((product.data > 0) & (product.indices != row + first))
    values = product.data[kept].astype(np.float32)
    values = values if over is None else values / over[product.indices[kept]]
    starts = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=product.shape[0]))])
    best = [low + highest(values[low:high], most) for low, high in pairwise(starts.tolist())]
    kept = kept[np.concatenate(best)]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=product.shape[0]))])
    return sp.csr_matrix((product.data[kept].astype(np.float32), product.indices[kept], indptr), product.shape)


def highest(values: Floats, most: int) -> Whole:
    """Return where the `most` highest values stand, ascending; of equal ones the first."""
    if len(values) <= most:
        return np.arange(len(values))
    least = np.partition(values, len(values) - most)[len(values) - most]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    return np.sort(np.concatenate([above, equal[: most - len(above)]]))
