"""Quick learning: what a user did in the last hours moves items at once, before any night has seen it.

Three rules, applied on every level of a shelf:

- **Seen items step back.** In a level's eligible items, one acted on lets STEPS others pass for each action of its
  kind, fading linearly to none over FADE_S. Among equals the night's order holds.
- **Bought items wait.** What was bought, or lies in the basket, is shown only when nothing else is left.
- **Neighbours come in.** Of the SEEDS items that were last looked at or put into the basket, the neighbours take
  every third ranked place from the second on, the seeds taking turns, the latest first.

An item comes in at most once, whichever rule brings it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.snapshot import Snapshot
from serving.snapshot.record import REASON_CODES

STEPS = {"impression": 5.0, "click": 20.0, "view": 20.0, "rating": 20.0}
WAITS = frozenset(ACTION_KINDS.index(kind) for kind in ("add_to_cart", "purchase"))
FADE_S = 24 * 3600.0
SEEDS = 3
NEIGHBOURS = 20  # of each seed
EVERY, FIRST = 3, 1  # neighbours take the ranked places 1, 4, 7, … counted from 0

_STEP = [STEPS.get(kind, 0.0) for kind in ACTION_KINDS]
_REASON_OF_SEED = {
    ACTION_KINDS.index(kind): REASON_CODES.index(reason)
    for kind, reason in (("click", "viewed"), ("view", "viewed"), ("add_to_cart", "carted"))
}

Near = tuple[NDArray[np.int64], list[float], list[int], list[int]]  # positions, scores, reasons, seeds


def steps_back(actions: LastActions) -> dict[int, float]:
    """How many places each seen item steps back, by its position in the catalogue."""
    steps: dict[int, float] = {}
    for position, kind, age_s in zip(actions.positions, actions.kinds, actions.ages_s, strict=True):
        step = _STEP[kind] * max(0.0, 1 - age_s / FADE_S)
        if step > 0:
            steps[position] = steps.get(position, 0.0) + step
    return steps


def waiting(actions: LastActions) -> list[int]:
    """The items that were bought or lie in the basket, the latest first, each once."""
    acted = zip(actions.positions, actions.kinds, strict=True)
    return list(dict.fromkeys(position for position, kind in acted if kind in WAITS))


def stepped(positions: list[int], steps: dict[int, float]) -> list[int]:
    """The order of a level's eligible items after seen ones stepped back: indices into `positions`."""
    moved = [row for row, position in enumerate(positions) if position in steps]
    if not moved:
        return list(range(len(positions)))
    keys = np.arange(len(positions), dtype=np.float64)
    for row in moved:
        keys[row] += steps[positions[row]] + 0.5  # behind the last of those that it lets pass
    order: list[int] = np.argsort(keys, kind="stable").tolist()
    return order


def neighbours(snapshot: Snapshot, actions: LastActions) -> Near:
    """The neighbours of what was last looked at, the seeds taking turns; eligible or not, and each once."""
    seeds: dict[int, int] = {}  # position: reason
    for position, kind in zip(actions.positions, actions.kinds, strict=True):
        if kind in _REASON_OF_SEED and len(seeds) < SEEDS:
            seeds.setdefault(position, _REASON_OF_SEED[kind])
    acted, found = set(actions.positions), dict[int, tuple[float, int, int]]()
    for position, score, seed in _in_turns(snapshot, list(seeds)):
        if position not in acted:
            found.setdefault(position, (score, seeds[seed], seed))
    rows = list(found.values())
    positions = np.fromiter(found, np.int64, len(found))
    return positions, [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _in_turns(snapshot: Snapshot, seeds: list[int]) -> Iterator[tuple[int, float, int]]:
    lists = []
    for seed in seeds:
        positions, scores = snapshot.similar(seed)
        lists.append((seed, positions[:NEIGHBOURS].tolist(), scores[:NEIGHBOURS].tolist()))
    for place in range(NEIGHBOURS):
        for seed, positions, scores in lists:
            if place < len(positions):
                yield positions[place], scores[place], seed
