"""Items like one item: its neighbours from the night, filtered by live price and stock, and always filled up.

from serving.shelf.similar import similar_items
filled = similar_items(snapshot, live, snapshot.position("mug-1"), limit=10)
"""

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from serving.shelf.fill_levels import CATEGORY, SIMILAR, Level, postings_levels
from serving.shelf.filled_shelf import FilledShelf, level_items
from serving.shelf.filters import Filters, LiveColumns
from serving.shelf.snapshot import Snapshot
from serving.shelf.vocabulary import REASON, SOURCE

NO_FILTERS = Filters()


def similar_items(
    snapshot: Snapshot,
    live: LiveColumns,
    position: int,
    limit: int,
    *,
    filters: Filters = NO_FILTERS,
    exclude: Collection[int] = frozenset(),
) -> FilledShelf:
    """Return the neighbours of the item at `position`, nearest first, then popular items of its category and above.

    The item itself is never among them. `short` is set when the catalogue has no more eligible items.
    """
    filled = FilledShelf()
    fill_from(similar_levels(snapshot, position), snapshot, live, filters, filled, limit, {position, *exclude})
    filled.short = len(filled.positions) < limit
    return filled


def fill_from(
    levels: Iterable[Level],
    snapshot: Snapshot,
    live: LiveColumns,
    filters: Filters,
    filled: FilledShelf,
    limit: int,
    taken: set[int],
) -> None:
    """Append eligible items of the levels, each once, until there are `limit`; add them to `taken`."""
    for level in levels:
        missing = limit - len(filled.positions)
        if missing <= 0:
            return
        mask = filters.eligible(snapshot, live, level.positions)
        rows = mask.nonzero()[0]
        level_items(level, rows[: missing + len(taken)], len(rows)).move_to(filled, missing, taken)


def similar_levels(snapshot: Snapshot, position: int) -> Iterator[Level]:
    """Yield the item's neighbours, then popular items of its category and those above, then of the catalogue."""
    neighbours, scores = snapshot.similar(position)
    named = np.full(len(neighbours), position)
    yield Level(SIMILAR, SOURCE["item_item"], REASON["viewed"], neighbours, scores, named=named)
    path = snapshot.category(position)
    while path:
        fallback = snapshot.fallback("category", path)
        if fallback is not None:
            yield Level(CATEGORY, SOURCE["popular_in_category"], REASON["popular_in_category"], *fallback)
        yield from postings_levels(snapshot, path)
        path = path.rpartition("/")[0]
    yield from postings_levels(snapshot, None)
