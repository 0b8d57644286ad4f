"""Find what shoppers look at next: for each item, the items that visits go on to, learned from their order.

from jobs.models.transitions import looked_next, sessions_of
session = sessions_of(visitor, at_s)
indptr, positions, scores = looked_next(session, item, at_s, n_items)

These are sequential rules (Kamehkhosh, Jannach, Ludewig 2017): an item that follows `step` looks later weighs
1 / step. Most pairs of items are met by one visit or two, and their order says little. Therefore a look the other way
round counts too, for BACKWARD of its weight. docs/adr/0013-sessions-by-what-is-looked-at-next.md tells what chose the
constants, and `tests/bench/bench_sessions.py` measures them.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from jobs.numeric.arrays import Column, Floats, Integers, Whole, best_in_group

PAUSE_S = 30 * 60
"""A visit ends with a pause that is longer."""
MOST_STEPS = 10
BACKWARD = 0.8
MOST_NEXT = 30
"""Items kept for each item."""


class NextItems(NamedTuple):
    """A CSR of items x items: each item's list, best first, ties by position."""

    indptr: Whole  # [n_items + 1]
    positions: Whole
    scores: Floats  # above 0


def sessions_of(visitor: Integers, at_s: Column) -> Whole:
    """Return the number of each event's session: a visitor's events with no pause of more than PAUSE_S in between.

    `visitor` numbers visitors, `at_s` is in seconds; the events may stand in any order. Sessions are numbered from 0,
    by visitor and then by time.
    """
    order = np.lexsort((at_s, visitor))
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (np.diff(visitor[order]) != 0) | (np.diff(at_s[order]) > PAUSE_S)
    session = np.empty(len(order), dtype=np.int64)
    session[order] = np.cumsum(begins) - 1
    return session


def looked_next(session: Integers, item: Integers, at: Column, n_items: int, most: int = MOST_NEXT) -> NextItems:
    """Return what is looked at around each item, `most` items each, best first.

    The three columns have one entry a look: the number of its session, the item's position in the catalogue, and the
    time or another number that orders the looks of a session (ties by position). Looks may stand in any order, and
    the result does not depend on it. An item counts once a session, where it was looked at first.

    A score sums the weights of all sessions. It is divided by the square root of how many sessions have the item
    whose list it is, so that lists of rare and of popular items can be added. Memory follows the looks and the
    distinct pairs of items that are at most MOST_STEPS looks apart.

    Raises:
        ValueError: an item is not in the catalogue.
    """
    if len(item) and not 0 <= item.min() <= item.max() < n_items:
        raise ValueError(f"positions of items are not all within 0 to {n_items - 1}; map them to the same catalogue")
    session, item = _first_looks(session, item, at)
    weight = sp.csr_matrix((n_items, n_items))
    for step in range(1, MOST_STEPS + 1):
        within = session[step:] == session[:-step]
        if not within.any():
            break
        pair = item[:-step][within], item[step:][within]
        ahead = sp.csr_matrix((np.ones(len(pair[0])), pair), weight.shape)  # counts, so that their order is no matter
        weight = weight + (ahead + BACKWARD * ahead.T) / step
    return _best(weight, np.bincount(item, minlength=n_items), most)


def _first_looks(session: Integers, item: Integers, at: Column) -> tuple[Integers, Integers]:
    """Return session and item of the first look at each item in each session, by session and then by time."""
    order = np.lexsort((at, item, session))
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(session[order]) != 0) | (np.diff(item[order]) != 0)
    order = order[is_first]
    order = order[np.lexsort((item[order], at[order], session[order]))]
    return session[order], item[order]


def _best(weight: sp.csr_matrix, session_count: Integers, most: int) -> NextItems:
    """Return the `most` best of each row, each row divided by the square root of its count of sessions."""
    row = np.repeat(np.arange(weight.shape[0]), np.diff(weight.indptr))
    best = best_in_group(row, weight.data, weight.indices, most)
    kept = np.bincount(row[best], minlength=weight.shape[0])
    scores = weight.data[best] / np.sqrt(session_count[row[best]])
    indptr = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return NextItems(indptr, weight.indices[best].astype(np.int64), scores.astype(np.float32))
