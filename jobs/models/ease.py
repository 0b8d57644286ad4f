"""EASE on each item's neighbourhood: how much each of its nearest items says of an item.

EASE (Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019) regresses every item on all others, and
inverts a dense matrix of items x items for it. Here an item is regressed on its nearest items by cosine alone, as
SLIM is with selected items (Ning and Karypis, ICDM 2011). So time and memory grow with the catalogue, not with its
square, and catalogues of any size have it. docs/quality.md has what this costs and gains.
"""

from collections.abc import Iterator

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from jobs.models.co_occurrence import best_of_product, blocks_of_product, highest
from jobs.numeric.arrays import Floats, Integers, Whole, find_sorted, ranges

LEAST_WEIGHT = 1e-4
"""Smaller weights are left out of the artifact."""
MOST_DENSE = 20_000
"""Up to so many items X'X is laid out whole, in 1.6 GB at most: a third of the time."""
MOST_TOGETHER = 60_000_000
"""In a larger catalogue, each item keeps those nearest to it, so that about so many pairs are held at once."""
MOST_GATHERED = 20_000
"""Of more entries than this, SciPy picks a part faster."""


def ease_weights(baskets: sp.csr_matrix, ridge: float, nearest: int) -> sp.csr_matrix:
    """Return item-item weights [n_items, n_items] of LEAST_WEIGHT or more, with a zero diagonal; maybe none.

    Column j minimises |x_j - X b|^2 + ridge |b|^2, where b is zero but for the `nearest` items of j: those with the
    highest cosine, ties by position. `baskets` is X: CSR [shoppers, items] of strengths.
    """
    n_items = baskets.shape[1]
    lengths = np.sqrt(np.asarray(baskets.multiply(baskets).sum(axis=0), dtype=np.float64)).ravel().astype(np.float32)
    neighbourhoods = _from_whole if n_items <= MOST_DENSE else _from_nearest
    nothing = np.empty(0, np.float32)
    weights: list[Floats] = [nothing] * n_items
    columns: list[Integers] = [np.empty(0, np.int32)] * n_items
    for item, others, own, with_item in neighbourhoods(baskets, lengths, nearest):
        own.ravel()[:: len(others) + 1] = lengths[others] ** 2 + np.float32(ridge)
        solved = _solution(own, with_item)
        kept = solved >= LEAST_WEIGHT
        weights[item], columns[item] = solved[kept], others[kept]
    indptr = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
    arrays = (np.concatenate([nothing, *weights]), np.concatenate([nothing.astype(np.int32), *columns]), indptr)
    return sp.csc_matrix(arrays, shape=(n_items, n_items)).tocsr()


Neighbourhood = tuple[int, Integers, Floats, Floats]
"""An item, its nearest items [n], the part of X'X that is of those [n, n], and their sums with the item [n]."""


def _from_whole(baskets: sp.csr_matrix, lengths: Floats, nearest: int) -> Iterator[Neighbourhood]:
    """Yield the neighbourhood of each item that has one, from X'X as one dense matrix."""
    items = sp.csr_matrix(baskets.T)
    together = np.empty((len(lengths), len(lengths)), np.float32)
    for block in blocks_of_product(items, baskets):
        (items[block] @ baskets).toarray(out=together[block])
    np.fill_diagonal(together, 0)
    flat = together.ravel()
    for item in np.flatnonzero(lengths).tolist():
        others = np.flatnonzero(together[item])
        others = others[highest(together[item, others] / lengths[others], nearest)].astype(np.int32)
        if len(others):
            own = flat.take((others.astype(np.int64) * len(lengths))[:, None] + others)
            yield item, others, own, together[item, others]


def _from_nearest(baskets: sp.csr_matrix, lengths: Floats, nearest: int) -> Iterator[Neighbourhood]:
    """Yield the same from the highest cosines of each item's row of X'X; what neither of two items kept is 0."""
    together = _together(baskets, lengths, max(nearest, MOST_TOGETHER // len(lengths)))
    for item in np.flatnonzero(np.diff(together.indptr)).tolist():
        near = _nearest(together, lengths, item, nearest)
        others = together.indices[near]
        own = _among(together, others)
        yield item, others, np.maximum(own, own.T), together.data[near]


def _among(together: sp.csr_matrix, items: Integers) -> Floats:
    """Return the part of X'X that is of some items, ascending: [n, n]."""
    begin, lengths = together.indptr[items], np.diff(together.indptr)[items]
    total = int(lengths.sum())
    if total > MOST_GATHERED:
        return np.asarray(together[items][:, items].toarray())
    # SciPy takes a fifth of a millisecond to begin, and a large catalogue has a million such parts, nearly all small.
    row, entry = np.repeat(np.arange(len(items)), lengths), ranges(begin, lengths)
    column = find_sorted(items, together.indices[entry])
    inside = np.flatnonzero(column >= 0)
    part = np.zeros((len(items), len(items)), np.float32)
    part[row[inside], column[inside]] = together.data[entry[inside]]
    return part


def _together(baskets: sp.csr_matrix, lengths: Floats, most: int) -> sp.csr_matrix:
    """Return X'X without its diagonal, of each row the `most` with the highest cosine."""
    together = best_of_product(sp.csr_matrix(baskets.T), baskets, most, lengths)
    together.sort_indices()
    return together


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
