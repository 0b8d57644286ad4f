"""Find what is bought together with each item: beyond popularity, without substitutes, best first.

>>> basket, item = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 2, 3])
>>> lists = complements(basket, item, nothing_instead(4))
>>> lists.indptr.tolist(), lists.positions.tolist()
([0, 1, 2, 3, 4], [1, 0, 3, 2])

A list is a random walk of two steps: from the item to one of its baskets, and on to another item of that basket, as
in RP3beta (Paudel, Christoffel, Newell and Bernstein 2017). So a pair counts for more in a small basket. The walk is
damped by how often the other item is bought at all, and by how few baskets the pair was in.
docs/adr/0012-bought-together-is-a-walk-over-baskets.md has the figures.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from jobs.numeric.arrays import (
    Floats,
    Integers,
    Positions,
    Values,
    Whole,
    best_in_group,
    is_in,
    pair_keys,
    rank_in_group,
    row_blocks,
)
from jobs.numeric.list_metrics import marked

LENGTH = 50
"""Longer lists find no more."""
BASKET_POWER, POPULARITY_POWER = 1.0, 0.5
"""A pair of a basket of n items counts (n - 1) ** -BASKET_POWER, and an item in n baskets n ** -POPULARITY_POWER."""
LARGEST_BASKET = 100
"""Of a larger basket, so many items make pairs: those bought least, as the others are in many more baskets."""
ITEM_PRIOR = 20
"""Baskets that every item has in advance, so that a rare one has to earn its place."""
PAIR_PRIOR = 4
"""A pair of n baskets counts n / (n + PAIR_PRIOR) of its walk."""
ROUNDING = 1e-9
"""A walk that is longer than by chance by so small a share is so by how its sum was rounded."""
PAIRS_A_BLOCK = 1 << 21


class ItemLists(NamedTuple):
    """Each item's list, best first: the arrays of a CSR."""

    indptr: Whole
    """[n_items + 1]"""
    positions: npt.NDArray[np.uint32]
    scores: Floats


def nothing_instead(n_items: int) -> sp.csr_matrix:
    """Return the substitutes of a shop where no item stands for another."""
    return sp.csr_matrix((n_items, n_items), dtype=np.bool_)


def complements(basket: Integers, item: Integers, substitutes: sp.csr_matrix) -> ItemLists:
    """Return the LENGTH items that are bought together with each item, best first, ties by position.

    A pair must meet more often than it would by chance. An item is in no list of its own, nor of its substitutes.
    Scores of several items' lists can be added.

    Args:
        basket: [rows] whole numbers, one for each shopper and day, or session of an unknown shopper.
        item: [rows] positions in the catalogue. A row that is repeated counts once.
        substitutes: [n_items, n_items], an entry where the column's item stands for the row's.
    """
    n_items = substitutes.shape[0]
    baskets = _incidence(basket, item, n_items)
    known = np.bincount(baskets.indices, minlength=n_items) + float(ITEM_PRIOR)
    baskets = _that_make_pairs(baskets)
    company = np.bincount(baskets.indices, minlength=n_items)
    unwanted = _keys(substitutes)
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for row, other, walk, times in _pairs(baskets):
        by_chance = company[row] * company[other] / company.sum()
        kept = (row != other) & (walk > by_chance * (1 + ROUNDING))
        kept &= ~is_in(pair_keys(row, other, n_items), unwanted)
        one, two = row[kept], other[kept]
        score = walk[kept] / (known[one] * known[two] ** POPULARITY_POWER)
        score = (score * times[kept] / (times[kept] + PAIR_PRIOR)).astype(np.float32)
        best = best_in_group(one, score, two, LENGTH)
        found.append((one[best], two[best], score[best]))
    row, other, score = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_items))]).astype(np.int64)
    return ItemLists(indptr, other.astype(np.uint32), score)


def _pairs(baskets: sp.csr_matrix) -> Iterator[tuple[Positions, Positions, Values, Values]]:
    """Yield the pairs of an item and another one, by item: the two, the sum of walks, the number of baskets.

    A block is of whole items, and of about PAIRS_A_BLOCK pairs; an item is among its own pairs.
    """
    others, size = baskets.T.tocsr(), np.diff(baskets.indptr)
    steps = sp.csr_matrix(sp.diags((size - 1.0) ** -BASKET_POWER) @ baskets)
    most = np.minimum(others @ size, baskets.shape[1])  # an item has no more pairs than there are items
    for block in row_blocks(most, PAIRS_A_BLOCK):
        walk, times = ((others[block] @ matrix).sorted_indices() for matrix in (steps, baskets))
        row = np.repeat(np.arange(block.start, block.stop), np.diff(walk.indptr))
        yield row, walk.indices.astype(np.int64), walk.data, times.data


def _incidence(basket: Integers, item: Integers, n_items: int) -> sp.csr_matrix:
    """Return [baskets, n_items] with a 1 for every item of a basket, baskets by their number."""
    numbers, row = np.unique(basket, return_inverse=True)
    return marked(sp.csr_matrix((np.ones(len(row)), (row, item)), shape=(len(numbers), n_items)))


def _that_make_pairs(baskets: sp.csr_matrix) -> sp.csr_matrix:
    """Return the baskets of two items or more, each with the LARGEST_BASKET of its items that are bought least."""
    bought = np.bincount(baskets.indices, minlength=baskets.shape[1])
    row = np.repeat(np.arange(baskets.shape[0]), np.diff(baskets.indptr))
    order = np.lexsort((baskets.indices, bought[baskets.indices], row))
    kept = order[rank_in_group(row[order]) < LARGEST_BASKET]
    cut = sp.csr_matrix((baskets.data[kept], (row[kept], baskets.indices[kept])), shape=baskets.shape)
    return cut[np.diff(cut.indptr) > 1]


def _keys(pairs: sp.csr_matrix) -> Whole:
    """Return pair_keys of the entries, ascending."""
    coo = pairs.tocoo()
    return np.sort(pair_keys(coo.row, coo.col, pairs.shape[1]))
