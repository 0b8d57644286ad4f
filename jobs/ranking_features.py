"""The ranker's features of a batch of candidates: one float32 matrix, columns named by FEATURES.

All come from tables and artifacts as of one day, so a training example is built by the code that serves the night.
Missing numbers are NaN, which LightGBM splits on.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.candidate_sources import SCORES, Sources
from jobs.candidates import Candidates
from jobs.shoppers import Shoppers
from serving.record import SOURCES

Matrix = npt.NDArray[np.float32]

ITEM_FEATURES = (
    "purchase_count_7d",
    "purchase_count_30d",
    "purchase_count_90d",
    "purchase_count_total",
    "view_count_7d",
    "view_count_30d",
    "cart_count_30d",
    "user_count_7d",
    "user_count_30d",
    "user_count_total",
    "purchaser_count_30d",
    "purchaser_count_total",
    "repeat_purchaser_count",
    "weight_1d",
    "weight_7d",
    "weight_30d",
    "days_since_last_event",
    "days_since_last_purchase",
    "age_days",
    "price_minor",
    "mean_gap_days",
    "rating_mean",
)
USER_FEATURES = (
    "event_count_7d",
    "event_count_30d",
    "event_count_total",
    "purchase_count_30d",
    "purchase_count_total",
    "purchase_day_count_90d",
    "purchase_day_count_total",
    "item_count_total",
    "purchased_item_count",
    "repeat_item_count",
    "days_since_last_event",
    "days_since_first_event",
    "days_since_last_purchase",
    "mean_price_minor",
    "mean_basket_items",
    "mean_gap_days",
)
PAIR_FEATURES = (
    "event_count",
    "view_count",
    "cart_count",
    "purchase_count",
    "purchase_count_30d",
    "purchase_count_90d",
    "purchase_day_count",
    "quantity_total",
    "weight_milli",
    "weight_30d_milli",
    "days_since_last_event",
    "days_since_last_purchase",
    "days_since_first_purchase",
    "mean_gap_days",
    "gap_sd_days",
)
RANKED = ("als", "item_item", "ease")
"""Scores whose rank and share of the best among the shopper's candidates are features too."""
CROSS_FEATURES = (
    *SCORES,
    *(f"{name}_rank" for name in RANKED),
    *(f"{name}_share" for name in RANKED),
    "votes",
    "source",
    "candidate_count",
    "price_ratio",
    "category_share",
    "trend_ratio",
    "buyer_repeat_share",
    "gap_ratio",
    "user_gap_ratio",
    "pair_purchase_share",
    "pair_day_share",
)
FEATURES = (
    *(f"item_{name}" for name in ITEM_FEATURES),
    *(f"user_{name}" for name in USER_FEATURES),
    *(f"pair_{name}" for name in PAIR_FEATURES),
    *CROSS_FEATURES,
)


def ranking_features(shoppers: Shoppers, found: Candidates, sources: Sources) -> Matrix:
    """Return [n_candidates, len(FEATURES)]; rows in the order of `found`."""
    # Each column is taken at the candidates first: the whole catalogue's would be laid out anew for every batch.
    of_item, of_user = sources.catalogue.columns, shoppers.users
    item = np.column_stack([of_item[name][found.item].astype(np.float32) for name in ITEM_FEATURES])
    user = np.column_stack([of_user[name][found.user].astype(np.float32) for name in USER_FEATURES])
    pair = _pair_features(shoppers, found)
    return np.concatenate([item, user, pair, _cross_features(shoppers, found, sources, item, user, pair)], axis=1)


def _pair_rows(shoppers: Shoppers, found: Candidates) -> npt.NDArray[np.int64]:
    """Return the history row of each candidate, -1 where the user never touched the item."""
    if not len(shoppers.history["item_pos"]):
        return np.full(len(found.user), -1, dtype=np.int64)
    keys = shoppers.history_user() * shoppers.n_items + shoppers.history["item_pos"]
    wanted = found.user * shoppers.n_items + found.item
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _pair_features(shoppers: Shoppers, found: Candidates) -> Matrix:
    rows = _pair_rows(shoppers, found)
    matrix = np.full((len(rows), len(PAIR_FEATURES)), np.nan, dtype=np.float32)
    known = rows >= 0
    for column, name in enumerate(PAIR_FEATURES):
        matrix[known, column] = shoppers.history[name].astype(np.float32)[rows[known]]
    return matrix


def _cross_features(
    shoppers: Shoppers, found: Candidates, sources: Sources, item: Matrix, user: Matrix, pair: Matrix
) -> Matrix:
    def of_item(name: str) -> npt.NDArray[np.float32]:
        return item[:, ITEM_FEATURES.index(name)]

    def of_user(name: str) -> npt.NDArray[np.float32]:
        return user[:, USER_FEATURES.index(name)]

    def of_pair(name: str) -> npt.NDArray[np.float32]:
        return pair[:, PAIR_FEATURES.index(name)]

    indptr = found.indptr(len(shoppers))
    count = np.diff(indptr)[found.user].astype(np.float32)
    ranked = [found.scores[name] for name in RANKED]
    since = of_pair("days_since_last_purchase")
    with np.errstate(divide="ignore", invalid="ignore"):
        columns: list[npt.NDArray[Any]] = [
            *found.scores.values(),
            *(_rank_within(found.user, score) for score in ranked),
            *(_share_of_best(found.user, score, indptr) for score in ranked),
            found.votes.astype(np.float32),
            found.source.astype(np.float32),
            count,
            np.log(of_item("price_minor") / of_user("mean_price_minor")),
            _category_share(shoppers, found, sources),
            of_item("weight_7d") / np.maximum(of_item("weight_30d"), 1),
            of_item("repeat_purchaser_count") / np.maximum(of_item("purchaser_count_total"), 1),
            since / of_pair("mean_gap_days"),
            since / of_user("mean_gap_days"),
            of_pair("purchase_count") / np.maximum(of_user("purchase_count_total"), 1),
            of_pair("purchase_day_count") / np.maximum(of_user("purchase_day_count_total"), 1),
        ]
    matrix = np.column_stack(columns).astype(np.float32)
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def _rank_within(user: npt.NDArray[np.int64], score: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return each candidate's rank by score among its user's, from 0; ties by item position."""
    order = np.lexsort((-score, user))
    rank = np.empty(len(user), dtype=np.float32)
    rank[order] = np.arange(len(user)) - np.searchsorted(user[order], user[order])
    return rank


def _share_of_best(
    user: npt.NDArray[np.int64], score: npt.NDArray[np.float32], indptr: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return each score as a share of its user's largest."""
    filled = np.diff(indptr) > 0
    best = np.zeros(len(indptr) - 1, dtype=np.float32)
    best[filled] = np.maximum.reduceat(score, indptr[:-1][filled]) if len(score) else 0
    return np.asarray(score / np.maximum(best[user], 1e-6), dtype=np.float32)


def _category_share(shoppers: Shoppers, found: Candidates, sources: Sources) -> npt.NDArray[np.float32]:
    """Return the share of the user's weight that fell on the candidate's category; NaN without a category."""
    n_categories = len(sources.catalogue.category_names)
    code = sources.catalogue.category_code[found.item]
    if n_categories == 0:
        return np.full(len(code), np.nan, dtype=np.float32)
    history_code = sources.catalogue.category_code[shoppers.history["item_pos"]]
    weight = shoppers.history["weight_milli"].astype(np.int64)
    keys = shoppers.history_user() * n_categories + np.maximum(history_code, 0)
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order], prepend=-1))
    totals = np.add.reduceat(np.where(history_code >= 0, weight, 0)[order], first) if len(first) else np.empty(0)
    of_user = np.bincount(shoppers.history_user(), weight, minlength=len(shoppers))
    distinct = keys[order][first]
    wanted = found.user * n_categories + np.maximum(code, 0)
    at = np.minimum(np.searchsorted(distinct, wanted), max(len(distinct) - 1, 0))
    held = np.where(distinct[at] == wanted, totals[at], 0) if len(distinct) else np.zeros(len(code))
    share = held / np.maximum(of_user[found.user], 1)
    return np.where(code >= 0, share, np.nan).astype(np.float32)


CATEGORICAL_FEATURES = ("source",)
assert len(SOURCES) < 256  # a source is a category of one byte
