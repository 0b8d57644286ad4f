"""The true value of shelves in a synthetic shop: what no log of a real shop can tell.

>>> true_value(truth, ["U000000001"], [["I000000002", "I000000003"]])  # expected purchases if all is looked at
array([0.02])
>>> best_value(truth, ["U000000001"], k=20)  # the same for the best shelf there could be
array([7.9])
"""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from jobs.synthetic_catalogue import Items, Shop, is_available, item_ids, items_of, numbers
from jobs.synthetic_draws import Floats, Ints
from jobs.synthetic_shoppers import Shoppers, shoppers, utility, value

SHOP_FILE = "shop.json"


class NoTruthError(FileNotFoundError):
    """There is no synthetic shop's truth in the folder."""


def read_shop(truth: Path) -> Shop:
    """Return the shop whose truth lies in `truth`."""
    path = truth / SHOP_FILE
    if not path.exists():
        raise NoTruthError(f"{path} is not there; run python -m jobs.synthetic_shop --truth {truth}")
    told = json.loads(path.read_text())
    first_day, last_day = date.fromisoformat(told.pop("first_day")), date.fromisoformat(told.pop("last_day"))
    return Shop(**told, first_day=first_day, last_day=last_day)


def true_value(
    truth: Path, user_ids: Sequence[str], shelves: Sequence[Sequence[str]], day: date | None = None, k: int = 20
) -> Floats:
    """Return for each user the expected purchases from the first `k` items of the user's shelf, all looked at.

    `shelves[i]` belongs to `user_ids[i]`. The values are those of `day`, the shop's last unless given; an item that
    cannot be bought that day, or stands on the shelf a second time, is worth nothing.
    """
    shop = read_shop(truth)
    people, on = shoppers(shop, _numbers(user_ids, shop.users, "user")), _day_number(shop, day)
    worth = np.zeros(len(user_ids))
    for row, shelf in enumerate(shelves):
        item = _numbers(list(dict.fromkeys(shelf[:k])), shop.items, "item")
        worth[row] = float(_values(shop, people, np.full(len(item), row), item, on).sum())
    return worth


def best_shelves(
    truth: Path, user_ids: Sequence[str], day: date | None = None, k: int = 20
) -> tuple[list[list[str]], Floats]:
    """Return each user's best shelf, best item first, and its value: every item is looked at, so sample the users."""
    shop = read_shop(truth)
    people, on = shoppers(shop, _numbers(user_ids, shop.users, "user")), _day_number(shop, day)
    catalogue: Items = items_of(shop)
    there = np.flatnonzero(is_available(shop, catalogue, catalogue.number, np.full(shop.items, on)))
    best: list[list[str]] = []
    worth = np.zeros(len(user_ids))
    for row in range(len(user_ids)):
        values = _values(shop, people, np.full(len(there), row), there, on)
        top = np.lexsort((there, -values))[:k]
        best.append(item_ids(there[top]))
        worth[row] = float(values[top].sum())
    return best, worth


def best_value(truth: Path, user_ids: Sequence[str], day: date | None = None, k: int = 20) -> Floats:
    """Return the value of each user's best possible shelf of `k` items."""
    return best_shelves(truth, user_ids, day, k)[1]


def _values(shop: Shop, people: Shoppers, person: Ints, item: Ints, day: int) -> Floats:
    on = np.full(len(item), day)
    bought = value(utility(shop, people, person, item, on))
    return np.where(is_available(shop, items_of(shop), item, on), bought, 0.0)


def _day_number(shop: Shop, day: date | None) -> int:
    number = shop.days - 1 if day is None else (day - shop.first_day).days
    if not 0 <= number < shop.days:
        raise ValueError(f"{day} is outside the shop's days; give one from {shop.first_day} to {shop.last_day}")
    return number


def _numbers(ids: Sequence[str], limit: int, kind: str) -> Ints:
    found = numbers(list(ids))
    if len(found) and (found.min() < 0 or found.max() >= limit):
        stranger = ids[int(np.argmax((found < 0) | (found >= limit)))]
        raise ValueError(f"{kind} {stranger!r} is not of this synthetic shop")
    return found
