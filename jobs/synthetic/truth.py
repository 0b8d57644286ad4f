"""The true value of shelves in a synthetic shop, which no log of a real shop can show.

>>> true_value(truth, ["U000000001"], [["I000000002", "I000000003"]])  # expected purchases if all is looked at
array([0.02])
>>> best_value(truth, ["U000000001"], k=20)  # the same for the best shelf there could be
array([7.9])
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import msgspec
import numpy as np

from jobs.numeric.draws import Floats, Ints
from jobs.synthetic.catalogue import Shop, is_available, item_ids, items_of, numbers
from jobs.synthetic.shoppers import Shoppers, shoppers, utility, value

SHOP_FILE = "shop.json"


class NoTruthError(FileNotFoundError):
    """The folder holds no synthetic shop's truth."""


def read_shop(truth: Path) -> Shop:
    """Return the shop whose truth is in the folder `truth`.

    Raises:
        NoTruthError: the folder has none.
    """
    path = truth / SHOP_FILE
    if not path.exists():
        raise NoTruthError(f"{path} is not there; run topshelf synthetic-shop --truth {truth}")
    return msgspec.json.decode(path.read_bytes(), type=Shop)


def true_value(
    truth: Path, user_ids: Sequence[str], shelves: Sequence[Sequence[str]], day: date | None = None, k: int = 20
) -> Floats:
    """Return for each user the expected purchases from the first `k` items of the user's shelf, if all are looked at.

    `shelves[i]` belongs to `user_ids[i]`. Values are of `day`, the shop's last day unless given. An item that cannot
    be bought that day, or that stands on the shelf a second time, is worth 0.
    """
    shop = read_shop(truth)
    people, on = shoppers(shop, user_numbers(shop, user_ids)), day_number(shop, day)
    worth = np.zeros(len(user_ids))
    for row, shelf in enumerate(shelves):
        item = item_numbers(shop, list(dict.fromkeys(shelf[:k])))
        worth[row] = float(_values(shop, people, np.full(len(item), row), item, on).sum())
    return worth


def best_shelves(
    truth: Path, user_ids: Sequence[str], day: date | None = None, k: int = 20
) -> tuple[list[list[str]], Floats]:
    """Return each user's best shelf, best item first, and its value.

    Every item is scored for every user, so pass a sample of the users.
    """
    shop = read_shop(truth)
    people, on = shoppers(shop, user_numbers(shop, user_ids)), day_number(shop, day)
    best, worth = best_lists(shop, people, on, k)
    return [item_ids(row[row >= 0]) for row in best], worth.sum(axis=1)


def list_values(shop: Shop, people: Shoppers, items: Ints, day: int) -> Floats:
    """Return the value of each place of lists of item numbers [len(people), length]; 0 where a number is -1."""
    filled = items >= 0
    person, item = np.nonzero(filled)[0], items[filled]
    worth = np.zeros(items.shape)
    worth[filled] = _values(shop, people, person, item, day)
    return worth


def best_lists(shop: Shop, people: Shoppers, day: int, k: int, only: Ints | None = None) -> tuple[Ints, Floats]:
    """Return each shopper's k best items [len(people), k], best first, and their values; among `only`, if given.

    Numbers are -1 and values 0 where fewer can be bought. Scores every item for every shopper.
    """
    item = np.arange(shop.items) if only is None else only
    there = item[is_available(shop, items_of(shop), item, np.full(len(item), day))]
    best = np.full((len(people.number), k), -1, dtype=np.int64)
    worth = np.zeros(best.shape)
    for row in range(len(best)):
        values = _values(shop, people, np.full(len(there), row), there, day)
        top = np.lexsort((there, -values))[:k]
        best[row, : len(top)], worth[row, : len(top)] = there[top], values[top]
    return best, worth


def best_value(truth: Path, user_ids: Sequence[str], day: date | None = None, k: int = 20) -> Floats:
    """Return the value of each user's best possible shelf of `k` items."""
    return best_shelves(truth, user_ids, day, k)[1]


def _values(shop: Shop, people: Shoppers, person: Ints, item: Ints, day: int) -> Floats:
    on = np.full(len(item), day)
    bought = value(utility(shop, people, person, item, on))
    return np.where(is_available(shop, items_of(shop), item, on), bought, 0.0)


def day_number(shop: Shop, day: date | None) -> int:
    """Return the number of a day, the shop's last unless given. Raises ValueError: it has no such day."""
    number = shop.days - 1 if day is None else (day - shop.first_day).days
    if not 0 <= number < shop.days:
        raise ValueError(f"{day} is outside the shop's days; give one from {shop.first_day} to {shop.last_day}")
    return number


def user_numbers(shop: Shop, ids: Sequence[str]) -> Ints:
    """Return the numbers behind users' ids. Raises ValueError: one is not of this shop."""
    return _numbers(ids, shop.users, "user")


def item_numbers(shop: Shop, ids: Sequence[str]) -> Ints:
    """Return the numbers behind items' ids. Raises ValueError: one is not of this shop."""
    return _numbers(ids, shop.items, "item")


def _numbers(ids: Sequence[str], limit: int, kind: str) -> Ints:
    number = numbers(list(ids))
    if len(number) and (number.min() < 0 or number.max() >= limit):
        stranger = ids[int(np.argmax((number < 0) | (number >= limit)))]
        raise ValueError(f"{kind} {stranger!r} is not of this synthetic shop")
    return number
