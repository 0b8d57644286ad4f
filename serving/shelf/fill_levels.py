"""The levels that a shelf is filled from, each as arrays in its own order; `serving.shelf.fill` takes what is
eligible.

The order is: the user's own shelf, the segment (chosen categories, region and age band taking turns), the asked
category, the price bands of the asked range, some of what is trending, what is popular overall, and last the
postings: every item of the catalogue, or of the asked category, by popularity. So an answer is short only where
there are no more such items.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.shelf.snapshot import Snapshot
from serving.snapshot.record import REASON_CODES, SOURCES

LEVELS = (
    *("user", "segment", "category", "price_band", "trending", "global", "postings"),  # in the order of filling
    *("recent", "explore", "similar"),  # put between them, or before them all
)
USER, SEGMENT, CATEGORY, PRICE_BAND, TRENDING, GLOBAL, POSTINGS, RECENT, EXPLORE, SIMILAR = range(len(LEVELS))
MAX_MINOR = 1 << 62
MANY = 1 << 30
_FIRST_POSTINGS = 1_024  # the first look into the postings; each further one is four times as long
SOURCE = {name: code for code, name in enumerate(SOURCES)}
REASON = {name: code for code, name in enumerate(REASON_CODES)}

Positions = NDArray[np.integer[Any]]


class Level(NamedTuple):
    """Items in the order they are to be taken. Without scores they have none: zero. At most `most` are taken."""

    level: int  # an index into LEVELS
    source: int
    reason: int
    positions: Positions
    scores: NDArray[np.floating[Any]] | None = None
    most: int = MANY
    chosen: NDArray[np.bool_] | None = None  # those that stand for a category which the user chose


def fill_levels(
    snapshot: Snapshot,
    *,
    limit: int,
    category: str | None = None,
    prices: tuple[int, int] | None = None,
    segment: tuple[str, str, tuple[str, ...]] = ("", "", ()),
) -> Iterator[Level]:
    """The levels behind a user's own shelf, in order; computed as they are asked for."""
    found = snapshot.segment_shelf(*segment)
    if found is not None:
        yield Level(SEGMENT, SOURCE["segment"], REASON["popular"], found[0], found[1], chosen=found[2])
    if category is not None:
        yield from _shelf(snapshot, CATEGORY, "popular_in_category", "category", category)
    popular = "popular" if category is None else "popular_in_category"
    if prices is not None:
        yield Level(PRICE_BAND, SOURCE[popular], REASON[popular], snapshot.band_shelf(category, *prices))
    yield from _shelf(snapshot, TRENDING, "trending", "trending", most=-(-limit // 4))
    yield from _shelf(snapshot, GLOBAL, "popular", "global")
    yield from postings(snapshot, category)


def postings(snapshot: Snapshot, category: str | None) -> Iterator[Level]:
    """Every item of a category, or of the catalogue, in pieces that grow."""
    name = "popular" if category is None else "popular_in_category"
    part, first, step = snapshot.postings(category), 0, _FIRST_POSTINGS
    while first < len(part):
        yield Level(POSTINGS, SOURCE[name], REASON[name], part[first : first + step])
        first, step = first + step, step * 4
    if snapshot.overlay is not None:
        yield Level(POSTINGS, SOURCE[name], REASON[name], snapshot.added(category))


def _shelf(snapshot: Snapshot, level: int, name: str, shelf: str, key: str = "", most: int = MANY) -> Iterator[Level]:
    found = snapshot.fallback(shelf, key)
    if found is not None:
        yield Level(level, SOURCE[name], REASON[name], *found, most)
