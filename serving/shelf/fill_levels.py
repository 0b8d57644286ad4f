"""The levels that a shelf is filled from after the user's stored shelf; `serving.shelf.filler` takes eligible items.

In order: the segment (chosen categories, region and age band take turns), the requested category, the price bands of
the requested range, some trending items, the most popular items overall, and the postings: every item of the
catalogue, or of the requested category, by popularity. So an answer is short only when no eligible item is left.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.shelf.snapshot import Snapshot
from serving.shelf.vocabulary import REASON, SOURCE
from serving.snapshot.contents import NO_SEGMENT, Segment

LEVELS = (
    *("user", "segment", "category", "price_band", "trending", "global", "postings"),  # in the order of filling
    *("recent", "explore", "similar"),  # inserted between them, or before all of them
    *("own", "related", "listed"),  # of pages: the shopper's own lists, what goes with an item, lists of the night
)
USER, SEGMENT, CATEGORY, PRICE_BAND, TRENDING, GLOBAL, POSTINGS, RECENT, EXPLORE, SIMILAR = range(10)
OWN, RELATED, LISTED = range(10, len(LEVELS))
UNLIMITED = 1 << 30
_FIRST_POSTINGS = 1_024  # length of the first piece of the postings; each further piece is four times as long

Positions = NDArray[np.integer]


class Level(NamedTuple):
    """Items in the order to be taken, at most `most` of them. Items without scores have score 0."""

    level: int  # an index into LEVELS
    source: int
    reason: int
    positions: Positions
    scores: NDArray[np.floating] | None = None
    most: int = UNLIMITED
    chosen: NDArray[np.bool_] | None = None  # which items come from a category that the user chose
    named: NDArray[np.integer] | None = None  # the position of the item that each item's reason names


def fill_levels(
    snapshot: Snapshot,
    *,
    limit: int,
    category: str | None = None,
    prices: tuple[int, int] | None = None,
    segment: Segment = NO_SEGMENT,
) -> Iterator[Level]:
    """Yield the levels after the user's stored shelf, in order; each is computed only when it is reached."""
    segment_shelf = snapshot.segment_shelf(*segment)
    if segment_shelf is not None:
        positions, scores, chosen = segment_shelf
        yield Level(SEGMENT, SOURCE["segment"], REASON["popular"], positions, scores, chosen=chosen)
    if category is not None:
        yield from _fallback_level(snapshot, CATEGORY, "popular_in_category", "category", category)
    popular = "popular" if category is None else "popular_in_category"
    if prices is not None:
        yield Level(PRICE_BAND, SOURCE[popular], REASON[popular], snapshot.band_shelf(category, *prices))
    yield from _fallback_level(snapshot, TRENDING, "trending", "trending", most=-(-limit // 4))
    yield from _fallback_level(snapshot, GLOBAL, "popular", "global")
    yield from postings_levels(snapshot, category)


def postings_levels(snapshot: Snapshot, category: str | None) -> Iterator[Level]:
    """Yield every item of a category, or of the catalogue, in pieces that grow; an overlay's new items come last."""
    name = "popular" if category is None else "popular_in_category"
    postings, first, length = snapshot.postings(category), 0, _FIRST_POSTINGS
    while first < len(postings):
        yield Level(POSTINGS, SOURCE[name], REASON[name], postings[first : first + length])
        first, length = first + length, length * 4
    if snapshot.overlay is not None:
        yield Level(POSTINGS, SOURCE[name], REASON[name], snapshot.added_items(category))


def _fallback_level(
    snapshot: Snapshot, level: int, name: str, shelf: str, key: str = "", most: int = UNLIMITED
) -> Iterator[Level]:
    fallback = snapshot.fallback(shelf, key)
    if fallback is not None:
        yield Level(level, SOURCE[name], REASON[name], *fallback, most)
