"""Tell what a shop's rules withhold from whom, of the catalogue of one day.

>>> withheld = load_withheld(lake, ds, Rules.of(parameters.rules))
>>> found = found.where(withheld.kept(shoppers, found.user, found.item))

A blocked item is one with a least age that nobody reaches, so one comparison holds every rule about items. A list
that is made for nobody in particular holds none with a least age at all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.rules import Rules
from jobs.features.shoppers import ShopperHistories
from jobs.lake.lake import Lake
from jobs.numeric.arrays import pair_keys

NOBODY = 32_767
"""The least age of a blocked item."""
COLUMNS = ("item_pos", "item_id", "category", "brand", "seller_id", "mean_gap_days")
STRICTEST, ELSEWHERE = 0, 1
"""Columns of `least_age`: of who is nowhere known to live, and of every region that no rule names."""
_BAND = re.compile(r"(\d{1,3})\s*(?:[-\N{EN DASH}_+]|to\b|$)")

Ages = npt.NDArray[np.int16]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Withheld:
    """What rules withhold of one day's catalogue."""

    least_age: Ages
    """[n_items, 2 + len(regions)] years: STRICTEST, ELSEWHERE, then the regions that rules name; 0 for anybody."""
    regions: Sequence[str]
    just_bought_days: int
    gap_days: npt.NDArray[np.float64]
    """[n_items] mean days between one shopper's purchases, NaN where nobody bought twice."""

    @property
    def from_strangers(self) -> Flags:
        """What no list holds that is made for nobody of known age: [n_items]."""
        return np.asarray(self.least_age[:, STRICTEST] > 0)

    @property
    def from_everybody(self) -> Flags:
        """What no list holds at all: [n_items]."""
        return np.asarray(self.least_age.min(axis=1) >= NOBODY)

    def kept(self, shoppers: ShopperHistories, user: Rows, item: npt.NDArray[Any]) -> Flags:
        """Tell which pairs (user, item) may stand on the user's shelf."""
        keys = pair_keys(user, item.astype(np.int32), shoppers.n_items)
        return self.of_age(shoppers, user, item) & ~np.isin(keys, self._just_bought(shoppers))

    def of_age(self, shoppers: ShopperHistories, user: Rows, item: npt.NDArray[Any]) -> Flags:
        """Tell of which pairs the user may see the item at all; one of unknown age, only what has no least age."""
        age = _at_each(shoppers.users.get("age_band"), len(shoppers), 0, age_of)
        known = {region: 2 + number for number, region in enumerate(self.regions)}
        column = _at_each(shoppers.users.get("region"), len(shoppers), STRICTEST, lambda r: known.get(r, ELSEWHERE))
        return np.asarray(self.least_age[item, column[user]] <= age[user])

    def _just_bought(self, shoppers: ShopperHistories) -> Rows:
        """Return pair keys of what was bought within `just_bought_days` and is not due again.

        Due is what was bought a mean gap ago by the day after, on which the shelf is read: the shopper's own gap
        between purchases of the item, else that of all shoppers.
        """
        history, item = shoppers.history, shoppers.history["item_pos"]
        since, own = (history[name].astype(np.float64) for name in ("days_since_last_purchase", "mean_gap_days"))
        gap = np.where(np.isnan(own), self.gap_days[item], own)
        fresh = (since < self.just_bought_days) & ~(gap <= since + 1)  # NaN compares as false: never bought, no gap
        return pair_keys(shoppers.history_user()[fresh], item[fresh].astype(np.int32), shoppers.n_items)


def age_of(age_band: str) -> int:
    """Return the least age, in years, of an age band such as `18-24` or `65+`; 0 for one that tells none.

    >>> age_of("65+")
    65
    """
    found = _BAND.match(age_band.strip())
    return int(found[1]) if found else 0


def withheld_of(items: pa.Table, rules: Rules) -> Withheld:
    """Return what rules withhold of `items`: COLUMNS of features/item, in the order of the catalogue."""
    regions = sorted({region for limit in rules.age_limits for region in limit.by_region})
    least_age = np.zeros((len(items), 2 + len(regions)), dtype=np.int16)
    alike: dict[tuple[Any, ...], list[str]] = {}
    for limit in rules.age_limits:
        ages = (limit.least_age, *(limit.by_region.get(region, limit.least_age) for region in regions))
        alike.setdefault((limit.column, max(ages), *ages), []).append(limit.name)
    for (column, *of_columns), limited in alike.items():
        rows = _named(items, column, limited)
        least_age[rows] = np.maximum(least_age[rows], np.array(of_columns, np.int16))
    for column, names in rules.blocked.items():
        least_age[_named(items, column, names)] = NOBODY
    gaps = items["mean_gap_days"].combine_chunks().to_numpy(zero_copy_only=False).astype(np.float64)
    return Withheld(least_age, regions, rules.just_bought_days, gaps)


def _named(items: pa.Table, column: str, names: Sequence[str]) -> Flags:
    """Tell which items a column's names hold; a category's are those of its path and of every path below it."""
    values = items[column].combine_chunks().dictionary_encode()
    if column == "category":
        held = set(names)
        # A path is held by a name that it begins with, part by part.
        paths = (path.split("/") for path in values.dictionary.to_pylist())
        hit = [any("/".join(parts[:depth]) in held for depth in range(1, len(parts) + 1)) for parts in paths]
    else:
        hit = pc.is_in(values.dictionary, value_set=pa.array(names, pa.string())).to_pylist()
    of_code = np.array([*hit, False])  # an item without a value has code -1, which meets the last
    return np.asarray(of_code[values.indices.fill_null(-1).to_numpy(zero_copy_only=False)])


def _at_each(column: Any, n: int, unknown: int, meaning: Any) -> Rows:
    """Return `meaning` of each of a column's texts as an array, worked out once for each text."""
    if column is None:
        return np.full(n, unknown)
    texts = pa.array(column, pa.string(), from_pandas=True).dictionary_encode()
    of_code = np.array([*(meaning(text) if text else unknown for text in texts.dictionary.to_pylist()), unknown])
    return np.asarray(of_code[texts.indices.fill_null(-1).to_numpy(zero_copy_only=False)])


def load_withheld(lake: Lake, ds: date, rules: Mapping[str, Any]) -> Withheld | None:
    """Return what the parameter `rules` withholds of the catalogue as of `ds`; None where there are no rules.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    if not rules:
        return None
    return withheld_of(lake.arrow("features/item", ds, list(COLUMNS)).sort_by("item_pos"), Rules.of(rules))
