"""Rank the items that visits go on to after a visitor's last actions, from the snapshot's list `looked_next`.

Each of the SEEDS items last looked at gives the items of its list their scores, times DECAY for every seed that is
newer. So the last item counts most, and an item in several lists comes before its equals in one.
docs/adr/0013-sessions-by-what-is-looked-at-next.md tells how the constants were chosen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.shelf.snapshot import Snapshot

LIST = "looked_next"
SEEDS = 10
DECAY = 0.5


class SessionItems(NamedTuple):
    """Items, best first, ties by position: one entry an item in each column."""

    positions: NDArray[np.int64]
    scores: NDArray[np.float64]
    seeds: NDArray[np.int64]  # the position of the item whose list gave the most to the score


def session_items(snapshot: Snapshot, seeds: Sequence[int], acted_on: Sequence[int]) -> SessionItems:
    """Return what is looked at next after `seeds`, the positions of the last items, newest first, each once.

    No seed and none of the items at the positions `acted_on` is among them. All columns are empty where the snapshot
    has no such list, and where it is empty for every seed.
    """
    seeds = seeds[:SEEDS]
    lists = [snapshot.item_list(LIST, seed) for seed in seeds]
    positions = np.concatenate([np.empty(0, np.int64), *(listed for listed, _ in lists)])
    if not len(positions):
        return SessionItems(positions, np.empty(0), positions)
    given = np.concatenate([scores * DECAY**turn for turn, (_, scores) in enumerate(lists)], dtype=np.float64)
    of_seed = np.repeat(np.asarray(seeds, np.int64), [len(listed) for listed, _ in lists])
    order = np.lexsort((-given, positions))  # it is stable: of what gives the same, the newest seed comes first
    positions, given, of_seed = positions[order], given[order], of_seed[order]
    begins = np.flatnonzero(np.append(True, positions[1:] != positions[:-1]))
    distinct, scores = positions[begins], np.add.reduceat(given, begins)
    skipped = np.array([*seeds, *acted_on])
    at = np.searchsorted(distinct, skipped)
    is_new = np.ones(len(distinct), np.bool_)
    is_new[at[distinct.take(at, mode="clip") == skipped]] = False
    rows = np.flatnonzero(is_new)
    rows = rows[np.argsort(-scores[rows], kind="stable")]  # positions ascend
    return SessionItems(distinct[rows], scores[rows], of_seed[begins[rows]])
