"""Items like one item: its neighbours as the night found them, with the filters of the present, and always full.

from serving.shelf.similar import similar_items
picked = similar_items(snapshot, live, snapshot.position("mug-1"), limit=10)
"""

from collections.abc import Collection, Iterator

import numpy as np

from serving.shelf.fill_levels import CATEGORY, REASON, SIMILAR, SOURCE, Level, postings
from serving.shelf.picking import Filters, Live, Pick, plain_run
from serving.shelf.snapshot import Snapshot


def similar_items(
    snapshot: Snapshot,
    live: Live,
    position: int,
    limit: int,
    *,
    price_minor: tuple[int, int] | None = None,
    nodes: tuple[int, int] | None = None,
    exclude: Collection[int] = frozenset(),
) -> Pick:
    """The neighbours of the item at `position`, the nearest first, then the popular ones of its category and above.

    Never the item itself; short only where the catalogue has no more such items.
    """
    out, filters, taken = Pick(), Filters(price_minor, nodes), {position, *exclude}
    for level in _levels(snapshot, position):
        mask = filters.eligible(snapshot, live, level.positions)
        count = int(np.count_nonzero(mask))
        run = plain_run(level, mask.nonzero()[0][: limit + len(taken)], count)
        if level.level == SIMILAR:
            run.reason_positions = [position] * len(run.positions)
        run.give(out, limit - len(out.positions), taken)
        if len(out.positions) >= limit:
            return out
    out.short = True
    return out


def _levels(snapshot: Snapshot, position: int) -> Iterator[Level]:
    near, scores = snapshot.similar(position)
    yield Level(SIMILAR, SOURCE["item_item"], REASON["viewed"], near, scores)
    path = snapshot.category(position)
    while path:
        found = snapshot.fallback("category", path)
        if found is not None:
            yield Level(CATEGORY, SOURCE["popular_in_category"], REASON["popular_in_category"], *found)
        yield from postings(snapshot, path)
        path = path.rpartition("/")[0]
    yield from postings(snapshot, None)
