"""What goes with a basket: the lists of its items, added up.

from serving.shelf.basket import ItemLists, goes_with, one_of_a_kind
found = goes_with(basket, lists, substitutes)
eligible = filters.eligible(snapshot, live, found.positions).nonzero()[0]
offered = eligible[one_of_a_kind(found.positions[eligible], substitutes, limit=4)]
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ItemLists(NamedTuple):
    """A list of items for each item of a base catalogue, best first: the arrays of a CSR."""

    indptr: NDArray[np.int64]
    positions: NDArray[np.uint32]
    scores: NDArray[np.float32]


class GoesWith(NamedTuple):
    """What goes with a basket, best first."""

    positions: NDArray[np.int64]
    scores: NDArray[np.float64]
    because: NDArray[np.int64]
    """The item of the basket that counts most for each."""


def goes_with(basket: NDArray[np.integer], lists: ItemLists, substitutes: ItemLists) -> GoesWith:
    """Return all that is bought together with a basket, best first, ties by position.

    Scores are added over the basket's items. Its own items are left out, and the substitutes of any of them. The
    order of the basket, or an item in it twice, changes nothing.

    Args:
        basket: positions in the catalogue. Those beyond the lists' catalogue (an overlay's new items) have no list.
        lists: each item's complements.
        substitutes: each item's substitutes. Their scores are not read.
    """
    held = np.unique(basket)
    held = held[(held >= 0) & (held < len(lists.indptr) - 1)].astype(np.int64)
    rows, owner = _entries(lists.indptr, held)
    position, score = lists.positions[rows].astype(np.int64), lists.scores[rows].astype(np.float64)
    order = np.argsort(-score, kind="stable")
    order = order[np.argsort(position[order], kind="stable")]  # in a third of the time of a lexsort
    position, score = position[order], score[order]
    starts = np.flatnonzero(np.diff(position, prepend=-1))
    found, because = position[starts], held[owner[order[starts]]]
    total = np.add.reduceat(score, starts) if len(starts) else score
    unwanted = np.sort(np.concatenate([held, substitutes.positions[_entries(substitutes.indptr, held)[0]]]))
    kept = unwanted[np.searchsorted(unwanted[:-1], found)] != found
    found, total, because = found[kept], total[kept], because[kept]
    best = np.argsort(-total, kind="stable")
    return GoesWith(found[best], total[best], because[best])


def one_of_a_kind(positions: NDArray[np.int64], substitutes: ItemLists, limit: int) -> list[int]:
    """Return the places of the first `limit` items that are no substitutes of an item before them: no cup twice."""
    places: list[int] = []
    instead: set[int] = set()
    for place, position in enumerate(positions.tolist()):
        if len(places) == limit:
            break
        if position not in instead:
            places.append(place)
            rows = slice(substitutes.indptr[position], substitutes.indptr[position + 1])
            instead.update(substitutes.positions[rows].tolist())
    return places


def _entries(indptr: NDArray[np.int64], items: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the entries of these rows of a CSR stand, row by row, and which of `items` each belongs to."""
    starts, lengths = indptr[items], indptr[items + 1] - indptr[items]
    owner = np.repeat(np.arange(len(items)), lengths)
    return np.arange(len(owner)) + (starts - np.cumsum(lengths) + lengths)[owner], owner
