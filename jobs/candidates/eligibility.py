"""Which items of one day's catalogue a shop's rules allow on a list, and for whom.

>>> eligibility = load_eligibility(lake, ds, parameters.rules)
>>> candidates = candidates.where(eligibility.is_eligible(shoppers, candidates.user, candidates.item))

Blocked items get an unreachable minimum age, so one comparison enforces blocks and age limits. A list for no
particular shopper holds neither blocked items nor items with a minimum age.

This type alone decides; the stages apply its answer where their lists are made, each for its own audience: a shopper
(candidates, shelves, reasons), an age band (fallback shelves), anybody (exploration pools, the snapshot's lists, new
items). A filter at one later place would cost the places on a list: candidates drop an item before lists are merged,
so that another one takes its place. Shelves check again, as the stored candidates may be older than the rules.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.rules import Rules
from jobs.features.shoppers import ShopperHistories
from jobs.lake.lake import Lake
from jobs.lake.tables import ITEM
from jobs.numeric.arrays import Flags, Integers, Values, Whole, is_in, pair_keys

UNREACHABLE_AGE = 32_767
"""The minimum age of a blocked item, in years."""
COLUMNS = ("item_pos", "item_id", "category", "brand", "seller_id", "mean_gap_days")
UNKNOWN_REGION, OTHER_REGION = 0, 1
"""Columns of `min_age`: for a shopper of unknown region (the strictest), and for a region that no rule names."""
_BAND = re.compile(r"(\d{1,3})\s*(?:[-\N{EN DASH}_+]|to\b|$)")


@dataclass(frozen=True)
class Eligibility:
    """What rules allow of one day's catalogue."""

    min_age: npt.NDArray[np.int16]
    """[n_items, 2 + len(regions)] years: UNKNOWN_REGION, OTHER_REGION, then `regions`; 0 where anybody may see it."""
    regions: Sequence[str]
    """The regions that rules name."""
    just_bought_days: int
    gap_days: Values
    """[n_items] mean days between two purchases by one shopper, NaN where nobody bought twice."""

    @property
    def restricted(self) -> Flags:
        """Which items have a minimum age or are blocked: [n_items]. No list for an unknown shopper holds them."""
        return np.asarray(self.min_age[:, UNKNOWN_REGION] > 0)

    @property
    def blocked(self) -> Flags:
        """Which items no list holds at all: [n_items]."""
        return np.asarray(self.min_age.min(axis=1) >= UNREACHABLE_AGE)

    def is_eligible(self, shoppers: ShopperHistories, user: Whole, item: Integers) -> Flags:
        """Tell which pairs (user, item) may be on the user's shelf."""
        keys = pair_keys(user, item, shoppers.n_items)
        return self.is_of_age(shoppers, user, item) & ~is_in(keys, self._just_bought(shoppers))

    def is_of_age(self, shoppers: ShopperHistories, user: Whole, item: Integers) -> Flags:
        """Tell in which pairs the user has the item's minimum age. A user of unknown age has none."""
        n_users = len(shoppers)
        age = _number_of_each(shoppers.users.get("age_band"), n_users, 0, first_age)
        columns = {region: 2 + number for number, region in enumerate(self.regions)}
        column = _number_of_each(
            shoppers.users.get("region"), n_users, UNKNOWN_REGION, lambda region: columns.get(region, OTHER_REGION)
        )
        return np.asarray(self.min_age[item, column[user]] <= age[user])

    def _just_bought(self, shoppers: ShopperHistories) -> Whole:
        """Return ascending pair keys of what was bought within `just_bought_days` and is not due again.

        A purchase is due one mean gap after the last one: the shopper's own gap for the item, or else that of all
        shoppers. One day is added to the time since the purchase, as the shelf is read on the day after `ds`.
        """
        history, item = shoppers.history, shoppers.history["item_pos"]
        since, own = (history[name].astype(np.float64) for name in ("days_since_last_purchase", "mean_gap_days"))
        gap = np.where(np.isnan(own), self.gap_days[item], own)
        # NaN compares as false: an item that was never bought is not recent, and one without a gap is not due.
        recent = (since < self.just_bought_days) & ~(gap <= since + 1)
        return pair_keys(shoppers.history_user()[recent], item[recent].astype(np.int32), shoppers.n_items)


def first_age(age_band: str) -> int:
    """Return the lowest age, in years, of an age band such as `18-24` or `65+`; 0 for a band without one.

    >>> first_age("65+")
    65
    """
    match = _BAND.match(age_band.strip())
    return int(match[1]) if match else 0


def eligibility_of(items: pa.Table, rules: Rules) -> Eligibility:
    """Return what rules allow of `items`: COLUMNS of features/item (but item_pos), in catalogue order."""
    regions = sorted({region for limit in rules.age_limits for region in limit.by_region})
    min_age = np.zeros((len(items), 2 + len(regions)), dtype=np.int16)
    # Limits of one column with the same ages are looked up together.
    names_of_limit: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for limit in rules.age_limits:
        ages = (limit.least_age, *(limit.by_region.get(region, limit.least_age) for region in regions))
        names_of_limit.setdefault((limit.column, (max(ages), *ages)), []).append(limit.name)
    for (column, ages), names in names_of_limit.items():
        rows = _has_name(items, column, names)
        min_age[rows] = np.maximum(min_age[rows], np.array(ages, np.int16))
    for column, blocked in rules.blocked.items():
        min_age[_has_name(items, column, blocked)] = UNREACHABLE_AGE
    gaps = items["mean_gap_days"].combine_chunks().to_numpy(zero_copy_only=False).astype(np.float64)
    return Eligibility(min_age, regions, rules.just_bought_days, gaps)


def load_eligibility(lake: Lake, ds: date, rules: Mapping[str, object]) -> Eligibility | None:
    """Return what the parameter `rules` allows of the catalogue as of `ds`; None without rules: everything.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    if not rules:
        return None
    return eligibility_of(lake.arrow(ITEM, ds, list(COLUMNS)).sort_by("item_pos"), Rules.of(rules))


def _has_name(items: pa.Table, column: str, names: Sequence[str]) -> Flags:
    """Tell which items have one of the names in a column; a category's name includes every path below it."""
    values = items[column].combine_chunks().dictionary_encode()
    if column == "category":
        wanted = set(names)
        paths = (path.split("/") for path in values.dictionary.to_pylist())
        hit = [any("/".join(path[:depth]) in wanted for depth in range(1, len(path) + 1)) for path in paths]
    else:
        hit = pc.is_in(values.dictionary, value_set=pa.array(names, pa.string())).to_pylist()
    hit_by_code = np.array([*hit, False])  # an item without a value has code -1: the last entry
    return np.asarray(hit_by_code[values.indices.fill_null(-1).to_numpy(zero_copy_only=False)])


def _number_of_each(column: npt.ArrayLike | None, n: int, unknown: int, number: Callable[[str], int]) -> Whole:
    """Return `number` of each text of a column, computed once for each distinct text; `unknown` for none."""
    if column is None:
        return np.full(n, unknown)
    texts = pa.array(column, pa.string(), from_pandas=True).dictionary_encode()
    by_code = np.array([*(number(text) if text else unknown for text in texts.dictionary.to_pylist()), unknown])
    return np.asarray(by_code[texts.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
