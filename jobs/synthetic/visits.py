"""What the synthetic shop's shoppers do: visits, views, carts, purchases and ratings, batch of shoppers by batch.

In a visit a shopper wanders through categories, and each time looks at the best of a handful of items there by
utility plus noise: well-known items are met more often, but are not what suits best. Looking leads to a cart, a
purchase and a rating with chances that rise with the utility. Items on a shelf that the shop shows (`exposures`)
are looked at, and clicked, by position and utility.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.synthetic.catalogue import Shop, is_available, item_in_leaf, items_of
from jobs.synthetic.draws import Flags, Floats, Ints, below, gumbel, uniform
from jobs.synthetic.shoppers import FAVOURITE_SHARE, FAVOURITES, JOINED_BEFORE, WEEK, Shoppers, season, utility, value
from jobs.synthetic.words import LEAVES

HANDFUL = 16  # items met before one is looked at
FAME = 3.0  # a place in the category is a uniform number to this power: the first items are met most
CHOICE = 0.8  # how far utility, against noise, decides what is looked at
EVENTS_A_SESSION = 5.6  # measured; turns the events wanted into sessions
MAX_SESSIONS_A_DAY = 3.0
MAX_VIEWS = 12
STAY = 0.65  # chance that a view stays in the category that the visit is about
FAVOURITE_VISIT = 0.75  # chance that a category is a favourite, not what everybody buys in the season
ANONYMOUS = 0.08  # share of visits without signing in
RATED = 0.15  # share of purchases
SHELF_SEEN = 0.3  # share of visits that open the page with a shelf
STAPLE_SESSION = 9  # the number of the visit in which staples are bought, beyond any other of a day
VIEW, CART, PURCHASE, RATING, CLICK = range(5)
EVENT_TYPES = ("view", "add_to_cart", "purchase", "rating", "click")


@dataclass(frozen=True)
class Sessions:
    """Visits, one row each: row of the shopper, day, number within the day, start in seconds of the day."""

    person: Ints
    day: Ints
    ordinal: Ints
    start_s: Ints
    is_anonymous: Flags

    def keys(self, people: Shoppers) -> tuple[Ints, Ints, Ints]:
        """What a visit's draws belong to: user number, day, ordinal."""
        return people.number[self.person], self.day, self.ordinal


@dataclass(frozen=True)
class Looks:
    """Items looked at, one row each. `shelf_position` is -1 for one that was found without the shelf."""

    session: Ints
    ordinal: Ints
    item: Ints
    start_s: Ints
    shelf_position: Ints


def day_factors(shop: Shop) -> Floats:
    """Return how busy each day is against the mean: the weekend's eve is the busiest."""
    factor = np.array([WEEK[shop.day(n).weekday()] for n in range(shop.days)])
    return np.asarray(factor / factor.mean())


def sessions(shop: Shop, people: Shoppers) -> Sessions:
    """Return the visits of `people`, as many as give about `shop.events_target` events over all shoppers."""
    day = np.arange(shop.days)
    present = JOINED_BEFORE + (1 - JOINED_BEFORE) * (day + 0.5) / shop.days
    scale = shop.events_target / EVENTS_A_SESSION / (shop.users * float((present * day_factors(shop)).sum()))
    rate = people.sessions_a_day[:, None] * (scale * day_factors(shop))
    rate = np.where(day >= people.signup_day[:, None], np.minimum(rate, MAX_SESSIONS_A_DAY), 0.0)
    count = np.floor(rate + uniform(shop.seed, "sessions", people.number[:, None], day)).astype(np.int64)
    person, on_day = np.nonzero(count)
    repeats = count[person, on_day]
    person, on_day = np.repeat(person, repeats), np.repeat(on_day, repeats)
    ordinal = _ordinals(repeats)
    keys = (people.number[person], on_day, ordinal)
    # Two numbers added: most visits come in the afternoon; all end before midnight.
    clock = (uniform(shop.seed, "start", *keys) + uniform(shop.seed, "start again", *keys)) / 2
    start_s = 6 * 3600 + (clock * 16.5 * 3600).astype(np.int64)
    return Sessions(person, on_day, ordinal, start_s, uniform(shop.seed, "anonymous", *keys) < ANONYMOUS)


def staple_sessions(shop: Shop, people: Shoppers) -> tuple[Sessions, Looks]:
    """Return the visits made only to buy staples again, on days that keep each staple's rhythm."""
    day = np.arange(shop.days)
    phase = below(people.staple_period_days, shop.seed, "staple phase", people.number[:, None], np.arange(3))
    due = (day + phase[..., None]) % people.staple_period_days[..., None] == 0
    due &= (people.staples >= 0)[..., None] & (day >= people.signup_day[:, None, None])
    # Who hardly ever comes does not come for staples either.
    target = shop.events_target / EVENTS_A_SESSION / (shop.users * shop.days)
    keen = np.minimum(people.sessions_a_day * target * 8, 0.9)
    slot_keys = (people.number[:, None, None], np.arange(3)[:, None], day)
    due &= uniform(shop.seed, "staple due", *slot_keys) < keen[:, None, None]
    person, slot, on_day = np.nonzero(due)
    item = people.staples[person, slot]
    there = is_available(shop, items_of(shop), item, on_day)
    person, slot, on_day, item = person[there], slot[there], on_day[there], item[there]
    start_s = 8 * 3600 + below(12 * 3600, shop.seed, "staple start", people.number[person], on_day, slot)
    found = Sessions(person, on_day, STAPLE_SESSION + slot, start_s, np.zeros(len(person), dtype=np.bool_))
    none = np.full(len(person), -1, dtype=np.int64)
    return found, Looks(np.arange(len(person)), np.zeros_like(none), item, start_s, none)


def looks(shop: Shop, people: Shoppers, visits: Sessions) -> Looks:
    """Return what is looked at in `visits` without the shelf."""
    visit_keys = visits.keys(people)
    geometric = np.floor(-3.2 * np.log(1 - uniform(shop.seed, "views", *visit_keys))).astype(np.int64)
    count = 1 + np.minimum(geometric, MAX_VIEWS - 1)
    session, ordinal = np.repeat(np.arange(len(count)), count), _ordinals(count)
    visit_leaf = _leaf(shop, people, visits, np.arange(len(count)), np.full(len(count), -1))
    keys = (*(key[session] for key in visit_keys), ordinal)
    stays = uniform(shop.seed, "stay", *keys) < STAY
    leaf = np.where(stays, visit_leaf[session], _leaf(shop, people, visits, session, ordinal))
    pace = 25 + below(80, shop.seed, "pace", *keys[:3], np.zeros_like(ordinal))
    start_s = visits.start_s[session] + 60 + ordinal * pace
    item = np.empty(len(session), dtype=np.int64)
    for at in range(0, len(session), 32_768):  # the handfuls of one block fit a processor's cache
        block = slice(at, at + 32_768)
        block_keys = [key[block, None] for key in keys]
        item[block] = _choose(
            shop, people, visits.person[session[block]], visits.day[session[block]], leaf[block], block_keys
        )
    met = item >= 0
    nothing = np.full(int(met.sum()), -1, dtype=np.int64)
    return Looks(session[met], ordinal[met], item[met], start_s[met], nothing)


def _leaf(shop: Shop, people: Shoppers, visits: Sessions, session: Ints, ordinal: Ints) -> Ints:
    """Draw a category: a favourite by its share, or one by what everybody buys in that season."""
    keys = (*(key[session] for key in visits.keys(people)), ordinal)
    rank = np.searchsorted(np.cumsum(FAVOURITE_SHARE), uniform(shop.seed, "favourite visited", *keys), side="right")
    favourite = people.favourites[visits.person[session], np.minimum(rank, FAVOURITES - 1)]
    crowd = np.cumsum(crowd_shares(shop), axis=1)
    day = visits.day[session]
    # One search for all days: each day's shares are moved up by the day's number.
    flat = (crowd / crowd[:, -1:] + np.arange(shop.days)[:, None]).ravel()
    anything = np.searchsorted(flat, day + uniform(shop.seed, "category", *keys), side="right") - day * shop.leaves
    is_favourite = uniform(shop.seed, "is favourite", *keys) < FAVOURITE_VISIT
    return np.where(is_favourite, favourite, np.clip(anything, 0, shop.leaves - 1))


def crowd_shares(shop: Shop) -> Floats:
    """Return how much of everybody's attention each category has, [days, leaves], not yet adding to one."""
    liked = np.exp(0.8 * (uniform(shop.seed, "crowd", np.arange(shop.leaves)) * 4 - 2))
    everyday = np.array([1.5 if leaf.is_staple else 1.0 for leaf in LEAVES])[: shop.leaves]
    return np.asarray(liked * everyday * np.exp(season(shop)))


def _choose(shop: Shop, people: Shoppers, person: Ints, day: Ints, leaf: Ints, keys: list[Ints]) -> Ints:
    """Return the item looked at out of a handful met in each category; -1 where none of them can be bought."""
    meeting = np.arange(HANDFUL)
    place = uniform(shop.seed, "met", *keys, meeting) ** FAME
    item = item_in_leaf(shop, leaf[:, None], place)
    person, day = np.broadcast_to(person[:, None], item.shape), np.broadcast_to(day[:, None], item.shape)
    score = CHOICE * utility(shop, people, person, item, day) + gumbel(shop.seed, "choice", *keys, meeting)
    score = np.where(is_available(shop, items_of(shop), item, day), score, -np.inf)
    best = score.argmax(axis=1)[:, None]
    chosen = np.take_along_axis(item, best, axis=1)[:, 0]
    return np.where(np.isfinite(np.take_along_axis(score, best, axis=1)[:, 0]), chosen, -1)


def _ordinals(count: Ints) -> Ints:
    """0, 1, ... within each run of the given lengths."""
    return np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)


def events(shop: Shop, people: Shoppers, visits: Sessions, seen: Looks) -> dict[str, Any]:
    """Return the events of the items looked at, column by column, numbers and not yet ids.

    Columns: session, look (ordinal), item, kind (index of EVENT_TYPES), at_s, value, quantity, shelf_position.
    Missing numbers are -1.
    """
    keys = (*(key[seen.session] for key in visits.keys(people)), seen.ordinal, seen.shelf_position)
    person, day = visits.person[seen.session], visits.day[seen.session]
    worth = utility(shop, people, person, seen.item, day)
    chance = value(worth)
    is_staple_visit = visits.ordinal[seen.session] >= STAPLE_SESSION
    dwell_s = 3 + (40 * chance + 25 * uniform(shop.seed, "dwell", *keys)).astype(np.int64)
    bought = is_staple_visit | (uniform(shop.seed, "buy", *keys) < chance)
    carted = bought | (uniform(shop.seed, "cart", *keys) < 0.05 + 0.5 * chance)
    rated = bought & (uniform(shop.seed, "rates", *keys) < RATED)
    stars = np.round(2.4 + 0.35 * worth + 2.4 * (uniform(shop.seed, "stars", *keys) - 0.5))
    quantity = 1 + (uniform(shop.seed, "quantity", *keys) < 0.15) + 2 * (uniform(shop.seed, "many", *keys) < 0.04)
    clicked = seen.shelf_position >= 0
    everything = np.ones(len(bought), dtype=np.bool_)
    parts = []
    # When each thing happens, in seconds after the look began; a rating comes at the end of the evening.
    for kind, happened, after_s, told, pieces in (
        (CLICK, clicked, 0, -1, -1),
        (VIEW, everything, 1, dwell_s, -1),
        (CART, carted, 14, -1, quantity),
        (PURCHASE, bought, 21, -1, quantity),
        (RATING, rated, 24, np.clip(stars, 1, 5), -1),
    ):
        rows = np.flatnonzero(happened)
        part = {
            "session": seen.session[rows],
            "look": seen.ordinal[rows],
            "item": seen.item[rows],
            "kind": np.full(len(rows), kind),
            "at_s": seen.start_s[rows] + after_s,
            "value": np.broadcast_to(told, bought.shape)[rows].astype(np.float64),
            "quantity": np.broadcast_to(pieces, bought.shape)[rows].astype(np.int64),
            "shelf_position": seen.shelf_position[rows],
        }
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
