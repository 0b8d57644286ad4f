"""Items like one item: its neighbours from the night, filtered by live price and stock, and always filled up.

from serving.shelf.similar import similar_items
filled = similar_items(snapshot, live, snapshot.position("mug-1"), limit=10)
"""

from collections.abc import Collection, Iterator

import numpy as np

from serving.shelf.fill_levels import CATEGORY, REASON, SIMILAR, SOURCE, Level, postings_levels
from serving.shelf.filled_shelf import FilledShelf, level_items
from serving.shelf.filters import Filters, LiveColumns
from serving.shelf.snapshot import Snapshot

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
    filled, taken = FilledShelf(), {position, *exclude}
    for level in _levels(snapshot, position):
        mask = filters.eligible(snapshot, live, level.positions)
        eligible_count = int(np.count_nonzero(mask))
        items = level_items(level, mask.nonzero()[0][: limit + len(taken)], eligible_count)
        if level.level == SIMILAR:
            items.reason_positions = [position] * len(items.positions)
        items.move_to(filled, limit - len(filled.positions), taken)
        if len(filled.positions) >= limit:
            return filled
    filled.short = True
    return filled


def _levels(snapshot: Snapshot, position: int) -> Iterator[Level]:
    neighbours, scores = snapshot.similar(position)
    yield Level(SIMILAR, SOURCE["item_item"], REASON["viewed"], neighbours, scores)
    path = snapshot.category(position)
    while path:
        fallback = snapshot.fallback("category", path)
        if fallback is not None:
            yield Level(CATEGORY, SOURCE["popular_in_category"], REASON["popular_in_category"], *fallback)
        yield from postings_levels(snapshot, path)
        path = path.rpartition("/")[0]
    yield from postings_levels(snapshot, None)
