"""How many units and days an experiment needs before it is started, and what a given number of them can show.

>>> units_needed(variance=30.0, smallest_effect=0.2, shares={"control": 0.5, "new": 0.5}).units
28170
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from jobs.statistics import UnusableValuesError, Values
from jobs.statistics.sequential import Method, bounds, crossing_probabilities


@dataclass(frozen=True)
class Sample:
    """The units that an experiment needs, over all arms, and by arm."""

    units: int
    by_arm: dict[str, int]


def units_needed(
    *,
    variance: float,
    smallest_effect: float,
    shares: Mapping[str, float],
    control: str = "control",
    alpha: float = 0.05,
    power: float = 0.8,
    removed_share: float = 0.0,
    method: Method = "fixed_horizon",
    looks: int = 1,
) -> Sample:
    """Return the units with which every arm's test against control has this power.

    Args:
        variance: of one unit: of the metric for a mean a unit, of `effects.linearised` for a ratio.
        smallest_effect: the minimum detectable effect, in the metric's unit, not 0.
        shares: of the arms, scaled to sum to 1. The arm with the smallest share decides.
        control: the arm that the others are compared with.
        alpha: two-sided. Divide it by the number of tests to be safe under Holm.
        power: the probability of finding an effect of that size.
        removed_share: the share of the variance that CUPED is expected to remove, in [0, 1).
        method: how it will be looked at; looking more often needs more units.
        looks: looks at equal information, for the sequential methods.

    Raises:
        UnusableValuesError: a number is out of range, or `control` has no share.
    """
    arms = _scaled(shares, control)
    if not (variance > 0 and smallest_effect != 0 and 0 <= removed_share < 1 and alpha < power < 1):
        raise UnusableValuesError(
            "a sample size needs a variance above 0, an effect other than 0, a removed share in [0, 1), and a power "
            "above alpha and below 1"
        )
    smallest = min(share for arm, share in arms.items() if arm != control)
    spread = variance * (1 - removed_share) * (1 / arms[control] + 1 / smallest)
    units = ceil(spread * (needed_drift(method, looks, alpha, power) / smallest_effect) ** 2)
    return Sample(units, {arm: ceil(units * share) for arm, share in arms.items()})


def detectable_effect(
    n_units: float,
    *,
    variance: float,
    shares: Mapping[str, float],
    control: str = "control",
    alpha: float = 0.05,
    power: float = 0.8,
    removed_share: float = 0.0,
    method: Method = "fixed_horizon",
    looks: int = 1,
) -> float:
    """Return the smallest effect, in the metric's unit, that `n_units` over all arms show. See `units_needed`."""
    arms = _scaled(shares, control)
    smallest = min(share for arm, share in arms.items() if arm != control)
    spread = variance * (1 - removed_share) * (1 / arms[control] + 1 / smallest) / n_units
    return float(needed_drift(method, looks, alpha, power) * np.sqrt(spread))


def needed_drift(method: Method, looks: int, alpha: float, power: float) -> float:
    """Return the true effect, in standard errors of the last look, that is found with this power by then."""
    if method == "fixed_horizon":
        return float(ndtri(1 - alpha / 2) + ndtri(power))
    information = np.arange(1, looks + 1) / looks
    found = bounds(method, information, planned=1.0, alpha=alpha)

    def missed_power(drift: float) -> float:
        return float(crossing_probabilities(information, found, drift)[0].sum()) - power

    return float(brentq(missed_power, 0.0, 15.0, xtol=1e-6))


def days_needed(n_units: float, units_by_day: Values, *, share: float = 1.0) -> float:
    """Return the days until `n_units` different units have come; infinite if that many never will.

    Args:
        n_units: different units to wait for, over all arms.
        units_by_day: [n_days], ascending: distinct units seen from the first day up to each day, in past weeks. As
            known users come back, it flattens; beyond its end it goes on as over its last week.
        share: of the units that take part: the sum of the experiment's shares.

    Raises:
        UnusableValuesError: there are no days, the counts descend, or the share is not in (0, 1].
    """
    if not len(units_by_day) or (np.diff(units_by_day) < 0).any() or not 0 < share <= 1:
        raise UnusableValuesError("days need ascending counts of units, a day each, and a share within (0, 1]")
    reached = np.asarray(units_by_day, dtype=np.float64) * share
    if n_units <= reached[-1]:
        return float(np.searchsorted(reached, n_units) + 1)
    rate = _units_a_day(reached)
    return len(reached) + float(np.ceil((n_units - reached[-1]) / rate)) if rate > 0 else float("inf")


def units_after(days: int, units_by_day: Values) -> float:
    """Return the different units of so many days, at least 1; `units_by_day` as in `days_needed`."""
    if days <= len(units_by_day):
        return float(units_by_day[days - 1])
    return float(units_by_day[-1] + _units_a_day(units_by_day) * (days - len(units_by_day)))


def _units_a_day(units_by_day: Values) -> float:
    """Return how many new units came a day over the last week, or in all where there is but one day."""
    back = min(7, len(units_by_day) - 1)
    return float((units_by_day[-1] - units_by_day[-1 - back]) / back if back else units_by_day[0])


def _scaled(shares: Mapping[str, float], control: str) -> dict[str, float]:
    if control not in shares or len(shares) < 2 or min(shares.values()) <= 0:
        raise UnusableValuesError(f"shares need {control!r}, another arm, and a share above 0 for each")
    whole = sum(shares.values())
    return {arm: share / whole for arm, share in shares.items()}
