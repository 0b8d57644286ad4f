"""What the synthetic shop showed before it used Topshelf: shelves of a logging policy with known propensities.

The policy fills ten places from the top. With probability EXPLORE a place takes any item that can be bought and is
not above it on the shelf; otherwise it takes one of the day's well-known items, by the shopper's age band. The logged
`propensity` is the probability of that item in that place, given the places above it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jobs.numeric.arrays import find_sorted
from jobs.numeric.draws import Flags, Floats, Ints, below, uniform
from jobs.synthetic.catalogue import Shop, is_available, items_of
from jobs.synthetic.shoppers import PERSONAS, Shoppers, utility, value
from jobs.synthetic.visits import SHELF_SEEN, Looks, Sessions, crowd_shares
from jobs.synthetic.words import AGE_BANDS

PLACES = 10
EXPLORE = 0.2
HEAD = 8  # well-known items of each category
UNLOGGED = 99  # the ordinal of a visit that is not logged; no real visit of a day has it
EXAMINED = 0.12  # how fast attention falls with position: 1 / (1 + 0.12 position)


@dataclass(frozen=True)
class Shelves:
    """Shelves that were shown: `session` [n] is the row of the visit; the other arrays are [n, PLACES].

    `explored` marks places whose item is not well known, so that it can only have come from exploration.
    """

    session: Ints
    item: Ints
    propensity: Floats
    explored: Flags


@lru_cache(maxsize=4096)
def head(shop: Shop, day: int, age_band: int) -> tuple[Ints, Floats]:
    """Return the well-known items that can be bought that day: their numbers, ascending, and shares that sum to 1."""
    place = np.arange(HEAD)
    item = (np.arange(shop.leaves)[:, None] + shop.leaves * place).ravel()
    shares = crowd_shares(shop)[day]
    # A category weighs more for an age band whose personas have it among their favourites.
    personas = age_band * (PERSONAS // len(AGE_BANDS)) + np.arange(PERSONAS // len(AGE_BANDS))
    favourites = below(shop.leaves, shop.seed, "persona favourite", personas[:, None], np.arange(3)).ravel()
    shares = shares / shares.sum() + 0.04 * np.bincount(favourites, minlength=shop.leaves)
    weight = (shares[:, None] * (place + 0.5) ** -0.67).ravel()
    exists = item < shop.items
    item, weight = item[exists], weight[exists]
    there = is_available(shop, items_of(shop), item, np.full(len(item), day))
    order = np.argsort(item[there])
    return item[there][order], weight[there][order] / weight[there].sum()


@lru_cache(maxsize=4096)
def eligible_count(shop: Shop, day: int) -> int:
    """Return how many items can be bought that day."""
    item = np.arange(shop.items)
    return int(is_available(shop, items_of(shop), item, np.full(shop.items, day)).sum())


def shelves(shop: Shop, people: Shoppers, visits: Sessions) -> Shelves:
    """Return the shelves shown in `visits`; a day with too few items for the policy (2 * PLACES) shows none."""
    shown = np.flatnonzero(uniform(shop.seed, "shelf", *visits.keys(people)) < SHELF_SEEN)
    group = visits.day[shown] * len(AGE_BANDS) + people.age_band[visits.person[shown]]
    order = np.argsort(group, kind="stable")
    shown, group = shown[order], group[order]
    by_group = [_empty()]
    for day_and_band in np.unique(group):
        day, age_band = divmod(int(day_and_band), len(AGE_BANDS))
        rows = shown[np.searchsorted(group, day_and_band) : np.searchsorted(group, day_and_band, side="right")]
        if eligible_count(shop, day) > 2 * PLACES:
            by_group.append(_fill(shop, tuple(key[rows] for key in visits.keys(people)), rows, day, age_band))
    columns = zip(*((part.session, part.item, part.propensity, part.explored) for part in by_group), strict=True)
    return Shelves(*(np.concatenate(column) for column in columns))


def policy_shelves(shop: Shop, people: Shoppers, day: int) -> Ints:
    """Return a shelf that the policy could have shown each shopper that day: item numbers, [n, PLACES].

    It is drawn anew and belongs to no logged visit. On a day with too few items for the policy all numbers are -1.
    """
    item = np.full((len(people.number), PLACES), -1, dtype=np.int64)
    if eligible_count(shop, day) > 2 * PLACES:
        for age_band in range(len(AGE_BANDS)):
            rows = np.flatnonzero(people.age_band == age_band)
            keys = (people.number[rows], np.full(len(rows), day), np.full(len(rows), UNLOGGED))
            item[rows] = _fill(shop, keys, rows, day, age_band).item
    return item


def _empty() -> Shelves:
    shape = (0, PLACES)
    return Shelves(np.zeros(0, np.int64), np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape, np.bool_))


def _fill(shop: Shop, keys: tuple[Ints, ...], rows: Ints, day: int, age_band: int) -> Shelves:
    """Fill the shelves of one day and age band place by place."""
    known, share = head(shop, day, age_band)
    item = np.full((len(rows), PLACES), -1, dtype=np.int64)
    propensity, explored = np.zeros(item.shape), np.zeros(item.shape, dtype=np.bool_)
    used = np.zeros(len(rows))  # share of the well-known items that already stand above
    for place in range(PLACES):
        has_known = used < 1 - 1e-9  # once all well-known items stand on the shelf, only exploration is left
        explore = np.where(has_known, EXPLORE, 1.0)
        explores = uniform(shop.seed, "explore", *keys, np.full(len(rows), place)) < explore
        item[:, place] = _draw(shop, keys, item[:, :place], explores, day, known, share)
        at = find_sorted(known, item[:, place])
        is_known = at >= 0
        known_share = np.where(is_known, share[at], 0.0)
        by_exploration = explore / (eligible_count(shop, day) - place)
        by_fame = (1 - explore) * known_share / np.where(has_known, 1 - used, 1.0)
        # Rounded, as the last digits of a sum may differ between processors.
        propensity[:, place] = np.round(by_exploration + by_fame, 12)
        explored[:, place] = ~is_known
        used += known_share
    return Shelves(rows, item, propensity, explored)


def _draw(
    shop: Shop, keys: tuple[Ints, ...], above: Ints, explores: Flags, day: int, known: Ints, share: Floats
) -> Ints:
    """Draw an item for the next place of each shelf; draw again while it stands above already or cannot be bought.

    By this rejection each remaining item keeps its share among the remaining ones.
    """
    cumulative = np.cumsum(share)
    item = np.zeros(len(above), dtype=np.int64)
    waiting, attempt = np.arange(len(above)), 0
    while len(waiting):
        turn = np.full(len(waiting), above.shape[1] * 100_000 + attempt)
        draw = uniform(shop.seed, "place", *(key[waiting] for key in keys), turn)
        at = np.minimum(np.searchsorted(cumulative, draw, side="right"), len(known) - 1)
        drawn = np.where(explores[waiting], (draw * shop.items).astype(np.int64), known[at])
        there = is_available(shop, items_of(shop), drawn, np.full(len(drawn), day))
        fits = there & ~(above[waiting] == drawn[:, None]).any(axis=1)
        item[waiting[fits]] = drawn[fits]
        waiting, attempt = waiting[~fits], attempt + 1
    return item


def clicked(shop: Shop, people: Shoppers, visits: Sessions, shown: Shelves) -> Looks:
    """Return the clicked items: seen with a probability that falls with position, then wanted by utility."""
    row, place = np.nonzero(np.ones(shown.item.shape, dtype=np.bool_))
    session, item = shown.session[row], shown.item[row, place]
    keys = (*(key[session] for key in visits.keys(people)), place)
    wanted = value(utility(shop, people, visits.person[session], item, visits.day[session]) + 2.5)
    examined = 1 / (1 + EXAMINED * place)
    is_click = uniform(shop.seed, "click", *keys) < examined * wanted
    session, item, place = session[is_click], item[is_click], place[is_click]
    return Looks(session, np.zeros_like(place), item, visits.start_s[session] + 5 + 4 * place, place)
