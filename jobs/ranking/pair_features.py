"""The ranker's features of a batch of candidates: one float32 matrix, columns named by FEATURES.

All come from tables and artifacts as of one day, so a training example is built by the code that serves the night.
Missing numbers are NaN, which LightGBM splits on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.candidates.candidate_set import Candidates
from jobs.candidates.sources import SCORES, Sources
from jobs.features.shoppers import ShopperHistories
from jobs.numeric.arrays import find_sorted, rank_by_order
from serving.snapshot.record import SOURCES

Matrix = npt.NDArray[np.float32]
Column = npt.NDArray[Any]

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


@dataclass
class _At:
    """Features by name, each computed once, at some rows of a batch's candidates."""

    shoppers: ShopperHistories
    found: Candidates
    sources: Sources
    rows: npt.NDArray[np.int64] | slice
    _known: dict[str, Column] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Column:
        if name not in self._known:
            self._known[name] = CROSS[name](self) if name in CROSS else self._looked_up(*name.split("_", 1))
        return self._known[name]

    def _looked_up(self, table: str, column: str) -> Column:
        if table == "item":
            # Taken at the candidates first: the whole catalogue's would be laid out anew for every batch.
            return self.sources.catalogue.columns[column][self.item].astype(np.float32)
        if table == "user":
            return self.shoppers.users[column][self.user].astype(np.float32)
        values = np.full(len(self.item), np.nan, dtype=np.float32)
        known = self.history_row >= 0
        values[known] = self.shoppers.history[column].astype(np.float32)[self.history_row[known]]
        return values

    @cached_property
    def user(self) -> npt.NDArray[np.int64]:
        return self.found.user[self.rows]

    @cached_property
    def item(self) -> npt.NDArray[np.int32]:
        return self.found.item[self.rows]

    @cached_property
    def indptr(self) -> npt.NDArray[np.int64]:
        return self.found.indptr(len(self.shoppers))

    @cached_property
    def history_row(self) -> npt.NDArray[np.int64]:
        """The history row of each candidate, -1 where the user never touched the item."""
        keys = self.shoppers.history_user() * self.shoppers.n_items + self.shoppers.history["item_pos"]
        wanted = self.user * self.shoppers.n_items + self.item
        return find_sorted(keys, wanted)


def _score(name: str, at: _At) -> Column:
    return at.found.scores[name][at.rows]


def _rank(name: str, at: _At) -> Column:
    """Rank by a score among all of the shopper's candidates, from 0; ties by item position."""
    return _rank_within(at.found.user, at.found.scores[name])[at.rows]


def _share(name: str, at: _At) -> Column:
    return _share_of_best(at.found.user, at.found.scores[name], at.indptr)[at.rows]


CROSS: dict[str, Callable[[_At], Column]] = {
    **{name: partial(_score, name) for name in SCORES},
    **{f"{name}_rank": partial(_rank, name) for name in RANKED},
    **{f"{name}_share": partial(_share, name) for name in RANKED},
    "votes": lambda at: at.found.votes[at.rows],
    "source": lambda at: at.found.source[at.rows],
    "candidate_count": lambda at: np.diff(at.indptr)[at.user],
    "price_ratio": lambda at: np.log(at["item_price_minor"] / at["user_mean_price_minor"]),
    "category_share": lambda at: _category_share(at.shoppers, at.user, at.item, at.sources),
    "trend_ratio": lambda at: at["item_weight_7d"] / np.maximum(at["item_weight_30d"], 1),
    "buyer_repeat_share": lambda at: (
        at["item_repeat_purchaser_count"] / np.maximum(at["item_purchaser_count_total"], 1)
    ),
    "gap_ratio": lambda at: at["pair_days_since_last_purchase"] / at["pair_mean_gap_days"],
    "user_gap_ratio": lambda at: at["pair_days_since_last_purchase"] / at["user_mean_gap_days"],
    "pair_purchase_share": lambda at: at["pair_purchase_count"] / np.maximum(at["user_purchase_count_total"], 1),
    "pair_day_share": lambda at: at["pair_purchase_day_count"] / np.maximum(at["user_purchase_day_count_total"], 1),
}
"""Features of a shopper and an item together: what a source says of the pair, and ratios of other features."""
CROSS_FEATURES = tuple(CROSS)
FEATURES = (
    *(f"item_{name}" for name in ITEM_FEATURES),
    *(f"user_{name}" for name in USER_FEATURES),
    *(f"pair_{name}" for name in PAIR_FEATURES),
    *CROSS_FEATURES,
)
COARSE_FEATURES = (
    *SCORES,
    *(f"{name}_rank" for name in RANKED),
    *(f"{name}_share" for name in RANKED),
    "votes",
    "source",
    "candidate_count",
    "pair_purchase_day_count",
    "pair_days_since_last_purchase",
    "pair_days_since_last_event",
    "item_purchaser_count_30d",
    "item_user_count_7d",
)
"""What the coarse cut judges by: nearly all of it lies in the candidates already."""


def ranking_features(
    shoppers: ShopperHistories,
    found: Candidates,
    sources: Sources,
    names: Sequence[str] = FEATURES,
    rows: npt.NDArray[np.int64] | None = None,
) -> Matrix:
    """Return [n_candidates, len(names)] in the order of `found`; or of its `rows` alone.

    A candidate's ranks and shares are among all of its shopper's candidates, whichever rows are asked for.
    """
    at = _At(shoppers, found, sources, slice(None) if rows is None else rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = np.column_stack([at[name].astype(np.float32, copy=False) for name in names])
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def _rank_within(user: npt.NDArray[np.int64], score: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return each candidate's rank by score among its user's, from 0; ties by item position."""
    return rank_by_order(user, np.lexsort((-score, user))).astype(np.float32)


def _share_of_best(
    user: npt.NDArray[np.int64], score: npt.NDArray[np.float32], indptr: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return each score as a share of its user's largest."""
    filled = np.diff(indptr) > 0
    best = np.zeros(len(indptr) - 1, dtype=np.float32)
    best[filled] = np.maximum.reduceat(score, indptr[:-1][filled]) if len(score) else 0
    return np.asarray(score / np.maximum(best[user], 1e-6), dtype=np.float32)


def _category_share(
    shoppers: ShopperHistories, user: npt.NDArray[np.int64], item: npt.NDArray[np.int32], sources: Sources
) -> npt.NDArray[np.float32]:
    """Return the share of the user's weight that fell on the candidate's category; NaN without a category."""
    n_categories = len(sources.catalogue.category_names)
    code = sources.catalogue.category_code[item]
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
    wanted = user * n_categories + np.maximum(code, 0)
    position = find_sorted(distinct, wanted)
    held = np.zeros(len(code))
    held[position >= 0] = totals[position[position >= 0]]
    share = held / np.maximum(of_user[user], 1)
    return np.where(code >= 0, share, np.nan).astype(np.float32)


CATEGORICAL_FEATURES = ("source",)
assert len(SOURCES) < 256  # a source is a category of one byte
