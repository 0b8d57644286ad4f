"""EASE on each item's neighbourhood: how much each of its nearest items says of an item.

EASE (Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019) regresses every item on all others, and
inverts a dense matrix of items x items for it. Here an item is regressed on its nearest items by cosine alone, as
SLIM is with selected items (Ning and Karypis, ICDM 2011). So time and memory grow with the catalogue, not with its
square, and catalogues of any size have it. docs/quality.md has what this costs and gains.
"""

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from jobs.models.co_occurrence import best_of_product, highest
from jobs.numeric.arrays import Floats, Integers, Whole, find_sorted

LEAST_WEIGHT = 1e-4
"""Smaller weights are left out of the artifact."""
MOST_TOGETHER = 60_000_000
"""About so many pairs of items are held at once. In a larger shop, each item keeps those nearest to it."""

MOST_DENSE = 20_000
"""Up to so many items X'X is laid out whole, in 1.6 GB at most: parts of it are picked in a fifth of the time."""
MOST_GATHERED = 20_000
"""Of more entries than this, SciPy picks a part faster."""


def ease_weights(baskets: sp.csr_matrix, ridge: float, nearest: int) -> sp.csr_matrix:
    """Return item-item weights [n_items, n_items] of LEAST_WEIGHT or more, with a zero diagonal; maybe none.

    Column j minimises |x_j - X b|^2 + ridge |b|^2, where b is zero but for the `nearest` items of j: those with the
    highest cosine, ties by position. `baskets` is X: CSR [shoppers, items] of strengths.
    """
    n_items = baskets.shape[1]
    together, lengths = _together(baskets, max(nearest, MOST_TOGETHER // max(n_items, 1)))
    squares = (lengths**2).astype(np.float32)
    whole = together.toarray() if n_items <= MOST_DENSE else None
    nothing = np.empty(0, np.float32)
    weights, columns = [nothing] * n_items, [np.empty(0, np.int32)] * n_items
    for item in np.flatnonzero(np.diff(together.indptr)).tolist():
        near = _nearest(together, lengths, item, nearest)
        others = together.indices[near]
        own = _among(together, others) if whole is None else whole[others[:, None], others]
        own = np.maximum(own, own.T)  # a pair may have been kept by one of its items alone
        own[np.diag_indices_from(own)] = squares[others] + np.float32(ridge)
        solved = _solution(own, together.data[near])
        kept = solved >= LEAST_WEIGHT
        weights[item], columns[item] = solved[kept], others[kept]
    indptr = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
    arrays = (np.concatenate([nothing, *weights]), np.concatenate([nothing.astype(np.int32), *columns]), indptr)
    return sp.csc_matrix(arrays, shape=(n_items, n_items)).tocsr()


def _among(together: sp.csr_matrix, items: Integers) -> Floats:
    """Return the part of X'X that is of some items, ascending: [n, n]."""
    begin, lengths = together.indptr[items], np.diff(together.indptr)[items]
    total = int(lengths.sum())
    if total > MOST_GATHERED:
        return np.asarray(together[items][:, items].toarray())
    # SciPy takes a fifth of a millisecond to begin, and a large catalogue has a million such parts, nearly all small.
    row = np.repeat(np.arange(len(items)), lengths)
    entry = np.arange(total) + np.repeat(begin - np.cumsum(lengths) + lengths, lengths)
    column = find_sorted(items, together.indices[entry])
    inside = np.flatnonzero(column >= 0)
    part = np.zeros((len(items), len(items)), np.float32)
    part[row[inside], column[inside]] = together.data[entry[inside]]
    return part


def _together(baskets: sp.csr_matrix, most: int) -> tuple[sp.csr_matrix, Floats]:
    """Return X'X without its diagonal, of each row the `most` with the highest cosine, and the items' lengths."""
    lengths = np.sqrt(np.asarray(baskets.multiply(baskets).sum(axis=0), dtype=np.float64)).ravel().astype(np.float32)
    scale = sp.diags(1 / np.maximum(lengths, np.float32(1e-12)))
    # By X'X over the lengths of its columns, each row stands in the order of its cosines.
    together = best_of_product(sp.csr_matrix(baskets.T), sp.csr_matrix(baskets @ scale), most)
    together = sp.csr_matrix(together @ sp.diags(lengths), dtype=np.float32)
    together.sort_indices()
    return together, lengths


def _solution(left: Floats, right: Floats) -> Floats:
    """Solve left x = right; `left` is positive definite but where pairs of items were left out of a large shop."""
    if not len(right):
        return right
    _, solved, failed = scipy.linalg.lapack.sposv(left, right, lower=1)
    return np.asarray(np.linalg.solve(left, right) if failed else solved, dtype=np.float32)


def _nearest(together: sp.csr_matrix, lengths: Floats, item: int, most: int) -> Whole:
    """Return the entries of an item's row with the highest cosine, in order of position."""
    entries = np.arange(together.indptr[item], together.indptr[item + 1])
    if len(entries) <= most:
        return entries
    cosine = together.data[entries] / lengths[together.indices[entries]]
    return np.asarray(entries[highest(cosine, most)])
