"""Give the reason why an item is on a shelf: its strongest source, and the history item that explains it.

The history item is the one without which the source's score would be lowest. For a score by neighbours that is the
largest term of its sum (of `follows`, with the others' moments as they are); for ALS the shopper is refitted without
the item, in closed form.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from jobs.candidates.fusion import SOURCE_CODE
from jobs.candidates.lists import LISTED
from jobs.candidates.sources import BY_NEIGHBOURS, Sources, readings
from jobs.features.shoppers import ShopperHistories
from jobs.numeric.arrays import Flags, Positions, find_sorted, group_starts, pair_keys, ranges, rank_in_group
from serving.snapshot.record import MAX_REASON_ITEMS, REASON_CODES

REASON = {code: index for index, code in enumerate(REASON_CODES)}

REASON_OF_SOURCE = {
    "bought_before": "buy_again",
    "popular": "popular",
    "trending": "trending",
    "popular_in_category": "popular_in_category",
    "new_item": "new_item",
}

Codes = npt.NDArray[np.int8]
PLACES_OF_ITEMS = 1 << 21
"""So many pairs of a user and an item have room in a table of places: 8 MB."""


def reasons(
    shoppers: ShopperHistories, sources: Sources, user: Positions, item: npt.NDArray[np.int32], source: Codes
) -> tuple[Codes, Positions]:
    """Return for each placed item the reason code and the catalogue position of the history item, -1 for none.

    Rows are in order of (user, rank). A record holds MAX_REASON_ITEMS history items a user. Lower places that would
    need more of them get the reason `similar_taste`.
    """
    code = np.full(len(user), REASON["similar_taste"], dtype=np.int8)
    history_item = np.full(len(user), -1, dtype=np.int64)
    for name, reason in REASON_OF_SOURCE.items():
        code[source == SOURCE_CODE[name]] = REASON[reason]
    by_reading = readings(shoppers, sources.taste_decay_days)
    for name in LISTED:
        rows = np.flatnonzero(source == SOURCE_CODE[name])
        reading, matrix = BY_NEIGHBOURS[name]
        history_item[rows] = _largest_term(by_reading[reading], sources.neighbours[matrix], user[rows], item[rows])
    rows = np.flatnonzero(source == SOURCE_CODE["als"])
    history_item[rows] = _most_missed_by_als(by_reading["all"], sources, user[rows], item[rows])
    from_session = source == SOURCE_CODE["session"]
    history_item[from_session] = item[from_session]
    named = history_item >= 0
    code[named] = _strongest_action(shoppers, user[named], history_item[named])
    too_many = _beyond_record(user, history_item)
    code[too_many], history_item[too_many] = REASON["similar_taste"], -1
    return code, history_item


def _largest_term(
    reading: sp.csr_matrix, matrix: sp.csr_matrix, user: Positions, item: npt.NDArray[np.int32]
) -> Positions:
    """Return the history item that adds most to each pair's `reading @ matrix`; ties by position, -1 for none.

    `user` ascends. A few users at a time, so that a table of their places by item fits a processor's cache.
    """
    history_item = np.full(len(user), -1, dtype=np.int64)
    n_users, n_items = reading.shape
    at_once = max(1, PLACES_OF_ITEMS // max(n_items, 1))
    place_at = np.zeros(at_once * n_items, np.int32)  # the place of each user and item, from 1; 0 for none
    for first in range(0, n_users, at_once):
        low, high = np.searchsorted(user, (first, first + at_once)).tolist()
        if low == high:
            continue
        slots = pair_keys(user[low:high] - first, item[low:high], n_items)
        place_at[slots] = np.arange(1, high - low + 1)
        owner, pair, entry = _terms(reading, matrix, np.unique(user[low:high]))
        place = place_at[pair_keys(owner - first, matrix.indices[entry], n_items)]
        place_at[slots] = 0
        hit = np.flatnonzero(place)
        place, pair = place[hit] - 1, pair[hit]
        term_item, size = reading.indices[pair], reading.data[pair] * matrix.data[entry[hit]]
        by_size = np.lexsort((term_item, -size, place))
        best = by_size[np.flatnonzero(np.diff(place[by_size], prepend=-1))]
        best = best[size[best] > 0]
        history_item[low + place[best]] = term_item[best]
    return history_item


def _terms(reading: sp.csr_matrix, matrix: sp.csr_matrix, users: Positions) -> tuple[Positions, Positions, Positions]:
    """Return of each term of the users' rows of `reading @ matrix` the user, and its entries of both matrices."""
    lengths = np.diff(reading.indptr)[users]
    pair = ranges(reading.indptr[users], lengths)
    neighbours = np.diff(matrix.indptr)[reading.indices[pair]]
    owner, entry = (
        np.repeat(np.repeat(users, lengths), neighbours),
        ranges(matrix.indptr[reading.indices[pair]], neighbours),
    )
    return owner, np.repeat(pair, neighbours), entry


def _most_missed_by_als(
    strength: sp.csr_matrix, sources: Sources, user: Positions, item: npt.NDArray[np.int32]
) -> Positions:
    """Return the history item whose removal lowers each pair's ALS score most, -1 if none lowers it.

    A x = b are the shopper's equations (`jobs.models.fold_in`). Removing an item y of confidence c is an update of
    rank one (Sherman and Morrison 1950): the score of z falls by z'A^-1 y (c - (c - 1) x'y) / (1 - (c - 1) y'A^-1 y).
    """
    history_item = np.full(len(user), -1, dtype=np.int64)
    for start, stop in pairwise([*group_starts(user).tolist(), len(user)]):
        owner = user[start]
        own_rows = slice(strength.indptr[owner], strength.indptr[owner + 1])
        history = strength.indices[own_rows]
        if not len(history):
            continue
        confidence, touched, solved = sources.als.solved(history, strength.data[own_rows])
        own = np.einsum("ij,ji->i", touched, solved)
        liked = touched @ (solved @ confidence)
        factor = (confidence - (confidence - 1) * liked) / (1 - (confidence - 1) * own)
        rows = slice(start, stop)
        falls = sources.item_factors[item[rows]].astype(np.float64) @ (solved * factor)
        most = falls.argmax(axis=1)
        history_item[rows] = np.where(falls[np.arange(len(most)), most] > 0, history[most], -1)
    return history_item


def _strongest_action(shoppers: ShopperHistories, user: Positions, history_item: Positions) -> Codes:
    """Return the strongest of `bought`, `carted`, `viewed` and `rated` that the user did with the history item."""
    history = shoppers.history
    keys = shoppers.history_user() * shoppers.n_items + history["item_pos"]
    at = find_sorted(keys, pair_keys(user, history_item, shoppers.n_items))
    done = np.where(history["view_count"][at] > 0, REASON["viewed"], REASON["rated"])
    done = np.where(history["cart_count"][at] > 0, REASON["carted"], done)
    return np.where(history["purchase_count"][at] > 0, REASON["bought"], done).astype(np.int8)


def _beyond_record(user: Positions, history_item: Positions) -> Flags:
    """Tell which rows name a history item beyond the user's first MAX_REASON_ITEMS different ones."""
    given = np.flatnonzero(history_item >= 0)
    if not len(given):
        return np.zeros(len(user), dtype=np.bool_)
    key = pair_keys(user[given], history_item[given], int(history_item.max()) + 1)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    owner = user[given][first[order]]
    number = np.empty(len(first), dtype=np.int64)
    number[order] = rank_in_group(owner)
    beyond = np.zeros(len(user), dtype=np.bool_)
    beyond[given] = number[inverse] >= MAX_REASON_ITEMS
    return beyond
