"""Unite the lists of several sources by reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.candidates.lists import RankedItems
from jobs.numeric.arrays import Flags, Integers, Values, Whole, best_in_group, pair_keys
from serving.snapshot.record import SOURCES

SOURCE_CODE = {source: code for code, source in enumerate(SOURCES)}
RRF_K = 60
"""The constant of reciprocal rank fusion, as in its paper."""


@dataclass(frozen=True)
class ListedItems:
    """The lists of several sources as flat arrays of one length; a pair (user, item) stands once in each list."""

    user: Whole
    item: npt.NDArray[np.int32]
    rank: Whole
    """Place in the source's list for the user, from 0."""
    source: Whole

    def where(self, kept: Flags) -> "ListedItems":
        """Return the rows that `kept` is true of."""
        return ListedItems(self.user[kept], self.item[kept], self.rank[kept], self.source[kept])


@dataclass(frozen=True)
class FusedItems:
    """Flat arrays of one length; a pair (user, item) stands once. Fusion returns them in order of (user, item)."""

    user: Whole
    item: npt.NDArray[np.int32]
    source: npt.NDArray[np.int8]
    """The source that ranks the item highest; of several, the one with the lowest code."""
    sources: npt.NDArray[np.int32]
    """Every source that lists it: bit n is source n of SOURCES."""
    score: Values
    """The sum of the reciprocal ranks."""

    def at(self, rows: Whole) -> "FusedItems":
        """Return these rows, in their order."""
        return FusedItems(self.user[rows], self.item[rows], self.source[rows], self.sources[rows], self.score[rows])


def reciprocal_rank(rank: Integers | Values) -> Values:
    """Return what a place in one list, from 0, adds to an item's score."""
    return np.asarray(1.0 / (RRF_K + 1 + rank), dtype=np.float64)


def listed_items(lists: Mapping[str, RankedItems]) -> ListedItems:
    """Lay the lists of all sources, by the source's name, end to end."""
    user, item, rank = (np.concatenate(columns) for columns in zip(*lists.values(), strict=True))
    source = np.concatenate([np.full(len(ranked.user), SOURCE_CODE[name]) for name, ranked in lists.items()])
    return ListedItems(user, item, rank, source)


def reciprocal_rank_fusion(listed: ListedItems, n_items: int) -> FusedItems:
    """Unite the lists: each pair (user, item) once, in this order, with the sum of its reciprocal ranks."""
    key = pair_keys(listed.user, listed.item, n_items)
    order = np.lexsort((listed.source, listed.rank, key))
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    source = listed.source[order]
    if len(first):
        sources = np.bitwise_or.reduceat(1 << source, first)
        score = np.add.reduceat(reciprocal_rank(listed.rank[order]), first)
    else:
        sources, score = np.empty(0), np.empty(0)
    rows = order[first]
    return FusedItems(
        listed.user[rows], listed.item[rows], source[first].astype(np.int8), sources.astype(np.int32), score
    )


def best_fused(listed: ListedItems, n_items: int, per_user: int) -> FusedItems:
    """Return the `per_user` pairs of each user with the highest scores, in order of (user, item).

    What a user bought before is cut last: no other list holds the next purchase as often.
    """
    fused = reciprocal_rank_fusion(listed, n_items)
    bought_before = fused.sources >> SOURCE_CODE["bought_before"] & 1
    return fused.at(np.sort(best_in_group(fused.user, fused.score + bought_before, fused.item, per_user)))
