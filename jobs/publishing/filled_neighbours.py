"""Fill up the neighbours of products that few shoppers have touched with the nearest by words and the shop's vectors.

>>> filled_up(co_occurring, by_content, fewest=20)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.numeric.arrays import rank_in_group

Neighbours = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""CSR over the catalogue: indptr [n_items + 1], positions and scores, nearest first."""
BLOCK = 1 << 16
"""Items at a time."""


def filled_up(near: Neighbours, more: Neighbours, fewest: int) -> Neighbours:
    """Return `near` with lists shorter than `fewest` filled up to it from `more`, each neighbour once.

    Scores of what is filled in are at most that of the last neighbour before it, so lists still descend.
    """
    n_items = len(near[0]) - 1
    blocks = [_filled_block(near, more, fewest, start) for start in range(0, n_items, BLOCK)]
    lengths, positions, scores = (
        np.concatenate([like[:0], *(block[part] for block in blocks)]).astype(like.dtype)
        for part, like in enumerate(near)
    )
    return np.append(0, np.cumsum(lengths)).astype(near[0].dtype), positions, scores


def _filled_block(near: Neighbours, more: Neighbours, fewest: int, start: int) -> Neighbours:
    """Return the lengths of the lists of BLOCK items from `start` on, and their positions and scores."""
    n_items = len(near[0]) - 1
    of_near, of_more = (_rows(neighbours, start) for neighbours in (near, more))
    length = np.diff(near[0][start : start + BLOCK + 1])
    last = np.full(len(length), np.inf)
    last[length > 0] = near[2][near[0][start + 1 : start + len(length) + 1][length > 0] - 1]
    row, position, score = of_more
    known = np.isin(row * n_items + position, of_near[0] * n_items + of_near[1])
    row, position, score = row[~known], position[~known], score[~known]
    wanted = rank_in_group(row) < (fewest - length)[row]
    row, position, score = row[wanted], position[wanted], np.minimum(score, last[row])[wanted]
    rows = np.concatenate([of_near[0], row])
    order = np.argsort(rows, kind="stable")  # those that were there stand first
    positions, scores = np.concatenate([of_near[1], position]), np.concatenate([of_near[2], score])
    return np.bincount(rows, minlength=len(length)), positions[order], scores[order]


def _rows(neighbours: Neighbours, start: int) -> Neighbours:
    """Return each neighbour's row, counted from `start`, position and score, for BLOCK items from `start` on."""
    indptr = neighbours[0][start : start + BLOCK + 1]
    first, end = indptr[0], indptr[-1]
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return row, neighbours[1][first:end].astype(np.int64), neighbours[2][first:end]
