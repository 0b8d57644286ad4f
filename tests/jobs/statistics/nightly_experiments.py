"""Simulated experiments that are looked at every night: users arrive, come back, click and buy.

A user's events are not independent: everyone has a taste of their own. Revenue is heavy-tailed: one visit in fifty
buys, for a lognormal amount whose 99th percentile is 33 times its median. What was spent before tells how often
somebody buys.
"""

from dataclasses import dataclass

import numpy as np

from jobs.statistics import Values
from jobs.statistics.effects import UnitValues, arm_summaries, effect, winsorised
from jobs.statistics.sequential import Method, bounds

NIGHTS = 28
UNITS = 3_000  # over both arms, on average
METRICS = ("clicks an impression", "revenue a user", "revenue a user, winsorised, CUPED")


@dataclass(frozen=True)
class Looks:
    """What each night's look saw, [n_experiments, NIGHTS]: z of each metric, and the days of units so far.

    A unit has a day for each day on which it came. What later days add is nearly independent of what was there, so
    days of units are the information; units alone would grow too slowly.
    """

    z: dict[str, Values]
    unit_days: Values


def simulate(n_experiments: int, seed: int, uplift: float = 0.0) -> Looks:
    """Look at experiments whose treatment multiplies clicks and purchases by 1 + uplift."""
    draw = np.random.default_rng(seed)
    z = {metric: np.empty((n_experiments, NIGHTS)) for metric in METRICS}
    unit_days = np.empty((n_experiments, NIGHTS))
    for number in range(n_experiments):
        columns, unit_days[number] = _one(draw, uplift)
        for metric in METRICS:
            z[metric][number] = columns[metric]
    return Looks(z, unit_days)


def _one(draw: np.random.Generator, uplift: float) -> tuple[dict[str, Values], Values]:
    n = draw.poisson(UNITS)
    # More of the users come on the first nights, as those who come often are met first.
    arrival = np.sort(np.minimum(draw.exponential(NIGHTS / 2, n).astype(int) % NIGHTS, NIGHTS - 1))
    is_new = draw.random(n) < 0.5
    lift = 1 + uplift * is_new
    night = np.arange(NIGHTS)
    comes = (draw.random((n, NIGHTS)) < 0.1) & (night > arrival[:, None])
    comes[np.arange(n), arrival] = True
    user, when = np.nonzero(comes)
    views = 1.0 + draw.poisson(8, len(user))
    click_rate = np.minimum(draw.gamma(1.5, 0.04, n) * lift, 1)
    clicks = draw.binomial(views.astype(int), click_rate[user])
    appetite = draw.gamma(2, 0.01, n)
    buys = draw.random(len(user)) < np.minimum(appetite * lift, 1)[user]
    spent = np.where(buys, draw.lognormal(3, 1.5, len(user)), 0.0)
    spent_before = draw.poisson(20 * appetite) * draw.lognormal(3, 1, n)
    totals = {}
    for name, value in (("views", views), ("clicks", clicks), ("spent", spent)):
        by_night = np.zeros((n, NIGHTS))
        by_night[user, when] = value
        totals[name] = by_night.cumsum(axis=1)
    there = np.searchsorted(arrival, night, side="right")
    found = {metric: np.empty(NIGHTS) for metric in METRICS}
    for look in night:
        rows = slice(0, there[look])
        chosen = is_new[rows]
        clicked, viewed, bought = (totals[name][rows, look] for name in ("clicks", "views", "spent"))
        capped, _ = winsorised({"new": bought[chosen], "control": bought[~chosen]})
        capped_before, _ = winsorised({"new": spent_before[rows][chosen], "control": spent_before[rows][~chosen]})
        of_arms = {"new": chosen, "control": ~chosen}
        for metric, values in zip(
            METRICS,
            (
                {arm: UnitValues(clicked[of], viewed[of]) for arm, of in of_arms.items()},
                {arm: UnitValues(bought[of]) for arm, of in of_arms.items()},
                {arm: UnitValues(capped[arm], total_before=capped_before[arm]) for arm in of_arms},
            ),
            strict=True,
        ):
            arms = arm_summaries(values)
            found[metric][look] = effect(arms["new"], arms["control"]).z
    return found, np.bincount(when, minlength=NIGHTS).cumsum().astype(float)


def found_by(method: Method, looks: Looks) -> dict[str, Values]:
    """Tell of each experiment what any look found: 1 for a better arm, -1 for a worse one, 0 for nothing."""
    planned = looks.unit_days[:, -1].mean()
    limits = np.array([bounds(method, row, planned=planned, is_last=True) for row in looks.unit_days])
    found = {}
    for metric, z in looks.z.items():
        crossed = np.abs(z) >= limits
        first = crossed.argmax(axis=1)
        rows = np.arange(len(z))
        found[metric] = np.where(crossed[rows, first], np.sign(z[rows, first]), 0.0)
    return found


def naive(z: Values) -> Values:
    """The same for looking every night at 1.96 standard errors."""
    return (np.abs(z) >= 1.96).any(axis=1).astype(float)
