"""Which arm's items are chosen when one shelf holds the items of all arms: interleaving and multileaving.

Every place of a shelf belongs to the arm whose team it was drafted for (Radlinski, Kurup and Joachims, How does
clickthrough data reflect retrieval quality?, CIKM 2008; Schuth, Sietsma, Whiteson, Lefortier and de Rijke,
Multileaved comparisons for fast online evaluation, CIKM 2014). A shelf gives a credit of 1, shared among the arms as
their places were clicked; a shelf without a click gives none. If all arms are equally good, the draft makes their
expected credits equal. One unit's shelves are not independent, so all tests are over units.

>>> compared = compare(credit_shares(clicks), user, ["control", "new"])
>>> compared.preferences["new", "control"].difference
0.083
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import chdtrc, ndtr

from jobs.statistics import Codes, UnusableValuesError, Values
from jobs.statistics.effects import TWO_SIDED_95, ArmSummary, Effect


@dataclass(frozen=True)
class Comparison:
    """The arms of an interleaving.

    Attributes:
        units: that gave any credit.
        shelves: that gave any credit.
        shares: each arm's share of the credit; they sum to 1.
        p: that all shares are equal (Wald's test); for two arms the p-value of their preference.
        preferences: by (arm, other arm), each pair once: the later arm first, so that control is the other. An
            effect whose values are shares of the credit, so its difference lies between -1 and 1; it has no lift.
    """

    units: int
    shelves: int
    shares: dict[str, float]
    p: float
    preferences: dict[tuple[str, str], Effect]


def clicks_by_team(team: Codes, clicked: Values, arms: int) -> Values:
    """Return [n_shelves, arms]: the clicks on each arm's places. Both inputs are [n_shelves, places].

    `team` is the index of the place's arm, -1 for a place of none, such as one that explores. `clicked` is 0 or 1, or
    any worth of what was chosen there.
    """
    counted = [np.where(team == arm, clicked, 0.0).sum(axis=1) for arm in range(arms)]
    return np.stack(counted, axis=1).astype(np.float64)


def credit_shares(clicks: Values) -> Values:
    """Return [n_shelves, arms]: each arm's share of its shelf's clicks; a row of zeros where there is none."""
    total = clicks.sum(axis=1, keepdims=True)
    return np.asarray(clicks / np.where(total > 0, total, 1.0))


def compare(credit: Values, unit: Codes, arms: Sequence[str], bound: float = TWO_SIDED_95) -> Comparison:
    """Return how the arms shared the credit.

    Args:
        credit: [n_shelves, n_arms], from `credit_shares`.
        unit: [n_shelves]: whose shelf it was, any whole numbers.
        arms: names, control first.
        bound: standard errors on either side of an interval, as from `jobs.statistics.sequential.bounds`.

    Raises:
        UnusableValuesError: shapes differ, or fewer than two units gave credit.
    """
    if credit.shape != (len(unit), len(arms)) or len(arms) < 2:
        raise UnusableValuesError(
            f"credit {credit.shape} needs a row a shelf and a column an arm; there are {len(arms)} arms"
        )
    gives = credit.sum(axis=1) > 0
    _, place = np.unique(unit[gives], return_inverse=True)
    n_units = int(place.max(initial=-1)) + 1
    by_arm = [np.bincount(place, credit[gives, arm], n_units).astype(np.float64) for arm in range(len(arms))]
    return compare_units(np.stack(by_arm, axis=1), arms, bound)


def compare_units(credit: Values, arms: Sequence[str], bound: float = TWO_SIDED_95) -> Comparison:
    """Return the same of credit that is summed by unit, [n_units, n_arms]; units without any are left out.

    Raises:
        UnusableValuesError: fewer than two units gave credit.
    """
    shelves = credit.sum(axis=1)  # each that was clicked gave a credit of 1
    by_unit, shelves = credit[shelves > 0], shelves[shelves > 0]
    n_units, n_shelves = len(shelves), round(float(shelves.sum()))
    if n_units < 2:
        raise UnusableValuesError("fewer than two units clicked on an interleaved shelf; wait for more")
    shares = by_unit.sum(axis=0) / n_shelves
    residual = by_unit - shelves[:, None] * shares
    covariance = residual.T @ residual * (n_units / (n_units - 1)) / n_shelves**2
    summaries = [
        ArmSummary(n_units, float(share), float(variance * n_units))
        for share, variance in zip(shares, np.diag(covariance), strict=True)
    ]
    preferences = {}
    for second, first in combinations(range(len(arms)), 2):
        difference = float(shares[first] - shares[second])
        spread = covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
        error = float(np.sqrt(max(spread, 0.0)))
        p = float(2 * ndtr(-abs(difference) / error)) if error else float(difference == 0)
        preferences[arms[first], arms[second]] = Effect(
            summaries[first], summaries[second], difference, error, bound, p, np.nan, np.nan, np.nan
        )
    return Comparison(n_units, n_shelves, _named(arms, shares), _all_equal(shares, covariance), preferences)


def _all_equal(shares: Values, covariance: Values) -> float:
    contrast = shares[1:] - shares[0]
    spread = covariance[1:, 1:] - covariance[1:, :1] - covariance[:1, 1:] + covariance[0, 0]
    statistic = float(contrast @ np.linalg.pinv(spread, hermitian=True) @ contrast)
    return float(chdtrc(len(contrast), statistic))


def _named(arms: Sequence[str], shares: Values) -> dict[str, float]:
    return {arm: float(share) for arm, share in zip(arms, shares, strict=True)}
