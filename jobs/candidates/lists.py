"""The list that each source makes for every shopper, best item first."""

import faiss
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from jobs.candidates.sources import Scored, Sources
from jobs.features.shoppers import ShopperHistories
from jobs.numeric.arrays import is_in, pair_keys, rank_in_group

# How many items a source may bring a user. Shelves draw on a few hundred, so each brings more than it will place.
QUOTA = {
    "bought_before": 200,
    "session": 100,
    "als": 100,
    "two_tower": 100,
    "item_item": 100,
    "ease": 100,
    "content": 50,
    "popular": 100,
    "trending": 50,
    "new_item": 50,
}
LISTED = ("item_item", "ease", "content")
"""Scores by neighbours that bring candidates of their own."""
CATEGORIES_PER_USER = 3

Triple = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]
"""(user, item, rank within the source's list), flat; a user's items are unique."""


def plain_lists(shoppers: ShopperHistories, sources: Sources) -> dict[str, Triple]:
    """Return the lists that no score is computed for."""
    return {
        "bought_before": _bought_before(shoppers),
        "session": _viewed(shoppers),
        "popular": _for_everyone(sources.catalogue.by_popularity[: QUOTA["popular"]], len(shoppers)),
        "trending": _for_everyone(sources.catalogue.trending[: QUOTA["trending"]], len(shoppers)),
        "new_item": _for_everyone(sources.catalogue.new_items[: QUOTA["new_item"]], len(shoppers)),
        "popular_in_category": _popular_in_category(shoppers, sources),
    }


def ranked(user: npt.NDArray[np.int64], item: npt.NDArray[np.int32], quota: int) -> Triple:
    """Number each user's items, which come in order of preference, and keep the first `quota`."""
    rank = rank_in_group(user)
    kept = rank < quota
    return user[kept], item[kept].astype(np.int32), rank[kept]


def _bought_before(shoppers: ShopperHistories) -> Triple:
    """Items the user bought, on most days first, then the latest."""
    history, user = shoppers.history, shoppers.history_user()
    rows = np.flatnonzero(history["purchase_count"] > 0)
    recency = history["days_since_last_purchase"][rows].astype(np.float64)
    order = rows[np.lexsort([history["item_pos"][rows], recency, -history["purchase_day_count"][rows], user[rows]])]
    return ranked(user[order], history["item_pos"][order], QUOTA["bought_before"])


def _viewed(shoppers: ShopperHistories) -> Triple:
    """Items the user looked at or put into the basket and did not buy, latest first."""
    history, user = shoppers.history, shoppers.history_user()
    rows = np.flatnonzero((history["purchase_count"] == 0) & (history["weight_milli"] > 0))
    recency = history["days_since_last_event"][rows].astype(np.float64)
    order = rows[np.lexsort([history["item_pos"][rows], -history["cart_count"][rows], recency, user[rows]])]
    return ranked(user[order], history["item_pos"][order], QUOTA["session"])


def nearest_unseen(
    index: faiss.Index, factors: npt.NDArray[np.float32], seen: npt.NDArray[np.int64], n_items: int, quota: int
) -> Triple:
    """Unseen items with the largest inner product with the user's factors; above zero, as others say nothing."""
    most = min(n_items, quota * 3)
    product, found = index.search(np.ascontiguousarray(factors), most)
    user = np.repeat(np.arange(len(factors)), most)
    item = found.ravel()
    unseen = (product.ravel() > 0) & ~is_in(pair_keys(user, item, n_items), seen)
    return ranked(user[unseen], item[unseen].astype(np.int32), quota)


def by_towers(scored: Scored, sources: Sources, seen: npt.NDArray[np.int64]) -> Triple:
    """The same by the two towers' vectors; nothing where they were left out."""
    if scored.towers is None:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty.astype(np.int32), empty
    return nearest_unseen(sources.tower_index, scored.towers, seen, len(sources.catalogue), QUOTA["two_tower"])


def strongest(scores: sp.csr_matrix, seen: npt.NDArray[np.int64], quota: int) -> Triple:
    """Unseen items with the largest score of each row; ties by position."""
    scores.sort_indices()
    user = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    unseen = (scores.data > 0) & ~is_in(pair_keys(user, scores.indices, scores.shape[1]), seen)
    user, item, value = user[unseen], scores.indices[unseen], scores.data[unseen]
    # One integer key sorts by user, then by descending value: the bits of a positive float32 grow with it.
    key = (user.astype(np.int64) << 32) | (0xFFFFFFFF - value.view(np.uint32).astype(np.int64))
    order = np.argsort(key, kind="stable")
    return ranked(user[order], item[order], quota)


def _for_everyone(items: npt.NDArray[np.int32], n_users: int) -> Triple:
    return np.repeat(np.arange(n_users), len(items)), np.tile(items, n_users), np.tile(np.arange(len(items)), n_users)


def _popular_in_category(shoppers: ShopperHistories, sources: Sources) -> Triple:
    """Popular items of the categories that hold most of the user's weight."""
    empty = np.empty(0, dtype=np.int64)
    lists = sources.catalogue.popular_in_category
    n_categories = len(lists)
    if n_categories == 0:
        return empty, empty.astype(np.int32), empty
    code = sources.catalogue.category_code[shoppers.history["item_pos"]]
    known = code >= 0
    weight = sp.csr_matrix(
        (
            shoppers.history["weight_milli"][known].astype(np.float64),
            (shoppers.history_user()[known], code[known]),
        ),
        shape=(len(shoppers), n_categories),
    )
    user, category, place = strongest(weight.astype(np.float32), empty, CATEGORIES_PER_USER)
    item = lists[category]
    rank = place[:, None] + np.arange(item.shape[1])[None, :] * CATEGORIES_PER_USER
    kept = item.ravel() >= 0
    return np.repeat(user, item.shape[1])[kept], item.ravel()[kept], rank.ravel()[kept]
