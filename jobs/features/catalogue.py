"""Load the catalogue as of a day: features/item as arrays in catalogue order, and item lists made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.lake.lake import Lake
from jobs.numeric.arrays import rank_in_group

NEW_ITEM_DAYS = 30
"""An item is new up to this age."""
CATEGORY_LIST = 30
"""Length of each category's list of popular items."""


@dataclass(frozen=True)
class Catalogue:
    """Items in byte order of their id; `columns` holds the numbers and dates of features/item as arrays [n_items]."""

    item_id: pa.Array
    columns: dict[str, npt.NDArray[Any]]
    category_code: npt.NDArray[np.int32]
    """Index of each item's category path, -1 for none; equal paths have equal codes."""
    category_names: tuple[str, ...]
    owners: Mapping[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    """By `brand` and `seller_id`: index of each item's brand or seller, -1 for none."""
    withheld: npt.NDArray[np.bool_] | None = None
    """[n_items] items that the shop's rules keep off the lists below; None for no rules."""

    def groups(self, name: str) -> npt.NDArray[np.int32]:
        """Return each item's `category`, `brand` or `seller_id` as an index, -1 for none."""
        return self.category_code if name == "category" else self.owners[name]

    def __len__(self) -> int:
        return len(self.item_id)

    def numbers(self, name: str) -> npt.NDArray[np.float32]:
        """Return a numeric column as float32, missing values as NaN."""
        return np.asarray(self.columns[name], dtype=np.float32)

    @cached_property
    def in_stock(self) -> npt.NDArray[np.bool_]:
        """[n_items] items in stock when the day's rows landed, or of unknown stock."""
        stock = self.columns["stock"].astype(np.float64)
        return np.isnan(stock) | (stock > 0)

    @cached_property
    def listed(self) -> npt.NDArray[np.bool_]:
        """[n_items] items that may stand on the lists below: in stock, and not withheld by a rule."""
        return self.in_stock if self.withheld is None else self.in_stock & ~self.withheld

    def top(self, *by: str, keep: npt.NDArray[np.bool_] | None = None, most: int) -> npt.NDArray[np.int32]:
        """Return the positions of up to `most` listed items, largest first by the columns `by`, ties by position.

        Items with 0 in the first of these columns are left out. `keep` [n_items] restricts the items.
        """
        keys = [-np.nan_to_num(self.columns[name].astype(np.float64)) for name in by]
        order = np.lexsort([np.arange(len(self)), *reversed(keys)])
        is_kept = self.listed & (keys[0] < 0) & (keep if keep is not None else True)
        return order[is_kept[order]][:most].astype(np.int32)

    @cached_property
    def by_popularity(self) -> npt.NDArray[np.int32]:
        """Listed items with purchasers in 30 days, by their number, then by weight in 30 days and in all.

        If no item has a purchaser, listed items with weight in 30 days, by weight.
        """
        first = "purchaser_count_30d" if self.columns["purchaser_count_30d"].any() else "weight_30d"
        return self.top(first, "weight_30d", "weight_total", most=len(self))

    @cached_property
    def trending(self) -> npt.NDArray[np.int32]:
        """Listed items whose weight in 7 days exceeds 7/90 of that in 90 days, most standard deviations first."""
        week = self.columns["weight_7d"].astype(np.float64)
        expected = self.columns["weight_90d"].astype(np.float64) * 7 / 90
        lift = (week - expected) / np.sqrt(np.maximum(expected, 1000.0))
        order = np.lexsort([np.arange(len(self)), -lift])
        return order[(self.listed & (lift > 0))[order]].astype(np.int32)

    @cached_property
    def new_items(self) -> npt.NDArray[np.int32]:
        """Listed items on sale for NEW_ITEM_DAYS or less, by weight in 7 days, then newest first."""
        age = self.columns["age_days"].astype(np.float64)
        week = self.columns["weight_7d"].astype(np.float64)
        order = np.lexsort([np.arange(len(self)), age, -week])
        return order[(self.listed & (age <= NEW_ITEM_DAYS))[order]].astype(np.int32)

    @cached_property
    def popular_in_category(self) -> npt.NDArray[np.int32]:
        """[n_categories, CATEGORY_LIST] positions of each category's most popular items, -1 where it has fewer."""
        most = CATEGORY_LIST
        lists = np.full((len(self.category_names), most), -1, dtype=np.int32)
        ordered = self.by_popularity
        codes = self.category_code[ordered]
        ordered, codes = ordered[codes >= 0], codes[codes >= 0]
        by_category = np.argsort(codes, kind="stable")
        codes, ordered = codes[by_category], ordered[by_category]
        place = rank_in_group(codes)
        lists[codes[place < most], place[place < most]] = ordered[place < most]
        return lists


def load_catalogue(lake: Lake, ds: date) -> Catalogue:
    """Load the catalogue as of `ds`.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    table = lake.arrow("features/item", ds).sort_by("item_pos").combine_chunks()
    category, brand, seller = (
        table[name].combine_chunks().dictionary_encode() for name in ("category", "brand", "seller_id")
    )
    texts = {"item_id", "title", "category", "brand", "seller_id"}
    return Catalogue(
        item_id=table["item_id"].combine_chunks(),
        columns={
            name: table[name].combine_chunks().to_numpy(zero_copy_only=False)
            for name in table.column_names
            if name not in texts
        },
        category_code=_codes(category),
        category_names=tuple(category.dictionary.to_pylist()),
        owners={"brand": _codes(brand), "seller_id": _codes(seller)},
    )


def _codes(column: pa.DictionaryArray) -> npt.NDArray[np.int32]:
    return np.asarray(column.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int32)
