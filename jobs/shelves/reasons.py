"""Say why an item is on a shelf: its strongest source, and the item of the shopper's history behind it.

The item named is the one without which the source's score would be lowest: for a score by neighbours the largest
term of its sum, for ALS by refitting the shopper without it, in closed form.
"""

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from jobs.candidates.fusion import SOURCE_CODE
from jobs.candidates.lists import LISTED
from jobs.candidates.sources import BY_NEIGHBOURS, Sources, readings
from jobs.features.shoppers import ShopperHistories
from jobs.numeric.arrays import find_sorted, pair_keys, rank_in_group
from serving.snapshot.record import MAX_REASON_ITEMS, REASON_CODES

REASON = {code: index for index, code in enumerate(REASON_CODES)}

_OF_SOURCE = {
    "bought_before": "buy_again",
    "popular": "popular",
    "trending": "trending",
    "popular_in_category": "popular_in_category",
    "new_item": "new_item",
}

Codes = npt.NDArray[np.int8]
Positions = npt.NDArray[np.int64]


def reasons(
    shoppers: ShopperHistories, sources: Sources, user: Positions, item: npt.NDArray[np.int32], source: Codes
) -> tuple[Codes, Positions]:
    """Return the reason code of each placed item and the catalogue position of the history item, -1 for none.

    Rows come in order of (user, rank). A record holds MAX_REASON_ITEMS history items a user: the reasons that
    would need more, the lowest on the shelf, fall back to the shopper's taste.
    """
    code = np.full(len(user), REASON["similar_taste"], dtype=np.int8)
    behind = np.full(len(user), -1, dtype=np.int64)
    for name, reason in _OF_SOURCE.items():
        code[source == SOURCE_CODE[name]] = REASON[reason]
    read = readings(shoppers, sources.taste_decay_days)
    for name in LISTED:
        rows = np.flatnonzero(source == SOURCE_CODE[name])
        reading, matrix = BY_NEIGHBOURS[name]
        behind[rows] = _largest_term(read[reading], sources.neighbours[matrix], user[rows], item[rows])
    rows = np.flatnonzero(source == SOURCE_CODE["als"])
    behind[rows] = _most_missed_by_als(read["all"], sources, user[rows], item[rows])
    touched = source == SOURCE_CODE["session"]
    behind[touched] = item[touched]
    code[behind >= 0] = _what_was_done(shoppers, user[behind >= 0], behind[behind >= 0])
    too_many = _beyond_the_budget(user, behind)
    code[too_many], behind[too_many] = REASON["similar_taste"], -1
    return code, behind


def _largest_term(
    reading: sp.csr_matrix, matrix: sp.csr_matrix, user: Positions, item: npt.NDArray[np.int32]
) -> Positions:
    """Return the history item that adds most to each pair's `reading @ matrix`; ties by position, -1 for none."""
    found = np.full(len(user), -1, dtype=np.int64)
    owner = np.repeat(np.arange(reading.shape[0]), np.diff(reading.indptr))
    mine = np.flatnonzero(np.isin(owner, user))
    rows = matrix[reading.indices[mine]]
    term = np.repeat(mine, np.diff(rows.indptr))
    keys = pair_keys(user, item, reading.shape[1])
    order = np.argsort(keys, kind="stable")
    asked = pair_keys(owner[term], rows.indices, reading.shape[1])
    at = find_sorted(keys[order], asked)
    hit = np.flatnonzero(at >= 0)
    place, behind, adds = order[at[hit]], reading.indices[term[hit]], reading.data[term[hit]] * rows.data[hit]
    by_size = np.lexsort((behind, -adds, place))
    first = by_size[np.flatnonzero(np.diff(place[by_size], prepend=-1))]
    first = first[adds[first] > 0]
    found[place[first]] = behind[first]
    return found


def _most_missed_by_als(
    strength: sp.csr_matrix, sources: Sources, user: Positions, item: npt.NDArray[np.int32]
) -> Positions:
    """Return the history item whose removal lowers each pair's ALS score most, -1 where none lowers it.

    With A x = b the shopper's equations (Hu, Koren, Volinsky 2008), taking out an item y of confidence c is an
    update of rank one (Sherman and Morrison 1950): the score of z falls by
    z'A^-1 y (c - (c - 1) x'y) / (1 - (c - 1) y'A^-1 y).
    """
    factors = sources.item_factors.astype(np.float64)
    plain = factors.T @ factors + sources.cf.regularization * np.eye(factors.shape[1])
    found = np.full(len(user), -1, dtype=np.int64)
    for owner in np.unique(user):
        of = slice(strength.indptr[owner], strength.indptr[owner + 1])
        confidence, history = sources.cf.alpha * strength.data[of].astype(np.float64), strength.indices[of]
        if not len(history):
            continue
        touched = factors[history]
        solved = np.linalg.solve(plain + (touched.T * (confidence - 1)) @ touched, touched.T)
        own = np.einsum("ij,ji->i", touched, solved)
        liked = touched @ (solved @ confidence)
        factor = (confidence - (confidence - 1) * liked) / (1 - (confidence - 1) * own)
        rows = np.flatnonzero(user == owner)
        falls = factors[item[rows]] @ (solved * factor)
        most = falls.argmax(axis=1)
        found[rows] = np.where(falls[np.arange(len(rows)), most] > 0, history[most], -1)
    return found


def _what_was_done(shoppers: ShopperHistories, user: Positions, behind: Positions) -> Codes:
    """Return `bought`, `carted` or `viewed` for history items, whichever says most."""
    history = shoppers.history
    keys = shoppers.history_user() * shoppers.n_items + history["item_pos"]
    at = find_sorted(keys, pair_keys(user, behind, shoppers.n_items))
    done = np.where(history["cart_count"][at] > 0, REASON["carted"], REASON["viewed"])
    return np.where(history["purchase_count"][at] > 0, REASON["bought"], done).astype(np.int8)


def _beyond_the_budget(user: Positions, behind: Positions) -> npt.NDArray[np.bool_]:
    """Tell which rows name a history item that comes after the user's first MAX_REASON_ITEMS different ones."""
    given = np.flatnonzero(behind >= 0)
    if not len(given):
        return np.zeros(len(user), dtype=np.bool_)
    key = user[given] * (int(behind.max()) + 1) + behind[given]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    owner = user[given][first[order]]
    number = np.empty(len(first), dtype=np.int64)
    number[order] = rank_in_group(owner)
    beyond = np.zeros(len(user), dtype=np.bool_)
    beyond[given] = number[inverse] >= MAX_REASON_ITEMS
    return beyond
