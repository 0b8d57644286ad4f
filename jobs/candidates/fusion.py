"""Unite the lists of several sources by reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.candidates.lists import RankedItems
from jobs.numeric.arrays import Flags, Integers, Values, Whole, best_rows, group_starts, pair_keys
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
    if not len(listed.user):
        nothing = np.empty(0, np.int64)
        return FusedItems(
            nothing,
            nothing.astype(np.int32),
            nothing.astype(np.int8),
            nothing.astype(np.int32),
            nothing.astype(float),
        )
    pair, rank, source = _in_order(listed, n_items)
    first = group_starts(pair)
    user, item = np.divmod(pair[first], n_items)
    return FusedItems(
        user,
        item.astype(np.int32),
        source[first].astype(np.int8),
        np.bitwise_or.reduceat(1 << source, first).astype(np.int32),
        np.add.reduceat(reciprocal_rank(rank), first),
    )


def _in_order(listed: ListedItems, n_items: int) -> tuple[Whole, Whole, Whole]:
    """Return pair keys, ranks and sources of all rows, sorted by all three.

    Where they fit into one whole number, that is what is sorted, and they are read off it again.
    """
    pair = pair_keys(listed.user, listed.item, n_items)
    source_bits, rank_bits = len(SOURCES).bit_length(), int(listed.rank.max()).bit_length()
    if int(pair.max()).bit_length() + rank_bits + source_bits < 64:
        key = (((pair << rank_bits) | listed.rank) << source_bits) | listed.source
        key.sort()
        ranked = key >> source_bits
        return ranked >> rank_bits, ranked & ((1 << rank_bits) - 1), key & ((1 << source_bits) - 1)
    order = np.lexsort((listed.source, listed.rank, pair))
    return pair[order], listed.rank[order], listed.source[order]


def best_fused(listed: ListedItems, n_items: int, per_user: int) -> FusedItems:
    """Return the `per_user` pairs of each user with the highest scores, in order of (user, item).

    What a user bought before is cut last: no other list holds the next purchase as often.
    """
    fused = reciprocal_rank_fusion(listed, n_items)
    bought_before = fused.sources >> SOURCE_CODE["bought_before"] & 1
    return fused.at(best_rows(fused.user, fused.score + bought_before, per_user))
