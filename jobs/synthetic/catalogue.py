"""The synthetic shop's products: what they are called, what they cost, when they are there.

Every attribute is a function of the seed and the item's number; price and stock also depend on the day. So a
catalogue of any size needs no stored table, and its items can be made in any order.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jobs.numeric.draws import Flags, Floats, Ints, below, normal, uniform
from jobs.synthetic.words import BRANDS, DEPARTMENTS, LEAVES, SERIES

STYLE_DIMENSIONS = 8
EMBEDDING_NUMBERS = 64
LAUNCHED_BEFORE = 0.7  # share of the catalogue that is older than the first day; the rest comes day by day
MERSENNE = 2**31 - 1  # a prime, so multiplying by it modulo any smaller size is an invertible shuffle
SALE_DAYS = 14
ID_SPACE = 10**9
ID_FACTOR, ID_SHIFT = 618_033_989, 271_828_183  # odd and no multiple of five: no two numbers share an id


@dataclass(frozen=True)
class Shop:
    """The description of a synthetic shop; equal descriptions give equal rows. Both days are included."""

    users: int
    items: int
    events_target: int
    first_day: date
    last_day: date
    seed: int
    embedding_noise: float | None = None
    """Items land with an embedding that shows their style through noise of so many standard deviations; None: without
    one."""
    groceries: bool = False
    """A grocer: weekly baskets, of which most is bought again."""

    def __post_init__(self) -> None:
        """Raise ShopSizeError for sizes and days that no shop can have."""
        if not 0 < self.users < ID_SPACE or not 0 < self.items < 10**8:
            raise ShopSizeError(
                f"users={self.users} items={self.items}: give 1 to 999,999,999 users and up to 10**8 items"
            )
        if self.last_day < self.first_day or self.events_target < 0:
            raise ShopSizeError(
                f"{self.first_day} to {self.last_day}, {self.events_target} events: nothing to make; "
                "give a last day that is not before the first, and no fewer than 0 events"
            )

    @property
    def days(self) -> int:
        """Number of days from the first to the last, both included."""
        return (self.last_day - self.first_day).days + 1

    @property
    def leaves(self) -> int:
        """Number of categories in use: a tiny catalogue does not fill them all."""
        return min(len(LEAVES), self.items)

    def day(self, number: int) -> date:
        """Return the day of that number; the first day is 0."""
        return self.first_day + timedelta(days=number)


class ShopSizeError(ValueError):
    """A synthetic shop was asked for that cannot be made."""


@dataclass(frozen=True)
class Items:
    """Attributes of items, one row each; days are numbered from the shop's first day.

    `style` [n, 8] is matched against shoppers' tastes. `quality` adds to everyone's utility. `price_level` is the
    logarithm of the full price over the usual price of the category.
    """

    number: Ints
    leaf: Ints
    brand: Ints
    style: NDArray[np.float32]
    quality: Floats
    price_level: Floats
    full_price_minor: Ints
    launch_day: Ints
    retire_day: Ints


@lru_cache(maxsize=2)
def items_of(shop: Shop) -> Items:
    """Return the whole catalogue, about 100 bytes an item; cached."""
    return items(shop, np.arange(shop.items))


def items(shop: Shop, number: Ints) -> Items:
    """Return the attributes of the items with those numbers (0 to shop.items - 1)."""
    seed = shop.seed
    leaf = number % shop.leaves
    department = _department_of_leaf()[leaf]
    brands_each = len(BRANDS) // len(DEPARTMENTS)
    dimension = np.arange(STYLE_DIMENSIONS)
    price_level = 0.45 * normal(seed, "price", number)
    usual = np.array([leaf.price for leaf in LEAVES])[leaf]
    # Full prices end in .49 or .99; none is free.
    full_price_minor = np.maximum(np.round(usual * np.exp(price_level) * 2), 1).astype(np.int64) * 50 - 1
    launch_day = _launch_day(shop, number)
    retire_day = below(4 * shop.days, seed, "retire", number)
    retires = (uniform(seed, "retires", number) < 0.08) & (retire_day > np.maximum(launch_day, 0) + 14)
    return Items(
        number=number,
        leaf=leaf,
        brand=department * brands_each + below(brands_each, seed, "brand", number),
        style=normal(seed, "style", number[:, None], dimension).astype(np.float32),
        quality=0.5 * normal(seed, "quality", number),
        price_level=price_level,
        full_price_minor=full_price_minor,
        launch_day=launch_day,
        retire_day=np.where(retires, retire_day, 2**31),
    )


def embeddings(shop: Shop, catalogue: Items) -> NDArray[np.float32]:
    """Return [n, EMBEDDING_NUMBERS]: each item's style seen through noise, turned into more dimensions.

    As vectors of a real model do, all of them share a part, and each number has a little noise of its own.
    """
    seed, noise = shop.seed, shop.embedding_noise or 0.0
    number, place = catalogue.number[:, None], np.arange(EMBEDDING_NUMBERS)
    seen = catalogue.style + noise * normal(seed, "seen", number, np.arange(STYLE_DIMENSIONS))
    turned = normal(seed, "shared", place) + 0.1 * normal(seed, "grain", number, place)
    for k in range(STYLE_DIMENSIONS):  # a fixed order of addition, whatever the batch
        turned = turned + seen[:, k, None] * normal(seed, "turn", k, place) / np.sqrt(STYLE_DIMENSIONS)
    return np.asarray(turned, np.float32)


def _launch_day(shop: Shop, number: Ints) -> Ints:
    """Return days of launch: most before the first day, the rest spread evenly over the days after it."""
    turn = number * MERSENNE % shop.items
    old = int(shop.items * LAUNCHED_BEFORE)
    during = 1 + (turn - old) * (shop.days - 1) // max(shop.items - old, 1)
    return np.where(turn < old, -1 - below(720, shop.seed, "age", number), np.minimum(during, shop.days))


@lru_cache(maxsize=1)
def _department_of_leaf() -> Ints:
    return np.array([DEPARTMENTS.index(leaf.path.split("/")[0]) for leaf in LEAVES])


def price_minor(shop: Shop, number: Ints, full_price_minor: Ints, day: Ints) -> Ints:
    """Return the price of the day: one item in ten is 10% to 30% cheaper for a fortnight of its own."""
    block = (day + below(SALE_DAYS, shop.seed, "sale phase", number)) // SALE_DAYS
    on_sale = uniform(shop.seed, "sale", number, block) < 0.1
    percent = 100 - 10 * (1 + below(3, shop.seed, "discount", number, block))
    return np.where(on_sale, np.maximum(full_price_minor * percent // 100, 1), full_price_minor)


def stock(shop: Shop, number: Ints, day: Ints) -> Ints:
    """Return the pieces on hand: a delivery sells out in 12 to 40 days; some items run out days before the next.

    Stock is simulated: it follows each item's own rhythm, not the purchases that land.
    """
    seed = shop.seed
    cycle = 12 + below(29, seed, "cycle", number)
    gap = np.where(uniform(seed, "runs out", number) < 0.4, 1 + below(5, seed, "gap", number), 0)
    delivered = 10 + below(390, seed, "delivered", number)
    since = (day + below(cycle, seed, "stock phase", number)) % cycle
    selling = cycle - gap
    left = delivered - delivered * since // selling
    return np.where(since < selling, np.maximum(left, 1), 0)


def is_available(shop: Shop, catalogue: Items, row: Ints, day: Ints) -> Flags:
    """Return whether the items in rows `row` of `catalogue` can be bought on those days."""
    on_sale = (catalogue.launch_day[row] <= day) & (day < catalogue.retire_day[row])
    return on_sale & (stock(shop, catalogue.number[row], day) > 0)


def item_in_leaf(shop: Shop, leaf: Ints, place: Floats) -> Ints:
    """Return the number of a category's item at `place`, from 0 (its first item) to 1 (its last)."""
    count = (shop.items - leaf + shop.leaves - 1) // shop.leaves
    return np.asarray(leaf + shop.leaves * (count * place).astype(np.int64))


def item_ids(number: Ints) -> list[str]:
    """Return item ids, which reveal neither category nor age: `I271828183`."""
    return [f"I{scrambled:09d}" for scrambled in ((number * ID_FACTOR + ID_SHIFT) % ID_SPACE).tolist()]


def user_ids(number: Ints) -> list[str]:
    """Return the users' ids: `U271828183`."""
    return [f"U{scrambled:09d}" for scrambled in ((number * ID_FACTOR + ID_SHIFT) % ID_SPACE).tolist()]


def numbers(ids: list[str]) -> Ints:
    """Return the numbers behind ids: the inverse of `item_ids` and `user_ids`."""
    inverse = pow(ID_FACTOR, -1, ID_SPACE)
    return np.array([(int(scrambled[1:]) - ID_SHIFT) * inverse % ID_SPACE for scrambled in ids], dtype=np.int64)


def titles(shop: Shop, number: Ints) -> list[str]:
    """Return readable titles, no two alike: `Cobalt Stoneware Mug`, `Cobalt Stoneware Mug, Harbour Series`."""
    finished = []
    for item in number.tolist():
        leaf = LEAVES[item % shop.leaves]
        # Shuffled, so that items with neighbouring numbers do not get neighbouring names.
        adjectives, materials, nouns = leaf.adjectives, leaf.materials, leaf.nouns
        names = len(adjectives) * len(materials) * len(nouns)
        rest, name = divmod(item // shop.leaves, names)
        name = (name * MERSENNE + 7 * (item % shop.leaves)) % names
        name, noun = divmod(name, len(nouns))
        adjective, material = divmod(name, len(materials))
        title = f"{adjectives[adjective]} {materials[material]} {nouns[noun]}"
        edition, series = divmod(rest, len(SERIES) + 1)
        title += f", {SERIES[series - 1]} Series" if series else ""
        finished.append(f"{title} No. {edition + 1}" if edition else title)
    return finished
