"""The synthetic shop's shoppers: who they are, how often they visit, and the utility that decides what they do.

    utility = worth of the category to the shopper (favourites, region, season)
            + taste . style + brand + quality - price sensitivity x distance of the price from the wanted one
            + a bonus for the few staples that the shopper buys repeatedly

    value   = 1 / (1 + exp(HURDLE - utility))     the probability that the item is bought once it is looked at

Shoppers belong to personas that share favourites and tastes. Collaborative filtering can find these; popularity
cannot, as no shopper is average.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jobs.numeric.draws import Floats, Ints, below, gumbel, normal, uniform
from jobs.synthetic.catalogue import STYLE_DIMENSIONS, Items, Shop, item_in_leaf, items_of, price_minor
from jobs.synthetic.words import AGE_BANDS, BRANDS, DEPARTMENTS, LEAVES, REGIONS

PERSONAS = 24
FAVOURITES = 6
FAVOURITE_BONUS = (3.2, 2.7, 2.3, 2.0, 1.7, 1.5)
FAVOURITE_SHARE = (0.30, 0.22, 0.17, 0.13, 0.10, 0.08)
NEIGHBOUR_BONUS = 0.4  # other categories of the first favourite's department
REGION_BONUS = 0.6
BRAND_BONUS = 0.8
STAPLE_BONUS = 1.5
STAPLES, GROCERIES = 3, 30  # products that a shopper buys again and again, at most
HURDLE = 7.0
JOINED_BEFORE = 0.75  # share of the shoppers who had signed up before the first day
DORMANT = 0.06  # share of the shoppers who never visit
WEEK = (0.92, 0.90, 0.94, 0.98, 1.10, 1.18, 0.98)  # Monday first
SEASON_SWING = 0.7


@dataclass(frozen=True)
class Shoppers:
    """Attributes of a batch of shoppers, one row each.

    `category_worth` [n, leaves] and `brand_worth` [n, brands] are terms of the utility. `sessions_a_day` is relative
    to the mean of all shoppers. `staples` [n, slots] holds item numbers, -1 for none; `staple_period_days` [n, slots]
    is how often each is bought.
    """

    number: Ints
    persona: Ints
    region: Ints
    age_band: Ints
    signup_day: Ints
    sessions_a_day: Floats
    taste: NDArray[np.float32]
    favourites: Ints
    category_worth: Floats
    brand_worth: Floats
    price_sensitivity: Floats
    wanted_price_level: Floats
    staples: Ints
    staple_period_days: Ints


def shoppers(shop: Shop, number: Ints) -> Shoppers:
    """Return the shoppers with those numbers (0 to shop.users - 1)."""
    seed = shop.seed
    age_band = below(len(AGE_BANDS), seed, "age band", number)
    # Most shoppers have a persona of their age band, so that segments are informative, but not all.
    persona_of_age = age_band * (PERSONAS // len(AGE_BANDS)) + below(
        PERSONAS // len(AGE_BANDS), seed, "persona", number
    )
    any_persona = below(PERSONAS, seed, "any persona", number)
    persona = np.where(uniform(seed, "typical", number) < 0.7, persona_of_age, any_persona)
    region = below(len(REGIONS), seed, "region", number)
    favourites = _favourites(shop, number, persona)
    dimension = np.arange(STYLE_DIMENSIONS)
    taste = 0.55 * normal(seed, "persona taste", persona[:, None], dimension)
    taste = taste + 0.35 * normal(seed, "taste", number[:, None], dimension)
    joined = (uniform(seed, "signup", number) * shop.days).astype(np.int64)
    before = -1 - below(900, seed, "signup before", number)
    people = Shoppers(
        number=number,
        persona=persona,
        region=region,
        age_band=age_band,
        signup_day=np.where(uniform(seed, "joined", number) < JOINED_BEFORE, before, joined),
        sessions_a_day=_sessions_a_day(shop, number),
        taste=taste.astype(np.float32),
        favourites=favourites,
        category_worth=_category_worth(shop, favourites, region),
        brand_worth=_brand_worth(seed, number, persona),
        price_sensitivity=0.4 + 1.8 * uniform(seed, "price sensitivity", number),
        wanted_price_level=0.35 * normal(seed, "wanted price", number),
        staples=np.full((len(number), GROCERIES if shop.groceries else STAPLES), -1, dtype=np.int64),
        staple_period_days=_staple_periods(shop, number),
    )
    people.staples[:] = _staples(shop, people)
    return people


def _staple_periods(shop: Shop, number: Ints) -> Ints:
    """Return days, [n, slots]: of groceries one to eight weeks, most of them few."""
    if not shop.groceries:
        return 7 + below(22, shop.seed, "staple period", number[:, None], np.arange(STAPLES))
    drawn = uniform(shop.seed, "staple period", number[:, None], np.arange(GROCERIES))
    return 7 + 7 * (8 * drawn**2).astype(np.int64)


def _favourites(shop: Shop, number: Ints, persona: Ints) -> Ints:
    rank = np.arange(FAVOURITES)
    shared = below(shop.leaves, shop.seed, "persona favourite", persona[:, None], rank)
    own = below(shop.leaves, shop.seed, "favourite", number[:, None], rank)
    return np.where(uniform(shop.seed, "own favourite", number[:, None], rank) < 0.3, own, shared)


def _category_worth(shop: Shop, favourites: Ints, region: Ints) -> Floats:
    leaves = np.arange(shop.leaves)
    department = np.array([DEPARTMENTS.index(leaf.path.split("/")[0]) for leaf in LEAVES])[: shop.leaves]
    worth = NEIGHBOUR_BONUS * (department == department[favourites[:, 0]][:, None]).astype(np.float64)
    row = np.arange(len(favourites))
    for rank in reversed(range(FAVOURITES)):  # if a category is a favourite twice, its higher rank counts
        worth[row, favourites[:, rank]] = FAVOURITE_BONUS[rank]
    regional = uniform(shop.seed, "regional", np.arange(len(REGIONS))[:, None], leaves) < 0.15
    return np.asarray(worth + REGION_BONUS * regional[region])


def _brand_worth(seed: int, number: Ints, persona: Ints) -> Floats:
    brand = np.arange(len(BRANDS))
    liked = uniform(seed, "persona brand", persona[:, None], brand) < 0.12
    own = uniform(seed, "brand", number[:, None], brand) < 0.06
    return np.where(liked | own, BRAND_BONUS, 0.0)


def _sessions_a_day(shop: Shop, number: Ints) -> Floats:
    """Return long-tailed rates of mean 1, to be scaled to the events wanted: few visit daily, most rarely."""
    spread = 1.1
    rate = np.exp(spread * normal(shop.seed, "rate", number) - spread**2 / 2)
    rate[uniform(shop.seed, "dormant", number) < DORMANT] = 0.0
    return np.asarray(rate)


@lru_cache(maxsize=2)
def season(shop: Shop) -> Floats:
    """Return what the season adds to the worth of each category, [days, leaves], from -0.7 to 0.7."""
    day_of_year = np.array([shop.day(n).timetuple().tm_yday for n in range(shop.days)], dtype=np.float64)
    peak = np.array([leaf.peak_month for leaf in LEAVES])[: shop.leaves]
    phase = (day_of_year[:, None] - (peak - 0.5) * 30.4) * (2 * np.pi / 365.25)
    return np.where(peak > 0, SEASON_SWING * np.cos(phase), 0.0)


def utility(shop: Shop, people: Shoppers, person: Ints, item: Ints, day: Ints) -> Floats:
    """Return the utility of items to the shoppers in rows `person` of `people` on those days; all of one shape."""
    catalogue: Items = items_of(shop)
    price = price_minor(shop, item, catalogue.full_price_minor[item], day)
    level = catalogue.price_level[item] + np.log(price / catalogue.full_price_minor[item])
    off = level - people.wanted_price_level[person]
    dearness = people.price_sensitivity[person] * np.where(off > 0, off, -0.3 * off)
    match = np.zeros(item.shape)
    for k in range(STYLE_DIMENSIONS):  # a fixed order of addition, whatever the batch
        match += people.taste[person, k].astype(np.float64) * catalogue.style[item, k]
    worth = people.category_worth[person, catalogue.leaf[item]] + season(shop)[day, catalogue.leaf[item]]
    worth = worth + people.brand_worth[person, catalogue.brand[item]] + catalogue.quality[item] + match - dearness
    is_staple = (people.staples[person] == item[..., None]).any(axis=-1)
    return np.asarray(worth + STAPLE_BONUS * is_staple)


def value(utilities: Floats) -> Floats:
    """Return the probability that an item of that utility is bought once it is looked at."""
    return np.asarray(1.0 / (1.0 + np.exp(HURDLE - utilities)))


def _staples(shop: Shop, people: Shoppers) -> Ints:
    """Return items of staple categories, of groceries of any, that suit each shopper, [n, slots]; -1 for none."""
    everyday = np.array([n for n in range(shop.leaves) if shop.groceries or LEAVES[n].is_staple], dtype=np.int64)
    if not len(everyday):
        return people.staples
    seed, slot, trial = shop.seed, np.arange(people.staples.shape[1]), np.arange(12)
    number = people.number[:, None]
    keys = (number[..., None], slot[:, None], trial)
    leaf = everyday[below(len(everyday), seed, "staple leaf", *keys)]
    candidate = item_in_leaf(shop, leaf, uniform(seed, "staple item", *keys))
    person = np.broadcast_to(np.arange(len(people.number))[:, None, None], candidate.shape)
    liking = utility(shop, people, person, candidate, np.zeros_like(candidate))
    liking = liking + 0.5 * gumbel(seed, "staple", *keys)
    best = np.take_along_axis(candidate, liking.argmax(axis=2)[..., None], axis=2)[..., 0]
    share = np.array([0.9] * GROCERIES if shop.groceries else [0.6, 0.4, 0.2])
    has = uniform(seed, "has staple", number, slot) < share
    return np.where(has, best, -1)
