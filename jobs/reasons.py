"""Say why an item is on a shelf: its strongest source, and the item of the shopper's history behind it."""

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from jobs.candidate_sources import Sources
from jobs.candidates import SOURCE_CODE
from jobs.shoppers import Shoppers
from jobs.train_cf import interaction_values
from serving.record import MAX_REASON_ITEMS, REASON_CODES

REASON = {code: index for index, code in enumerate(REASON_CODES)}
NEIGHBOURS_LOOKED_AT = 50
"""A reason further down an item's list of neighbours would persuade nobody."""

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
    shoppers: Shoppers, sources: Sources, user: Positions, item: npt.NDArray[np.int32], source: Codes
) -> tuple[Codes, Positions]:
    """Return the reason code of each placed item and the catalogue position of the history item, -1 for none.

    Rows come in order of (user, rank). A record holds MAX_REASON_ITEMS history items a user: the reasons that
    would need more, the lowest on the shelf, fall back to the shopper's taste.
    """
    code = np.full(len(user), REASON["similar_taste"], dtype=np.int8)
    behind = np.full(len(user), -1, dtype=np.int64)
    for name, reason in _OF_SOURCE.items():
        code[source == SOURCE_CODE[name]] = REASON[reason]
    personal = np.isin(source, [SOURCE_CODE[name] for name in ("als", "item_item", "ease", "content")])
    behind[personal] = _nearest_in_history(shoppers, sources, user[personal], item[personal])
    touched = source == SOURCE_CODE["session"]
    behind[touched] = item[touched]
    code[behind >= 0] = _what_was_done(shoppers, user[behind >= 0], behind[behind >= 0])
    too_many = _beyond_the_budget(user, behind)
    code[too_many], behind[too_many] = REASON["similar_taste"], -1
    return code, behind


def _nearest_in_history(
    shoppers: Shoppers, sources: Sources, user: Positions, item: npt.NDArray[np.int32]
) -> Positions:
    """Return the history item that adds most to each item's item-item score, -1 where no neighbour was touched."""
    neighbour, similarity = _padded_neighbours(sources.neighbours["item_item"], item)
    history = shoppers.history
    keys = shoppers.history_user() * shoppers.n_items + history["item_pos"]
    if not len(keys) or not neighbour.size:
        return np.full(len(user), -1, dtype=np.int64)
    wanted = user[:, None] * shoppers.n_items + neighbour
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    strength = interaction_values(history["weight_milli"])[at] * similarity
    strength[(keys[at] != wanted) | (neighbour < 0)] = 0
    best = strength.argmax(axis=1)
    row = np.arange(len(user))
    return np.where(strength[row, best] > 0, neighbour[row, best], -1)


def _padded_neighbours(
    similarity: sp.csr_matrix, item: npt.NDArray[np.int32]
) -> tuple[Positions, npt.NDArray[np.float32]]:
    """Return each item's strongest neighbours as [n, NEIGHBOURS_LOOKED_AT], padded with -1 and 0."""
    distinct, inverse = np.unique(item, return_inverse=True)
    rows = similarity[distinct].tocoo()
    order = np.lexsort([rows.col, -rows.data, rows.row])
    row, col, data = rows.row[order], rows.col[order], rows.data[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < NEIGHBOURS_LOOKED_AT
    neighbour = np.full((len(distinct), NEIGHBOURS_LOOKED_AT), -1, dtype=np.int64)
    strength = np.zeros((len(distinct), NEIGHBOURS_LOOKED_AT), dtype=np.float32)
    neighbour[row[kept], place[kept]] = col[kept]
    strength[row[kept], place[kept]] = data[kept]
    return neighbour[inverse], strength[inverse]


def _what_was_done(shoppers: Shoppers, user: Positions, behind: Positions) -> Codes:
    """Return `bought`, `carted` or `viewed` for history items, whichever says most."""
    history = shoppers.history
    keys = shoppers.history_user() * shoppers.n_items + history["item_pos"]
    if not len(keys):
        return np.empty(0, dtype=np.int8)
    at = np.minimum(np.searchsorted(keys, user * shoppers.n_items + behind), len(keys) - 1)
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
    number[order] = np.arange(len(first)) - np.searchsorted(owner, owner)
    beyond = np.zeros(len(user), dtype=np.bool_)
    beyond[given] = number[inverse] >= MAX_REASON_ITEMS
    return beyond
