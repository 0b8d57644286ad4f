"""What the synthetic shop's shoppers do: visits, views, carts, purchases and ratings, by batches of shoppers.

In a visit a shopper goes from category to category. In each, a handful of items is met, and the best by utility plus
noise is looked at: well-known items are met more often, but suit no better. Looking leads to a cart, a purchase and a
rating with probabilities that rise with the utility. Items on a shown shelf (`jobs.synthetic.exposures`) are seen by
position and clicked by utility.
"""

from dataclasses import dataclass, fields

import numpy as np

from jobs.numeric.draws import Flags, Floats, Ints, below, gumbel, uniform
from jobs.synthetic.catalogue import Shop, is_available, item_in_leaf, items_of
from jobs.synthetic.shoppers import FAVOURITE_SHARE, FAVOURITES, JOINED_BEFORE, WEEK, Shoppers, season, utility, value
from jobs.synthetic.words import LEAVES

HANDFUL = 16  # items met before one is looked at
FAME = 3.0  # place in the category = uniform number to this power, so the first items are met most
CHOICE = 0.8  # weight of utility against noise in what is looked at
EVENTS_A_SESSION = 5.6  # measured; turns the events wanted into sessions
MAX_SESSIONS_A_DAY = 3.0
MAX_VIEWS = 12
STAY = 0.65  # chance that a view stays in the category that the visit is about
FAVOURITE_VISIT = 0.75  # chance that a category is a favourite, not what everybody buys in the season
ANONYMOUS = 0.08  # share of visits without signing in
RATED = 0.15  # share of purchases
SHELF_SEEN = 0.3  # share of visits that open the page with a shelf
BROWSED_SHARE = 0.3  # of a grocer's events; the others are those of weekly baskets
STAPLE_SESSION = 9  # ordinal of the visit in which staples are bought, above all others of a day
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
        """Return the keys of a visit's draws: user number, day, ordinal."""
        return people.number[self.person], self.day, self.ordinal


@dataclass(frozen=True)
class Looks:
    """Items looked at, one row each. `shelf_position` is -1 for an item that was not found on a shelf."""

    session: Ints
    ordinal: Ints
    item: Ints
    start_s: Ints
    shelf_position: Ints


def day_factors(shop: Shop) -> Floats:
    """Return how busy each day is, relative to the mean; by WEEK, Saturday is the busiest."""
    factor = np.array([WEEK[shop.day(n).weekday()] for n in range(shop.days)])
    return np.asarray(factor / factor.mean())


def sessions(shop: Shop, people: Shoppers) -> Sessions:
    """Return the visits of `people`, as many as give about `shop.events_target` events over all shoppers."""
    day = np.arange(shop.days)
    present = JOINED_BEFORE + (1 - JOINED_BEFORE) * (day + 0.5) / shop.days
    browsed = shop.events_target * (BROWSED_SHARE if shop.groceries else 1.0)
    scale = browsed / EVENTS_A_SESSION / (shop.users * float((present * day_factors(shop)).sum()))
    rate = people.sessions_a_day[:, None] * (scale * day_factors(shop))
    rate = np.where(day >= people.signup_day[:, None], np.minimum(rate, MAX_SESSIONS_A_DAY), 0.0)
    count = np.floor(rate + uniform(shop.seed, "sessions", people.number[:, None], day)).astype(np.int64)
    person, on_day = np.nonzero(count)
    repeats = count[person, on_day]
    person, on_day = np.repeat(person, repeats), np.repeat(on_day, repeats)
    ordinal = _ordinals(repeats)
    keys = (people.number[person], on_day, ordinal)
    # The mean of two uniform numbers: most visits start in the afternoon; all end before midnight.
    clock = (uniform(shop.seed, "start", *keys) + uniform(shop.seed, "start again", *keys)) / 2
    start_s = 6 * 3600 + (clock * 16.5 * 3600).astype(np.int64)
    return Sessions(person, on_day, ordinal, start_s, uniform(shop.seed, "anonymous", *keys) < ANONYMOUS)


def looks(shop: Shop, people: Shoppers, visits: Sessions) -> Looks:
    """Return what is looked at in `visits` outside the shelf."""
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
    for at in range(0, len(session), 32_768):  # blocks whose handfuls fit a processor's cache
        block = slice(at, at + 32_768)
        block_keys = [key[block, None] for key in keys]
        item[block] = _choose(
            shop, people, visits.person[session[block]], visits.day[session[block]], leaf[block], block_keys
        )
    met = item >= 0
    no_shelf = np.full(int(met.sum()), -1, dtype=np.int64)
    return Looks(session[met], ordinal[met], item[met], start_s[met], no_shelf)


def _leaf(shop: Shop, people: Shoppers, visits: Sessions, session: Ints, ordinal: Ints) -> Ints:
    """Draw a category: one of the favourites by its share, or any by what everybody buys in that season."""
    keys = (*(key[session] for key in visits.keys(people)), ordinal)
    rank = np.searchsorted(np.cumsum(FAVOURITE_SHARE), uniform(shop.seed, "favourite visited", *keys), side="right")
    favourite = people.favourites[visits.person[session], np.minimum(rank, FAVOURITES - 1)]
    crowd = np.cumsum(crowd_shares(shop), axis=1)
    day = visits.day[session]
    # One search for all days: the day's number is added to each day's cumulative shares.
    flat = (crowd / crowd[:, -1:] + np.arange(shop.days)[:, None]).ravel()
    anything = np.searchsorted(flat, day + uniform(shop.seed, "category", *keys), side="right") - day * shop.leaves
    is_favourite = uniform(shop.seed, "is favourite", *keys) < FAVOURITE_VISIT
    return np.where(is_favourite, favourite, np.clip(anything, 0, shop.leaves - 1))


def crowd_shares(shop: Shop) -> Floats:
    """Return the attention that each category gets from everybody, [days, leaves]; a day's values do not sum to 1."""
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
    """Return 0, 1, ... within each run of the given lengths."""
    return np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)


@dataclass(frozen=True)
class ShopEvents:
    """Events, one row each, as numbers and not yet ids; missing numbers are -1.

    `session` is the row of the visit, `look` the ordinal within it, `event_type` an index of EVENT_TYPES, `at_s` in
    seconds of the day. `value` is a rating, or seconds of dwell on a view.
    """

    session: Ints
    look: Ints
    item: Ints
    event_type: Ints
    at_s: Ints
    value: Floats
    quantity: Ints
    shelf_position: Ints


def events(shop: Shop, people: Shoppers, visits: Sessions, seen: Looks) -> ShopEvents:
    """Return the events that follow from the items looked at."""
    keys = (*(key[seen.session] for key in visits.keys(people)), seen.ordinal, seen.shelf_position)
    person, day = visits.person[seen.session], visits.day[seen.session]
    worth = utility(shop, people, person, seen.item, day)
    chance = value(worth)
    is_staple_visit = visits.ordinal[seen.session] >= STAPLE_SESSION
    dwell_s = 3 + (40 * chance + 25 * uniform(shop.seed, "dwell", *keys)).astype(np.int64)
    bought = is_staple_visit | (uniform(shop.seed, "buy", *keys) < chance)
    looked = ~(is_staple_visit & shop.groceries)
    carted = looked & (bought | (uniform(shop.seed, "cart", *keys) < 0.05 + 0.5 * chance))
    rated = bought & (uniform(shop.seed, "rates", *keys) < RATED)
    stars = np.round(2.4 + 0.35 * worth + 2.4 * (uniform(shop.seed, "stars", *keys) - 0.5))
    quantity = 1 + (uniform(shop.seed, "quantity", *keys) < 0.15) + 2 * (uniform(shop.seed, "many", *keys) < 0.04)
    clicked = seen.shelf_position >= 0
    by_type = []
    # `after_s` is in seconds after the look began.
    for event_type, happened, after_s, amount, pieces in (
        (CLICK, clicked, 0, -1, -1),
        (VIEW, looked, 1, dwell_s, -1),
        (CART, carted, 14, -1, quantity),
        (PURCHASE, bought, 21, -1, quantity),
        (RATING, rated, 24, np.clip(stars, 1, 5), -1),
    ):
        rows = np.flatnonzero(happened)
        by_type.append(
            ShopEvents(
                session=seen.session[rows],
                look=seen.ordinal[rows],
                item=seen.item[rows],
                event_type=np.full(len(rows), event_type),
                at_s=seen.start_s[rows] + after_s,
                value=np.broadcast_to(amount, bought.shape)[rows].astype(np.float64),
                quantity=np.broadcast_to(pieces, bought.shape)[rows].astype(np.int64),
                shelf_position=seen.shelf_position[rows],
            )
        )
    names = [column.name for column in fields(ShopEvents)]
    return ShopEvents(**{name: np.concatenate([getattr(batch, name) for batch in by_type]) for name in names})
