"""What an answer is put together from: the items picked, the filters of the present, and runs of items to take.

from serving.shelf.picking import Filters, Pick, plain_run
out, taken = Pick(), set()
rows = Filters(prices=(0, 1000)).eligible(snapshot, live, level.positions).nonzero()[0]
plain_run(level, rows, len(rows)).give(out, 20, taken)
"""

from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.shelf.fill_levels import MANY, RECENT, SIMILAR, USER, Level
from serving.shelf.snapshot import Snapshot
from serving.snapshot.record import REASON_CODES

SLOT_TYPES = ("ranked", "fill", "explore")
RANKED, FILL, EXPLORED = range(len(SLOT_TYPES))
_OF_CATEGORY = REASON_CODES.index("popular_in_category")


class Pick(msgspec.Struct):
    """The items of an answer, in order; one entry an item in every list of the first nine.

    `eligible` counts what could have stood there: the items of its level, as far as it was looked at, that pass the
    filters now. `laps` are clock readings in nanoseconds: the store was read, the filter ran, the slots
    explored, the shelf was full.
    """

    positions: list[int] = []
    scores: list[float] = []
    sources: list[int] = []
    reasons: list[int] = []
    reason_positions: list[int] = []
    levels: list[int] = []
    slots: list[int] = []
    propensities: list[float] = []
    eligible: list[int] = []
    degraded: list[str] = []
    short: bool = False
    laps: list[int] = []


class Live(Protocol):
    """The columns of the present, over one snapshot's catalogue."""

    servable: NDArray[np.bool_]  # in stock, or of unknown stock, and not hidden
    price_minor: NDArray[np.int64]  # -1 for unknown
    stock: NDArray[np.int32]  # -1 for unknown
    masks: dict[object, NDArray[np.bool_]]  # worked out of these columns; emptied when they change


class Filters(msgspec.Struct, frozen=True, gc=False):
    """What a request restricts: prices in minor units, both ends inclusive, and a half-open range of categories."""

    prices: tuple[int, int] | None = None
    nodes: tuple[int, int] | None = None

    def eligible(self, snapshot: Snapshot, live: Live, positions: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which of these items may be shown now. [bool]"""
        mask: NDArray[np.bool_] = live.servable[positions]
        if self.prices is not None:
            price = live.price_minor[positions]
            mask &= price >= self.prices[0]
            mask &= price <= self.prices[1]
        if self.nodes is not None:
            node = snapshot.item_category[positions]
            mask &= node >= self.nodes[0]
            mask &= node < self.nodes[1]
        return mask


class Run(msgspec.Struct):
    """What one level has to give, in order: one entry an item in each list. At most `most` are taken."""

    level: int
    eligible: int
    positions: list[int]
    scores: list[float]
    sources: list[int]
    reasons: list[int]
    reason_positions: list[int]
    most: int = MANY
    at: int = 0  # where to go on

    def give(self, out: Pick, count: int, taken: set[int]) -> int:
        """Hand over up to `count` items that are not taken yet, and mark them: how many there were."""
        given = 0
        while given < count and self.most > 0 and self.at < len(self.positions):
            end = self.at + min(count - given, self.most)
            if not taken.isdisjoint(self.positions[self.at : end]):
                end = self.at + 1
                if self.positions[self.at] in taken:
                    self.at = end
                    continue
            given += self._hand_over(out, slice(self.at, end), taken)
            self.at = end
        return given

    def _hand_over(self, out: Pick, rows: slice, taken: set[int]) -> int:
        positions = self.positions[rows]
        count = len(positions)
        taken.update(positions)
        self.most -= count
        out.positions += positions
        out.scores += self.scores[rows]
        out.sources += self.sources[rows]
        out.reasons += self.reasons[rows]
        out.reason_positions += self.reason_positions[rows]
        out.levels += [self.level] * count
        out.slots += [RANKED if self.level in (USER, RECENT, SIMILAR) else FILL] * count
        out.propensities += [1.0] * count
        out.eligible += [self.eligible] * count
        return count


def plain_run(level: Level, rows: NDArray[np.integer[Any]], eligible: int) -> Run:
    """A level's rows as a run; only the user's own shelf has a source and a reason an item."""
    count = len(rows)
    reasons = [level.reason] * count
    if level.chosen is not None:
        chosen = level.chosen[rows].tolist()
        reasons = [_OF_CATEGORY if of_category else level.reason for of_category in chosen]
    return Run(
        level.level,
        eligible,
        level.positions[rows].tolist(),
        [0.0] * count if level.scores is None else level.scores[rows].tolist(),
        [level.source] * count,
        reasons,
        [-1] * count,
        level.most,
    )
