"""The list that each source makes for every shopper, best item first."""

from typing import NamedTuple

import faiss
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from jobs.candidates.sources import ShopperScores, Sources
from jobs.features.shoppers import ShopperHistories
from jobs.numeric.arrays import (
    Flags,
    Floats,
    Integers,
    Positions,
    Whole,
    find_sorted,
    highest_first,
    is_in,
    pair_keys,
    rank_in_group,
)

QUOTA = {
    "bought_before": 200,
    "session": 100,
    "als": 100,
    "two_tower": 100,
    "item_item": 100,
    "ease": 100,
    "follows": 100,
    "content": 50,
    "popular": 100,
    "trending": 50,
    "new_item": 50,
}
"""How many items a source may list for a user: more than it will place, as a shelf draws on a few hundred."""
LISTED = ("item_item", "ease", "follows", "content")
"""Scores by neighbours that bring candidates of their own."""
CATEGORIES_PER_USER = 3


class RankedItems(NamedTuple):
    """One source's lists, flat, of one length; a user's items are unique."""

    user: Whole
    item: npt.NDArray[np.int32]
    rank: Whole
    """Place in the user's list, from 0."""


def plain_lists(shoppers: ShopperHistories, sources: Sources) -> dict[str, RankedItems]:
    """Return the lists, by source, that need no score."""
    catalogue, n_users = sources.catalogue, len(shoppers)
    return {
        "bought_before": _bought_before(shoppers),
        "session": _viewed(shoppers),
        "popular": _for_everyone(catalogue.by_popularity[: QUOTA["popular"]], n_users),
        "trending": _for_everyone(catalogue.trending[: QUOTA["trending"]], n_users),
        "new_item": _for_everyone(catalogue.new_items[: QUOTA["new_item"]], n_users),
        "popular_in_category": _popular_in_category(shoppers, sources),
    }


def scored_lists(shoppers: ShopperHistories, sources: Sources, scores: ShopperScores) -> dict[str, RankedItems]:
    """Return the lists, by source, of unseen items by their scores; no list of towers where they were left out."""
    n_items = len(sources.catalogue)
    seen = pair_keys(shoppers.history_user(), shoppers.history["item_pos"], n_items)
    lists = {"als": _nearest_unseen(sources.index, scores.factors, seen, n_items, QUOTA["als"])}
    if scores.towers is not None:
        lists["two_tower"] = _nearest_unseen(sources.tower_index, scores.towers, seen, n_items, QUOTA["two_tower"])
    return lists | {name: _strongest(scores.by_neighbours[name], seen, QUOTA[name]) for name in LISTED}


def _first_of_each(user: Whole, item: Integers, quota: int) -> RankedItems:
    """Rank each user's items, which come in order of preference, and keep the first `quota`."""
    rank = rank_in_group(user)
    kept = rank < quota
    return RankedItems(user[kept], item[kept].astype(np.int32), rank[kept])


def _bought_before(shoppers: ShopperHistories) -> RankedItems:
    """Items the user bought, those bought on most days first, then the latest."""
    history, user = shoppers.history, shoppers.history_user()
    rows = np.flatnonzero(history["purchase_count"] > 0)
    recency = history["days_since_last_purchase"][rows].astype(np.float64)
    order = rows[np.lexsort([history["item_pos"][rows], recency, -history["purchase_day_count"][rows], user[rows]])]
    return _first_of_each(user[order], history["item_pos"][order], QUOTA["bought_before"])


def _viewed(shoppers: ShopperHistories) -> RankedItems:
    """Items the user looked at or put into the basket and did not buy, latest first."""
    history, user = shoppers.history, shoppers.history_user()
    rows = np.flatnonzero((history["purchase_count"] == 0) & (history["weight_milli"] > 0))
    recency = history["days_since_last_event"][rows].astype(np.float64)
    order = rows[np.lexsort([history["item_pos"][rows], -history["cart_count"][rows], recency, user[rows]])]
    return _first_of_each(user[order], history["item_pos"][order], QUOTA["session"])


def _nearest_unseen(index: faiss.Index, vectors: Floats, seen: Whole, n_items: int, quota: int) -> RankedItems:
    """Unseen items with the largest inner product with the user's vector; only products above zero say anything.

    `seen` holds pair keys, ascending. Half as many again as `quota` are asked for; three times as many, for the few
    users to whom what they have seen leaves fewer than `quota`.
    """
    user = np.arange(len(vectors))
    product, nearest = _asked(index, vectors, min(n_items, quota * 3 // 2))
    unseen = _is_unseen(user, product, nearest, seen, n_items)
    short = np.flatnonzero((unseen.sum(axis=1) < quota) & (product[:, -1:] > 0).any(axis=1))
    enough = np.setdiff1d(user, short)
    lists = [_first_of_each(np.repeat(enough, unseen[enough].sum(axis=1)), nearest[enough][unseen[enough]], quota)]
    if len(short):
        product, nearest = _asked(index, vectors[short], min(n_items, quota * 3))
        unseen = _is_unseen(short, product, nearest, seen, n_items)
        lists.append(_first_of_each(np.repeat(short, unseen.sum(axis=1)), nearest[unseen], quota))
    return RankedItems(*(np.concatenate(columns) for columns in zip(*lists, strict=True)))


def _asked(index: faiss.Index, vectors: Floats, most: int) -> tuple[Floats, Positions]:
    """Return the products and positions [n, most] of the items that are nearest to each vector."""
    if not most:  # FAISS refuses to look for none
        return np.empty((len(vectors), 0), np.float32), np.empty((len(vectors), 0), np.int64)
    product, nearest = index.search(np.ascontiguousarray(vectors), most)
    return product, nearest


def _is_unseen(user: Whole, product: Floats, nearest: Positions, seen: Whole, n_items: int) -> Flags:
    return np.asarray((product > 0) & ~is_in(pair_keys(user[:, None], nearest, n_items), seen))


def _strongest(scores: sp.csr_matrix, seen: Whole, quota: int) -> RankedItems:
    """Unseen items with the largest positive scores of each row, ties by position; `seen` as in _nearest_unseen."""
    scores.sort_indices()
    user = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    kept = scores.data > 0
    # There are far fewer seen pairs than scores: they are looked up among the scores.
    position = find_sorted(pair_keys(user, scores.indices, scores.shape[1]), seen)
    kept[position[position >= 0]] = False
    user, item = user[kept], scores.indices[kept]
    order = highest_first(user, scores.data[kept])
    return _first_of_each(user, item[order], quota)


def _for_everyone(items: npt.NDArray[np.int32], n_users: int) -> RankedItems:
    user, rank = np.repeat(np.arange(n_users), len(items)), np.tile(np.arange(len(items)), n_users)
    return RankedItems(user, np.tile(items, n_users), rank)


def _popular_in_category(shoppers: ShopperHistories, sources: Sources) -> RankedItems:
    """Popular items of the CATEGORIES_PER_USER categories that hold most of the user's weight, by turns."""
    nothing = np.empty(0, dtype=np.int64)
    popular = sources.catalogue.popular_in_category
    if not len(popular):
        return RankedItems(nothing, nothing.astype(np.int32), nothing)
    code = sources.catalogue.category_code[shoppers.history["item_pos"]]
    known = code >= 0
    weight = shoppers.history["weight_milli"][known].astype(np.float64)
    by_category = sp.csr_matrix(
        (weight, (shoppers.history_user()[known], code[known])), shape=(len(shoppers), len(popular))
    )
    user, category, place = _strongest(by_category.astype(np.float32), nothing, CATEGORIES_PER_USER)
    item = popular[category]
    rank = place[:, None] + np.arange(item.shape[1])[None, :] * CATEGORIES_PER_USER
    kept = item.ravel() >= 0
    return RankedItems(np.repeat(user, item.shape[1])[kept], item.ravel()[kept], rank.ravel()[kept])
