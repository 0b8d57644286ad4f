"""A shopper's own lists, beside their ranked shelf: what they may buy again, and what they viewed last.

Both stand in one record of the shopper, of the variant OWN_LISTS: the items to buy again by rank, then those that
were viewed. The source of an item tells its list. A shopper without such items has no such record.

>>> own_lists_of(unpack(version.get(record_key("anna", OWN_LISTS)))).recently_viewed
(array([4, 17]), array([1. , 0.5], dtype=float32))
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.snapshot.record import REASON_CODES, SOURCES, PackedShelf, record_key

OWN_LISTS = "own"
"""The variant of the record of lists. Variants of shelves are `base`, or have a `=`."""
LISTS = {"buy_again": ("bought_before", "buy_again"), "recently_viewed": ("session", "viewed")}
"""Each list's source and reason code, in the order in which they stand in a record."""
SOURCE_OF_LIST = {name: SOURCES.index(source) for name, (source, _) in LISTS.items()}
REASON_OF_LIST = {name: REASON_CODES.index(reason) for name, (_, reason) in LISTS.items()}
_SUFFIX = record_key("", OWN_LISTS)

ScoredPositions = tuple[NDArray[np.int64], NDArray[np.float32]]


class OwnLists(NamedTuple):
    """Positions in the catalogue and scores, in the order of rank. The two lists' scores are on different scales."""

    buy_again: ScoredPositions
    recently_viewed: ScoredPositions


_NOTHING = (np.empty(0, np.int64), np.empty(0, np.float32))
NO_OWN_LISTS = OwnLists(_NOTHING, _NOTHING)


def holds_own_lists(key: bytes) -> bool:
    """Return whether the record under a key holds lists, and no shelf."""
    return key.endswith(_SUFFIX)


def own_lists_of(record: PackedShelf) -> OwnLists:
    """Return the lists that a record of the variant OWN_LISTS holds."""
    rows = np.arange(record.count)
    positions, scores = record.positions(record.count), np.array(record.scores(rows), np.float32)
    source = np.array(record.reasons(rows.tolist())[0], np.int64)
    return OwnLists(*((positions[of], scores[of]) for of in (source == code for code in SOURCE_OF_LIST.values())))
