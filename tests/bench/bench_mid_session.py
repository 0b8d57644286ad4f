"""What a shelf is worth that is asked for in mid-visit: the night alone, with last actions, and tilted to the visit.

A synthetic shop's night is run, and the visits of the two days after it are stopped after 1, 2, 3 and 5 items that
were looked at. Then the shopper's shelf is filled in three ways, without exploration. An item is worth the chance
that it is bought once it is looked at, times the chance that the next look is in its category, both by the shop's
own truth. What was looked at already is worth nothing. Of each way the share of the best possible shelf is told, and
the ratio to the way before with 95% intervals over shoppers. TILT was chosen on the first shop alone.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.night.progress import StageProgress
from jobs.night.run import nightly
from jobs.numeric.arrays import Positions
from jobs.numeric.draws import Floats, Ints
from jobs.spark.session import session
from jobs.synthetic import visits
from jobs.synthetic.catalogue import Shop, is_available, item_ids, items_of, user_ids
from jobs.synthetic.shop import synthetic_shop
from jobs.synthetic.shoppers import FAVOURITE_SHARE, Shoppers, shoppers, utility, value
from jobs.synthetic.truth import day_number, read_shop
from serving.shelf import filler
from serving.shelf.fill import fill_shelf
from serving.shelf.item_state import LiveItems
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.request import ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.stores import open_store
from tests.bench.figures import Figure

SEEDS = (7, 21, 22)
USERS, ITEMS, EVENTS = 2_000, 1_000, 60_000
FIRST_DAY, NIGHT, DAYS_AFTER = date(2026, 1, 1), date(2026, 2, 14), 2
LOOKS = (1, 2, 3, 5)
CUTS = (10, 20)
SAMPLES = 1_000
KIND = [ACTION_KINDS.index(name) for name in visits.EVENT_TYPES]


@dataclass(frozen=True)
class Case:
    """A visit that was stopped: the shopper, what they did in it, and what each item would be worth now."""

    person: int
    user_id: str
    actions: LastActions
    worth: Floats


def made_shop(folder: Path, seed: int) -> Shop:
    """Make a shop and run its night."""
    settings = Settings.below(folder)
    last = NIGHT + timedelta(days=DAYS_AFTER)
    synthetic_shop(session(), Path(settings.landing), folder / "truth", USERS, ITEMS, EVENTS, FIRST_DAY, last, seed)
    nightly(settings, Parameters(), NIGHT, StageProgress())
    return read_shop(folder / "truth")


def next_looks(shop: Shop, people: Shoppers, person: int, day: int, leaf: int) -> Floats:
    """Return the chance of each category that a visit, which is about `leaf`, looks at it next."""
    crowd = visits.crowd_shares(shop)[day]
    anything = (1 - visits.FAVOURITE_VISIT) * crowd / crowd.sum()
    favourite = np.asarray(FAVOURITE_SHARE, np.float64)
    np.add.at(anything, people.favourites[person], visits.FAVOURITE_VISIT * favourite / favourite.sum())
    chance = (1 - visits.STAY) * anything
    chance[leaf] += visits.STAY
    return chance


def cases(shop: Shop, snapshot: Snapshot) -> Iterator[Case]:
    """Yield the visits of the days after the night, stopped after each number of LOOKS."""
    people = shoppers(shop, np.arange(shop.users))
    made = visits.sessions(shop, people)
    seen = visits.looks(shop, people, made)
    acted = visits.events(shop, people, made, seen)
    about = visits._leaf(shop, people, made, np.arange(len(made.day)), np.full(len(made.day), -1))
    position = np.array([snapshot.position(item_id) for item_id in item_ids(np.arange(shop.items))])
    first = day_number(shop, NIGHT + timedelta(days=1))
    names, items, numbers = user_ids(np.arange(shop.users)), items_of(shop), np.arange(shop.items)
    order = np.lexsort((acted.at_s, acted.session))
    begins = np.searchsorted(acted.session[order], np.arange(len(made.day) + 1))
    for visit in np.flatnonzero((made.day >= first) & ~made.is_anonymous):
        rows = order[begins[visit] : begins[visit + 1]]
        person, day = int(made.person[visit]), int(made.day[visit])
        who, on = np.full(shop.items, person), np.full(shop.items, day)
        worth = value(utility(shop, people, who, numbers, on)) * is_available(shop, items, numbers, on)
        worth = worth * next_looks(shop, people, person, day, int(about[visit]))[items.leaf]
        for looks in LOOKS:
            before = rows[acted.look[rows] < looks][::-1]
            if not len(before) or len(before) == len(rows):
                continue  # the visit was over by then
            done = [row for row in before if position[acted.item[row]] >= 0]
            ages_s = [float(acted.at_s[before[0]] + 20 - acted.at_s[row]) for row in done]
            kinds = [KIND[int(acted.event_type[row])] for row in done]
            left = worth.copy()
            left[acted.item[before]] = 0
            if done:
                actions = LastActions([int(position[acted.item[row]]) for row in done], kinds, ages_s)
                yield Case(person, names[person], actions, left)


def shares(shop: Shop, snapshot: Snapshot, found: list[Case]) -> dict[str, dict[int, Floats]]:
    """Return what each case's shelf is worth, by way and cut; `best` is the best there could be."""
    live, number = LiveItems(snapshot), np.full(len(snapshot), -1)
    ids = item_ids(np.arange(shop.items))
    for item, item_id in enumerate(ids):
        if (at := snapshot.position(item_id)) >= 0:
            number[at] = item

    def filled(case: Case, *, acts: bool) -> Positions:
        asked = ShelfRequest(user_id=case.user_id, limit=max(CUTS))
        shelf = fill_shelf(snapshot, live, asked, actions=case.actions if acts else None)
        return np.asarray(number[shelf.positions])

    def worth(lists: list[Positions]) -> dict[int, Floats]:
        return {cut: np.array([c.worth[of[:cut]].sum() for c, of in zip(found, lists, strict=True)]) for cut in CUTS}

    night, tilted = ([filled(case, acts=acts) for case in found] for acts in (False, True))
    with patch.object(filler, "category_shares", lambda *_: {}):
        actions = [filled(case, acts=True) for case in found]
    best = {cut: np.array([np.sort(case.worth)[-cut:].sum() for case in found]) for cut in CUTS}
    return {"best": best, "night alone": worth(night), "last actions": worth(actions), "and tilted": worth(tilted)}


def interval(over: Floats, under: Floats, people: Ints) -> tuple[float, float]:
    """Return the 95% interval of a ratio of sums, over samples of shoppers."""
    _, shopper = np.unique(people, return_inverse=True)
    sums = np.stack([np.bincount(shopper, weights=values) for values in (over, under)])
    drawn = np.random.default_rng(1).integers(0, sums.shape[1], (SAMPLES, sums.shape[1]))
    ratios = sums[0][drawn].sum(axis=1) / sums[1][drawn].sum(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def main() -> list[Figure]:
    figures = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as name:
            shop = made_shop(Path(name), seed)
            with closing(open_store(f"lmdb://{name}/store")) as store:
                live = store.pointer().live
                assert live is not None
                snapshot = Snapshot(store.open(live))
                found = list(cases(shop, snapshot))
                figures += figures_of(seed, found, shares(shop, snapshot, found))
    return figures


def figures_of(seed: int, found: list[Case], worth: dict[str, dict[int, Floats]]) -> list[Figure]:
    """Return the share of the best of each way, and its ratio to the way before."""
    people, figures, before = np.array([case.person for case in found]), [], ""
    for way in ("night alone", "last actions", "and tilted"):
        for cut in CUTS:
            share = worth[way][cut].sum() / worth["best"][cut].sum()
            told = f"shop {seed}, {len(found)} visits, {way}, first {cut}"
            if before:
                low, high = interval(worth[way][cut], worth[before][cut], people)
                ratio = worth[way][cut].sum() / worth[before][cut].sum()
                told += f" ({ratio - 1:+.1%}, {low - 1:+.1%} to {high - 1:+.1%})"
            figures.append(Figure(told, float(share), "of the best"))
        before = way
    return figures
