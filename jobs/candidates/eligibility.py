"""Which items of one day's catalogue a shop's rules withhold, and from whom.

>>> withheld = load_withheld(lake, ds, parameters.rules)
>>> candidates = candidates.where(withheld.kept(shoppers, candidates.user, candidates.item))

Blocked items get an unreachable minimum age, so one comparison enforces blocks and age limits. A list that is made
for nobody in particular holds no item with a minimum age.
"""

import re
from collections.abc import Callable, Mapping, Sequence
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
from jobs.lake.tables import ITEM
from jobs.numeric.arrays import Flags, Integers, Whole, is_in, pair_keys

NOBODY = 32_767
"""The minimum age of a blocked item, in years."""
COLUMNS = ("item_pos", "item_id", "category", "brand", "seller_id", "mean_gap_days")
STRICTEST, ELSEWHERE = 0, 1
"""Columns of `least_age`: for users of unknown region, and for those of a region that no rule names."""
_BAND = re.compile(r"(\d{1,3})\s*(?:[-\N{EN DASH}_+]|to\b|$)")


@dataclass(frozen=True)
class Withheld:
    """What rules withhold of one day's catalogue."""

    least_age: npt.NDArray[np.int16]
    """[n_items, 2 + len(regions)] years: STRICTEST, ELSEWHERE, then the regions that rules name; 0 for no limit."""
    regions: Sequence[str]
    just_bought_days: int
    gap_days: npt.NDArray[np.float64]
    """[n_items] mean days between one shopper's purchases of the item, NaN where nobody bought it twice."""

    @property
    def from_strangers(self) -> Flags:
        """Which items are withheld from users of unknown age, and so from lists for everybody: [n_items]."""
        return np.asarray(self.least_age[:, STRICTEST] > 0)

    @property
    def from_everybody(self) -> Flags:
        """Which items no list may hold: [n_items]."""
        return np.asarray(self.least_age.min(axis=1) >= NOBODY)

    def kept(self, shoppers: ShopperHistories, user: Whole, item: Integers) -> Flags:
        """Tell which pairs (user, item) may stand on the user's shelf."""
        keys = pair_keys(user, item, shoppers.n_items)
        return self.of_age(shoppers, user, item) & ~is_in(keys, self._just_bought(shoppers))

    def of_age(self, shoppers: ShopperHistories, user: Whole, item: Integers) -> Flags:
        """Tell which items may be shown to the user at all; to an unknown age, none with an age limit."""
        n_users = len(shoppers)
        age = _at_each(shoppers.users.get("age_band"), n_users, 0, age_of)
        column_of = {region: 2 + number for number, region in enumerate(self.regions)}
        column = _at_each(
            shoppers.users.get("region"), n_users, STRICTEST, lambda region: column_of.get(region, ELSEWHERE)
        )
        return np.asarray(self.least_age[item, column[user]] <= age[user])

    def _just_bought(self, shoppers: ShopperHistories) -> Whole:
        """Return ascending pair keys of what was bought within `just_bought_days` and is not due again.

        An item is due if tomorrow, when the shelf is read, a mean gap has passed since the last purchase: the
        shopper's own mean gap between purchases of the item, else that of all shoppers.
        """
        history, item = shoppers.history, shoppers.history["item_pos"]
        since, own = (history[name].astype(np.float64) for name in ("days_since_last_purchase", "mean_gap_days"))
        gap = np.where(np.isnan(own), self.gap_days[item], own)
        fresh = (since < self.just_bought_days) & ~(gap <= since + 1)  # NaN compares as false: never bought, no gap
        return pair_keys(shoppers.history_user()[fresh], item[fresh], shoppers.n_items)


def age_of(age_band: str) -> int:
    """Return the lowest age, in years, of an age band such as `18-24` or `65+`; 0 for a text without an age.

    >>> age_of("65+")
    65
    """
    match = _BAND.match(age_band.strip())
    return int(match[1]) if match else 0


def withheld_of(items: pa.Table, rules: Rules) -> Withheld:
    """Return what rules withhold of `items`: COLUMNS of features/item, in the order of the catalogue."""
    regions = sorted({region for limit in rules.age_limits for region in limit.by_region})
    least_age = np.zeros((len(items), 2 + len(regions)), dtype=np.int16)
    names_of: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for limit in rules.age_limits:
        ages = (limit.least_age, *(limit.by_region.get(region, limit.least_age) for region in regions))
        names_of.setdefault((limit.column, (max(ages), *ages)), []).append(limit.name)
    for (column, row), limited in names_of.items():
        named = _named(items, column, limited)
        least_age[named] = np.maximum(least_age[named], np.array(row, np.int16))
    for column, names in rules.blocked.items():
        least_age[_named(items, column, names)] = NOBODY
    gaps = items["mean_gap_days"].combine_chunks().to_numpy(zero_copy_only=False).astype(np.float64)
    return Withheld(least_age, regions, rules.just_bought_days, gaps)


def _named(items: pa.Table, column: str, names: Sequence[str]) -> Flags:
    """Tell which items have one of the names in a column; a category's name includes every path below it."""
    values = items[column].combine_chunks().dictionary_encode()
    if column == "category":
        named = set(names)
        paths = (path.split("/") for path in values.dictionary.to_pylist())
        hits = [any("/".join(path[:depth]) in named for depth in range(1, len(path) + 1)) for path in paths]
    else:
        hits = pc.is_in(values.dictionary, value_set=pa.array(names, pa.string())).to_pylist()
    return _by_code(values, np.array([*hits, False]))


def _at_each(column: npt.NDArray[Any] | None, n_users: int, unknown: int, meaning: Callable[[str], int]) -> Whole:
    """Return `meaning` of each of a column's texts, `unknown` for a missing text or column."""
    if column is None:
        return np.full(n_users, unknown)
    texts = pa.array(column, pa.string(), from_pandas=True).dictionary_encode()
    meanings = [meaning(text) if text else unknown for text in texts.dictionary.to_pylist()]
    return _by_code(texts, np.array([*meanings, unknown]))


def _by_code(encoded: pa.DictionaryArray, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the value of each row's dictionary entry; the last of `values` is for rows without an entry."""
    return np.asarray(values[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)])


def load_withheld(lake: Lake, ds: date, rules: Mapping[str, Any]) -> Withheld | None:
    """Return what the parameter `rules` withholds of the catalogue as of `ds`; None where there are no rules.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    if not rules:
        return None
    return withheld_of(lake.arrow(ITEM, ds, list(COLUMNS)).sort_by("item_pos"), Rules.of(rules))
