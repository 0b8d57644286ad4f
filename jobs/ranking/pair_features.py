"""The ranker's features of a batch of candidates: one float32 matrix, with columns named by FEATURES.

All come from tables and artifacts as of one day, so the same code builds training examples and the night's features.
Missing numbers are NaN, which LightGBM splits on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from jobs.candidates.candidate_set import Candidates
from jobs.candidates.sources import SCORES, Sources
from jobs.features.shoppers import ShopperHistories
from jobs.numeric.arrays import Column, Floats, Whole, find_sorted, pair_keys
from serving.snapshot.record import SOURCES

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
RANKED = ("als", "item_item", "ease", "follows")
"""Scores whose rank among the shopper's candidates, and share of the best one, are features too."""


@dataclass
class _Columns:
    """Feature columns by name, at some rows of a batch's candidates. Each is computed once."""

    shoppers: ShopperHistories
    candidates: Candidates
    sources: Sources
    rows: Whole | slice
    _computed: dict[str, Column] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Column:
        if name not in self._computed:
            self._computed[name] = CROSS[name](self) if name in CROSS else self._looked_up(*name.split("_", 1))
        return self._computed[name]

    def _looked_up(self, table: str, column: str) -> Column:
        if table == "item":
            # Select first, then convert: the whole catalogue would be converted again for every batch.
            return self.sources.catalogue.columns[column].take(self.item).astype(np.float32)
        if table == "user":
            return self.shoppers.users[column].take(self.user).astype(np.float32)
        values = np.full(len(self.item), np.nan, dtype=np.float32)
        known = self.history_row >= 0
        values[known] = self.shoppers.history[column].astype(np.float32).take(self.history_row[known])
        return values

    @cached_property
    def user(self) -> Whole:
        return self.candidates.user[self.rows]

    @cached_property
    def item(self) -> npt.NDArray[np.int32]:
        return self.candidates.item[self.rows]

    @cached_property
    def indptr(self) -> Whole:
        return self.candidates.indptr(len(self.shoppers))

    @cached_property
    def history_row(self) -> Whole:
        """The history row of each candidate, -1 where the user never touched the item."""
        n_items = self.shoppers.n_items
        keys = pair_keys(self.shoppers.history_user(), self.shoppers.history["item_pos"], n_items)
        return find_sorted(keys, pair_keys(self.user, self.item, n_items))


def _score(name: str, columns: _Columns) -> Column:
    return columns.candidates.scores[name][columns.rows]


def _rank(name: str, columns: _Columns) -> Column:
    """Rank by a score among all of the shopper's candidates, from 0; ties by item position."""
    return columns.candidates.rank(name)[columns.rows]


def _share(name: str, columns: _Columns) -> Column:
    return _share_of_best(columns.candidates.user, columns.candidates.scores[name], columns.indptr)[columns.rows]


CROSS: dict[str, Callable[[_Columns], Column]] = {
    **{name: partial(_score, name) for name in SCORES},
    **{f"{name}_rank": partial(_rank, name) for name in RANKED},
    **{f"{name}_share": partial(_share, name) for name in RANKED},
    "votes": lambda columns: columns.candidates.votes[columns.rows],
    "source": lambda columns: columns.candidates.source[columns.rows],
    "candidate_count": lambda columns: np.diff(columns.indptr)[columns.user],
    "price_ratio": lambda columns: np.log(columns["item_price_minor"] / columns["user_mean_price_minor"]),
    "category_share": lambda columns: _category_share(columns.shoppers, columns.user, columns.item, columns.sources),
    "trend_ratio": lambda columns: columns["item_weight_7d"] / np.maximum(columns["item_weight_30d"], 1),
    "buyer_repeat_share": lambda columns: (
        columns["item_repeat_purchaser_count"] / np.maximum(columns["item_purchaser_count_total"], 1)
    ),
    "gap_ratio": lambda columns: columns["pair_days_since_last_purchase"] / columns["pair_mean_gap_days"],
    "user_gap_ratio": lambda columns: columns["pair_days_since_last_purchase"] / columns["user_mean_gap_days"],
    "pair_purchase_share": lambda columns: (
        columns["pair_purchase_count"] / np.maximum(columns["user_purchase_count_total"], 1)
    ),
    "pair_day_share": lambda columns: (
        columns["pair_purchase_day_count"] / np.maximum(columns["user_purchase_day_count_total"], 1)
    ),
}
"""Features of a shopper and an item together: scores of the pair, and ratios of other features."""
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
"""What the coarse cut reads. Nearly all of it is already part of the candidates."""


def ranking_features(
    shoppers: ShopperHistories,
    candidates: Candidates,
    sources: Sources,
    names: Sequence[str] = FEATURES,
    rows: Whole | None = None,
) -> Floats:
    """Return [n_candidates, len(names)] in the order of `candidates`, or [len(rows), len(names)] of these rows alone.

    Ranks and shares are always among all candidates of a shopper, whatever `rows` is.
    """
    columns = _Columns(shoppers, candidates, sources, slice(None) if rows is None else rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = np.column_stack([columns[name].astype(np.float32, copy=False) for name in names])
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def _share_of_best(user: Whole, score: Floats, indptr: Whole) -> Floats:
    """Return each score as a share of its user's largest."""
    filled = np.diff(indptr) > 0
    best = np.zeros(len(indptr) - 1, dtype=np.float32)
    best[filled] = np.maximum.reduceat(score, indptr[:-1][filled]) if len(score) else 0
    return np.asarray(score / np.maximum(best[user], 1e-6), dtype=np.float32)


def _category_share(shoppers: ShopperHistories, user: Whole, item: npt.NDArray[np.int32], sources: Sources) -> Floats:
    """Return the share of the user's weight that is on the item's category; NaN for an item without one."""
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
    user_weight = np.bincount(shoppers.history_user(), weight, minlength=len(shoppers))
    distinct = keys[order][first]
    wanted = user * n_categories + np.maximum(code, 0)
    position = find_sorted(distinct, wanted)
    category_weight = np.zeros(len(code))
    category_weight[position >= 0] = totals[position[position >= 0]]
    share = category_weight / np.maximum(user_weight[user], 1)
    return np.where(code >= 0, share, np.nan).astype(np.float32)


CATEGORICAL_FEATURES = ("source",)
assert len(SOURCES) < 256  # source codes are stored in one byte
