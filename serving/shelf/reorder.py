"""Quick learning: what a user did in the last hours moves items at once, before any night has seen it.

Three rules, applied on every level of a shelf. Before them, `serving.shelf.visit` tilts the stored shelf to what the
visit is about:

- **Seen items move back.** Each action on an item lets STEPS of the other eligible items of its level pass it. The
  effect fades linearly to none over FADE_S. Ties keep the night's order.
- **Bought items wait.** Items that were bought or added to the basket are shown only when nothing else is left.
- **What goes with them comes in.** The items last viewed, clicked or added to the basket bring in what visits look at
  next (`serving.shelf.session_items`), and behind that the neighbours of the latest SEEDS of them in turns. A visitor
  without a stored shelf sees all of these first. For others they take every third ranked place from the second on.

An item appears at most once, whichever rule brings it in.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.session_items import session_items
from serving.shelf.snapshot import Snapshot
from serving.snapshot.record import REASON_CODES

STEPS = {"impression": 5.0, "click": 20.0, "view": 20.0, "rating": 20.0}
FADE_S = 24 * 3600.0
SEEDS = 3
NEIGHBOURS = 20  # of each seed
BROUGHT_EVERY, FIRST_BROUGHT = 3, 1  # brought items take the ranked places 1, 4, 7, … of a stored shelf, from 0

_STEP = [STEPS.get(kind, 0.0) for kind in ACTION_KINDS]
_WAITING_KINDS = frozenset(ACTION_KINDS.index(kind) for kind in ("add_to_cart", "purchase"))
_REASON_OF_SEED = {
    ACTION_KINDS.index(kind): REASON_CODES.index(reason)
    for kind, reason in (("click", "viewed"), ("view", "viewed"), ("add_to_cart", "carted"))
}


class BroughtItems(NamedTuple):
    """The items that the last actions bring in, in order: one entry an item in each column."""

    positions: NDArray[np.int64]
    scores: list[float]
    reasons: list[int]
    seeds: list[int]  # the position of the item that brought each in


def steps_back(actions: LastActions) -> dict[int, float]:
    """Return how many places each seen item moves back, by its position in the catalogue."""
    steps: dict[int, float] = {}
    for position, kind, age_s in zip(actions.positions, actions.kinds, actions.ages_s, strict=True):
        step = _STEP[kind] * max(0.0, 1 - age_s / FADE_S)
        if step > 0:
            steps[position] = steps.get(position, 0.0) + step
    return steps


def waiting_items(actions: LastActions) -> list[int]:
    """Return the positions of items that were bought or added to the basket, latest first, each once."""
    acted = zip(actions.positions, actions.kinds, strict=True)
    return list(dict.fromkeys(position for position, kind in acted if kind in _WAITING_KINDS))


def moved_back(positions: list[int], steps: dict[int, float]) -> list[int]:
    """Return the order of a level's eligible items after seen ones moved back: indices into `positions`."""
    seen_rows = [row for row, position in enumerate(positions) if position in steps]
    if not seen_rows:
        return list(range(len(positions)))
    keys = np.arange(len(positions), dtype=np.float64)
    for row in seen_rows:
        keys[row] += steps[positions[row]] + 0.5  # behind the last item that passes it
    order: list[int] = np.argsort(keys, kind="stable").tolist()
    return order


def brought_items(snapshot: Snapshot, actions: LastActions) -> BroughtItems:
    """Return the items that the last actions bring in, each once, eligible or not."""
    seeds: dict[int, int] = {}  # position: reason
    for position, kind in zip(actions.positions, actions.kinds, strict=True):
        if kind in _REASON_OF_SEED:
            seeds.setdefault(position, _REASON_OF_SEED[kind])
    newest_first = list(seeds)
    found = session_items(snapshot, newest_first, actions.positions)
    columns = zip(found.positions.tolist(), found.scores.tolist(), found.seeds.tolist(), strict=True)
    by_position = {position: (score, seeds[seed], seed) for position, score, seed in columns}
    acted_on = set(actions.positions)
    for position, score, seed in _in_turns(snapshot, newest_first[:SEEDS]):
        if position not in acted_on:
            by_position.setdefault(position, (score, seeds[seed], seed))
    rows = list(by_position.values())
    positions = np.fromiter(by_position, np.int64, len(by_position))
    return BroughtItems(positions, [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _in_turns(snapshot: Snapshot, seeds: list[int]) -> Iterator[tuple[int, float, int]]:
    """Yield position, score and seed: the nearest neighbour of every seed, then the second nearest, and so on."""
    lists = []
    for seed in seeds:
        positions, scores = snapshot.similar(seed)
        lists.append((seed, positions[:NEIGHBOURS].tolist(), scores[:NEIGHBOURS].tolist()))
    for place in range(NEIGHBOURS):
        for seed, positions, scores in lists:
            if place < len(positions):
                yield positions[place], scores[place], seed
