"""Visits of the synthetic shop that are made to buy again: staples of any shop, the weekly baskets of a grocer.

A shopper of a grocer has about thirty products, each bought every week to every eighth, and comes once a week or
less. A basket is what is due by then: about ten lines, that nobody looks at before they are bought. The other
visits are those of any shop (`jobs.synthetic.visits`), where new products are found.
"""

import numpy as np

from jobs.numeric.draws import Ints, below, uniform
from jobs.synthetic.catalogue import Shop, is_available, item_in_leaf, items_of
from jobs.synthetic.shoppers import JOINED_BEFORE, Shoppers
from jobs.synthetic.visits import BROWSED_SHARE, EVENTS_A_SESSION, FAME, STAPLE_SESSION, Looks, Sessions

LINES_A_BASKET = 9.5  # measured
EVENTS_A_LINE = 1.15  # a purchase, and now and then a rating
BOUGHT_WHEN_DUE = 0.85
USUAL = 0.75  # share of the lines that are of the usual product


def staple_sessions(shop: Shop, people: Shoppers) -> tuple[Sessions, Looks]:
    """Return the visits made only to buy staples again, in the period of each staple, and what is looked at there."""
    day, slot = np.arange(shop.days), np.arange(people.staples.shape[1])
    phase = below(people.staple_period_days, shop.seed, "staple phase", people.number[:, None], slot)
    due = (day + phase[..., None]) % people.staple_period_days[..., None] == 0
    due &= (people.staples >= 0)[..., None] & (day >= people.signup_day[:, None, None])
    # Who hardly ever comes does not come for staples either.
    target = shop.events_target / EVENTS_A_SESSION / (shop.users * shop.days)
    keen = np.minimum(people.sessions_a_day * target * 8, 0.9)
    slot_keys = (people.number[:, None, None], slot[:, None], day)
    due &= uniform(shop.seed, "staple due", *slot_keys) < keen[:, None, None]
    person, slot, on_day = np.nonzero(due)
    start_s = 8 * 3600 + below(12 * 3600, shop.seed, "staple start", people.number[person], on_day, slot)
    return _visits(shop, person, on_day, slot, people.staples[person, slot], STAPLE_SESSION + slot, start_s)


def weekly_baskets(shop: Shop, people: Shoppers) -> tuple[Sessions, Looks]:
    """Return the weekly visits of a grocer's shoppers, a row a line of a basket, and what is bought there."""
    day, slot = np.arange(shop.days), np.arange(people.staples.shape[1])
    number = people.number[:, None]
    present = JOINED_BEFORE + (1 - JOINED_BEFORE) / 2
    expected = shop.users * present * shop.days / 7 * LINES_A_BASKET * EVENTS_A_LINE
    comes = np.minimum(people.sessions_a_day * ((1 - BROWSED_SHARE) * shop.events_target / expected), 0.95)
    is_visit = (day + below(7, shop.seed, "shopping day", number)) % 7 == 0
    is_visit &= (day >= people.signup_day[:, None]) & (uniform(shop.seed, "comes", number, day) < comes[:, None])
    person, on_day = np.nonzero(is_visit)
    weeks = people.staple_period_days[person] // 7
    phase = below(weeks, shop.seed, "staple phase", people.number[person, None], slot)
    is_due = ((on_day // 7)[:, None] + phase) % weeks == 0
    line_keys = (people.number[person, None], on_day[:, None], slot)
    is_due &= uniform(shop.seed, "staple due", *line_keys) < BOUGHT_WHEN_DUE
    visit, line = np.nonzero(is_due & (people.staples[person] >= 0))
    person, on_day = person[visit], on_day[visit]
    start_s = 8 * 3600 + below(12 * 3600, shop.seed, "staple start", people.number[person], on_day)
    usual = people.staples[person, line]
    # Now and then another product of the same kind is tried.
    keys = (people.number[person], on_day, line)
    place = uniform(shop.seed, "other product", *keys) ** FAME
    is_usual = uniform(shop.seed, "usual product", *keys) < USUAL
    item = np.where(is_usual, usual, item_in_leaf(shop, items_of(shop).leaf[usual], place))
    return _visits(shop, person, on_day, line, item, np.full(len(line), STAPLE_SESSION), start_s + 5 * line)


def _visits(
    shop: Shop, person: Ints, day: Ints, slot: Ints, item: Ints, ordinal: Ints, start_s: Ints
) -> tuple[Sessions, Looks]:
    """Return a visit a row, and the item bought there; without items that cannot be bought on the day."""
    there = is_available(shop, items_of(shop), item, day)
    visits = Sessions(person[there], day[there], ordinal[there], start_s[there], np.zeros(int(there.sum()), np.bool_))
    no_shelf = np.full(int(there.sum()), -1, dtype=np.int64)
    line = slot[there] if shop.groceries else np.zeros_like(no_shelf)
    return visits, Looks(np.arange(len(no_shelf)), line, item[there], start_s[there], no_shelf)
