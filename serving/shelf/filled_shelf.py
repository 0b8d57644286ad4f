"""The items of an answer, and the items of one level on their way into it.

from serving.shelf.filled_shelf import FilledShelf, level_items
filled, taken = FilledShelf(), set()
rows = Filters(prices=(0, 1000)).eligible(snapshot, live, level.positions).nonzero()[0]
level_items(level, rows, len(rows)).move_to(filled, 20, taken)
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.shelf.fill_levels import OWN, RECENT, RELATED, SIMILAR, UNLIMITED, USER, Level
from serving.snapshot.record import REASON_CODES

SLOT_TYPES = ("ranked", "fill", "explore")
RANKED, FILL, EXPLORED = range(len(SLOT_TYPES))
_OF_CATEGORY = REASON_CODES.index("popular_in_category")
_RANKED_LEVELS = frozenset((USER, RECENT, SIMILAR, OWN, RELATED))


class FilledShelf(msgspec.Struct):
    """The items of an answer, in order: each of the first ten lists has one entry an item.

    `eligible` is the number of items that could have stood in the place: those of its level that pass the filters
    now, as far as the level was read. `laps` are `perf_counter_ns` readings: after the store was read, the filter
    ran, the slots explored, the shelf was filled.
    """

    positions: list[int] = []
    scores: list[float] = []
    sources: list[int] = []
    reasons: list[int] = []
    reason_positions: list[int] = []  # -1 for none
    levels: list[int] = []
    slots: list[int] = []
    propensities: list[float] = []
    eligible: list[int] = []
    teams: list[int] = []  # of interleaved shelves, -1 for a place of none; empty where nothing is interleaved
    degraded: list[str] = []
    short: bool = False
    laps: list[int] = []

    def reorder(self, places: Sequence[int], order: Sequence[int]) -> None:
        """Let the item of `places[order[n]]` stand at `places[n]`, with all that is its own; slots stay."""
        of_items = (self.positions, self.sources, self.reasons, self.reason_positions, self.levels, self.eligible)
        for column in of_items:
            moved = [column[places[row]] for row in order]
            for place, value in zip(places, moved, strict=True):
                column[place] = value
        scores = [self.scores[places[row]] for row in order]
        for place, score in zip(places, scores, strict=True):
            self.scores[place] = score


class LevelItems(msgspec.Struct):
    """The eligible items of one level, in order: one entry an item in each list. At most `most` are taken."""

    level: int
    eligible: int
    positions: list[int]
    scores: list[float]
    sources: list[int]
    reasons: list[int]
    reason_positions: list[int]
    most: int = UNLIMITED
    next_row: int = 0

    def move_to(self, filled: FilledShelf, count: int, taken: set[int]) -> int:
        """Append up to `count` items that are not in `taken`, and add them to it. Return how many were appended."""
        moved = 0
        while moved < count and self.most > 0 and self.next_row < len(self.positions):
            end = self.next_row + min(count - moved, self.most)
            if not taken.isdisjoint(self.positions[self.next_row : end]):
                end = self.next_row + 1
                if self.positions[self.next_row] in taken:
                    self.next_row = end
                    continue
            moved += self._append(filled, slice(self.next_row, end), taken)
            self.next_row = end
        return moved

    def _append(self, filled: FilledShelf, rows: slice, taken: set[int]) -> int:
        positions = self.positions[rows]
        count = len(positions)
        taken.update(positions)
        self.most -= count
        filled.positions += positions
        filled.scores += self.scores[rows]
        filled.sources += self.sources[rows]
        filled.reasons += self.reasons[rows]
        filled.reason_positions += self.reason_positions[rows]
        filled.levels += [self.level] * count
        filled.slots += [RANKED if self.level in _RANKED_LEVELS else FILL] * count
        filled.propensities += [1.0] * count
        filled.eligible += [self.eligible] * count
        return count


def level_items(level: Level, rows: NDArray[np.integer], eligible: int) -> LevelItems:
    """Return the named rows of a level; `eligible` is the count of its eligible items."""
    count = len(rows)
    reasons = [level.reason] * count
    if level.chosen is not None:
        chosen = level.chosen[rows].tolist()
        reasons = [_OF_CATEGORY if is_chosen else level.reason for is_chosen in chosen]
    return LevelItems(
        level.level,
        eligible,
        level.positions[rows].tolist(),
        [0.0] * count if level.scores is None else level.scores[rows].tolist(),
        [level.source] * count,
        reasons,
        [-1] * count if level.named is None else level.named[rows].tolist(),
        level.most,
    )
