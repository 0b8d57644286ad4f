"""Fill a shelf level by level, with the adjustments for the user's last actions (`serving.shelf.reorder`)."""

import numpy as np
from numpy.typing import NDArray

from serving.shelf.fill_levels import POSTINGS, RECENT, USER, Level, fill_levels
from serving.shelf.filled_shelf import FilledShelf, LevelItems, level_items
from serving.shelf.filters import Filters, LiveColumns
from serving.shelf.interleave import InterleavedShelf
from serving.shelf.recent_actions import LastActions
from serving.shelf.reorder import (
    BROUGHT_EVERY,
    FIRST_BROUGHT,
    BroughtItems,
    brought_items,
    moved_back,
    steps_back,
    waiting_items,
)
from serving.shelf.request import ShelfRequest, request_segment
from serving.shelf.snapshot import Snapshot
from serving.shelf.visit import category_shares, tilted
from serving.shelf.vocabulary import REASON, SOURCE
from serving.snapshot.contents import NO_SEGMENT
from serving.snapshot.record import PackedShelf


class ShelfFiller:
    """Takes eligible items level by level, each item once. `fill_to` may be called again with a higher limit."""

    def __init__(
        self,
        snapshot: Snapshot,
        live: LiveColumns,
        request: ShelfRequest,
        stored: PackedShelf | InterleavedShelf | None,
        *,
        filters: Filters,
        excluded: set[int],
        actions: LastActions | None,
        filled: FilledShelf,
    ) -> None:
        self._snapshot, self._live, self._request, self._filters = snapshot, live, request, filters
        self._filled = filled
        self._steps = steps_back(actions) if actions is not None else {}
        self._waiting = waiting_items(actions) if actions is not None else []
        self._visited = category_shares(snapshot, actions) if actions is not None and stored is not None else {}
        self._skipped = excluded.union(self._waiting)
        self._stored = stored
        segment = request_segment(request, snapshot.segments[stored.segment] if stored is not None else NO_SEGMENT)
        # This iterator does not refer to the filler, so the filler is released with the answer.
        self._levels = fill_levels(
            snapshot, limit=request.limit, category=request.category, prices=filters.prices, segment=segment
        )
        self._level: LevelItems | None = None
        self._brought = self._eligible_brought(brought_items(snapshot, actions)) if actions is not None else None
        self._brought_come_first = stored is None or not stored.count
        self._ranked = 0
        self.taken = set(excluded)

    def fill_to(self, limit: int) -> None:
        """Take items until the shelf has `limit` of them, or until no eligible item is left."""
        filled, brought = self._filled, self._brought
        if brought is not None and self._brought_come_first:
            brought.move_to(filled, limit - len(filled.positions), self.taken)
            brought = None
        while (missing := limit - len(filled.positions)) > 0:
            if brought is not None:
                if self._ranked % BROUGHT_EVERY == FIRST_BROUGHT and brought.move_to(filled, 1, self.taken):
                    self._ranked += 1
                    continue
                missing = min(missing, (FIRST_BROUGHT - self._ranked - 1) % BROUGHT_EVERY + 1)
            if self._level is None:
                self._level = self._next_level()
                if self._level is None:
                    return
            moved = self._level.move_to(filled, missing, self.taken)
            self._ranked += moved
            if moved < missing:
                self._level = None

    def _eligible_brought(self, brought: BroughtItems) -> LevelItems | None:
        mask = self._filters.eligible(self._snapshot, self._live, brought.positions)
        rows = [row for row in mask.nonzero()[0].tolist() if int(brought.positions[row]) not in self._skipped]
        if not rows:
            return None
        return LevelItems(
            RECENT,
            len(rows),
            brought.positions[rows].tolist(),
            [brought.scores[row] for row in rows],
            [SOURCE["session"]] * len(rows),
            [brought.reasons[row] for row in rows],
            [brought.seeds[row] for row in rows],
        )

    def _next_level(self) -> LevelItems | None:
        """Return the eligible items of the next level, seen items moved back; the waiting items come last."""
        if self._stored is not None:
            stored, self._stored = self._stored, None
            return self._stored_items(stored)
        level = next(self._levels, None)
        if level is not None:
            return self._items_of(level)
        if not self._waiting:
            return None
        waiting = self._snapshot.not_withheld(np.array(self._waiting, np.int64))
        self._waiting = []
        rows = self._filters.eligible(self._snapshot, self._live, waiting).nonzero()[0]
        return level_items(Level(POSTINGS, SOURCE["popular"], REASON["popular"], waiting), rows, len(rows))

    def _stored_items(self, stored: PackedShelf | InterleavedShelf) -> LevelItems:
        positions = stored.positions(stored.count)
        rows: NDArray[np.integer] = self._filters.eligible(self._snapshot, self._live, positions).nonzero()[0]
        if self._visited:
            rows = rows[tilted(self._snapshot, positions[rows], self._visited)]
        rows = self._ordered(positions, rows)
        rows = rows[np.sort(np.unique(positions[rows], return_index=True)[1])]  # an item that repeats counts once
        why = stored.reasons(rows.tolist())
        return LevelItems(USER, len(rows), positions[rows].tolist(), stored.scores(rows), *why)

    def _items_of(self, level: Level) -> LevelItems:
        mask = self._filters.eligible(self._snapshot, self._live, level.positions)
        # More are never needed, however many were taken before, skipped or moved back.
        most = 2 * self._request.limit + len(self.taken) + len(self._skipped) + len(self._steps)
        rows = self._ordered(level.positions, mask.nonzero()[0][:most])
        return level_items(level, rows, int(np.count_nonzero(mask)))

    def _ordered(self, positions: NDArray[np.integer], rows: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return rows of eligible items without skipped ones, and with seen ones moved back."""
        if not self._skipped and not self._steps:
            return rows
        candidates = positions[rows].tolist()
        if not self._skipped.isdisjoint(candidates):
            rows = rows[[position not in self._skipped for position in candidates]]
            candidates = positions[rows].tolist()
        return rows[moved_back(candidates, self._steps)] if self._steps else rows
