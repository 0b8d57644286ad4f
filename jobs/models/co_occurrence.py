"""Products of sparse matrices that would be too large whole: of each row, only the highest values are kept."""

import numpy as np
import scipy.sparse as sp

from jobs.numeric.arrays import best_rows, row_blocks

MOST_PRODUCTS = 50_000_000
"""A block of rows takes about so many multiplications, and holds no more values."""


def best_of_product(left: sp.csr_matrix, right: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """Return `left @ right` without its diagonal: of each row the `most` highest values above zero, ties by column.

    Rows are made a block at a time; the blocks change no value.
    """
    lengths = np.diff(right.indptr)
    cost = np.asarray(sp.csr_matrix((np.ones_like(left.data), left.indices, left.indptr), left.shape) @ lengths)
    blocks = [_best_rows_of(left[block] @ right, block.start, most) for block in row_blocks(cost, MOST_PRODUCTS)]
    return sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix((left.shape[0], right.shape[1]))


def _best_rows_of(product: sp.csr_matrix, first: int, most: int) -> sp.csr_matrix:
    product.sort_indices()
    row = np.repeat(np.arange(product.shape[0]), np.diff(product.indptr))
    kept = np.flatnonzero((product.data > 0) & (product.indices != row + first))
    if np.bincount(row[kept], minlength=1).max() > most:
        kept = kept[best_rows(row[kept], product.data[kept], most)]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=product.shape[0]))])
    return sp.csr_matrix((product.data[kept].astype(np.float32), product.indices[kept], indptr), product.shape)
