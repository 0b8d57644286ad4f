"""How far an effect must be from zero, in standard errors, when it is looked at again and again.

Three methods: `group_sequential`, the default: one look a night, alpha spent as information comes in (Lan and DeMets,
Discrete sequential boundaries for clinical trials, Biometrika 70(3), 1983); `confidence_sequence`: look whenever
(Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and asymptotic confidence
sequences, 2021); `fixed_horizon`: one look, at the end.

Information: how much has been seen so far, in any unit: looks are taken to be correlated as sqrt(earlier / later).
Give units where each is seen once. Where units come back and their days are summed, give days of units (one for each
unit and day on which it came): units alone grow too slowly, and the bounds would be too near. All bounds are for two
sides; a one-sided test at alpha takes the bounds for 2 alpha.

>>> bounds("group_sequential", np.array([2_500, 5_000, 7_500, 10_000]), planned=10_000, alpha=0.05)
array([4.33, 2.96, 2.36, 2.01])
"""

from typing import Literal, get_args

import numpy as np
from scipy.optimize import brentq
from scipy.special import lambertw, ndtr, ndtri

from jobs.statistics import UnusableValuesError, Values

Method = Literal["group_sequential", "confidence_sequence", "fixed_horizon"]
Spending = Literal["obrien_fleming", "pocock"]

NO_LOOK = 1e-4
"""A look that adds less than this share of its information sees what the look before it saw."""
_FARTHEST = 8.5  # standard errors: what lies beyond has a probability under 1e-16
_SMALLEST_ALPHA = 1e-12
_POINTS_A_STEP = 3.0  # quadrature points for one standard deviation of a look's step
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


def bounds(
    method: Method,
    information: Values,
    *,
    planned: float,
    alpha: float = 0.05,
    is_last: bool = False,
    spending: Spending = "obrien_fleming",
    fractions: Values | None = None,
) -> Values:
    """Return the bound of each look, [n_looks], in standard errors; infinite where a look may not decide.

    An effect is significant at a look when its |z| reaches the look's bound, and difference -+ bound * standard error
    is its interval: over all looks together it misses the truth with a probability of at most `alpha`. The bounds of
    past looks never change as looks are added.

    Args:
        method: see the module.
        information: [n_looks], ascending, above 0: at each look so far.
        planned: the information that the experiment was planned for. With `group_sequential` all of alpha is spent
            when it is reached, later looks have an infinite bound; a confidence sequence is narrowest there;
            `fixed_horizon` decides at the first look that has it.
        alpha: the probability of a mistake over all looks, of both sides together.
        is_last: the newest look is the last one, whatever it has: all alpha is spent, a fixed horizon reached.
        spending: `obrien_fleming` hardly spends early, `pocock` spends evenly. Of `group_sequential` alone.
        fractions: [n_looks], ascending to 1: by which alpha is spent and a fixed horizon reached, such as days gone
            by of all days, where nobody can plan the information (Lan and DeMets, Group sequential procedures:
            calendar versus information time, Statistics in Medicine 8(10), 1989). information / planned unless given.

    Raises:
        UnusableValuesError: information does not ascend from above 0, or `planned` or `alpha` is out of range.
    """
    _check(information, planned, alpha)
    if method == "confidence_sequence":
        return confidence_sequence_bounds(information, planned, alpha)
    fractions = np.minimum(information / planned if fractions is None else fractions, 1.0)
    if is_last:
        fractions[-1] = 1.0
    if method == "fixed_horizon":
        found = np.full(len(information), np.inf)
        found[np.flatnonzero(fractions >= 1)[:1]] = ndtri(1 - alpha / 2)
        return found
    if method != "group_sequential":
        raise UnusableValuesError(f"no method {method}; there are {', '.join(get_args(Method))}")
    return _spending_bounds(information, spent_alpha(fractions, alpha, spending))


def spent_alpha(fractions: Values, alpha: float, spending: Spending = "obrien_fleming") -> Values:
    """Return the alpha spent when `fractions` (0 to 1) of the planned information are in: all of it at 1.

    Half of it on either side, each by the paper's function for one side.
    """
    if spending == "pocock":
        return np.asarray(alpha * np.log1p((np.e - 1) * fractions))
    return np.asarray(4 * ndtr(ndtri(alpha / 4) / np.sqrt(np.maximum(fractions, 1e-12))))


def confidence_sequence_bounds(information: Values, planned: float, alpha: float = 0.05) -> Values:
    """Return the bounds of the asymptotic confidence sequence of Waudby-Smith et al., narrowest at `planned`.

    Its rho is the best for the planned information (Howard, Ramdas, McAuliffe and Sekhon, Time-uniform,
    nonparametric, nonasymptotic confidence sequences, Annals of Statistics 49(2), 2021). The coverage is asymptotic:
    with a few dozen units of heavy-tailed values it does not hold yet.
    """
    rho_squared = -(lambertw(-(alpha**2) / np.e, k=-1).real + 1) / planned
    grown = information * rho_squared
    return np.asarray(np.sqrt(2 * (grown + 1) / grown * np.log(np.sqrt(grown + 1) / alpha)))


def crossing_probabilities(information: Values, look_bounds: Values, drift: float = 0.0) -> tuple[Values, Values]:
    """Return the probability that each look is the first to cross: above, and below, [n_looks] each.

    `drift`: the effect in standard errors at an information of 1: the expected z of a look is drift * sqrt(its
    information). Numerical integration after Armitage, McPherson and Rowe, Repeated significance tests on
    accumulating data, JRSS A 132(2), 1969.
    """
    walk, nearest, before = _Walk(drift), np.inf, (0.0, 0.0)
    above, below = np.zeros(len(information)), np.zeros(len(information))
    for look, bound in enumerate(look_bounds):
        if walk.is_new(information[look]):
            walk.step(information[look])
            nearest, before = np.inf, (0.0, 0.0)
        nearest = min(nearest, float(bound))
        crossed = walk.beyond(nearest)
        above[look], below[look] = crossed[0] - before[0], crossed[1] - before[1]
        before = crossed
        walk.stay_within(nearest)
    return above, below


def repeated_p(
    method: Method,
    z: Values,
    information: Values,
    *,
    planned: float,
    is_last: bool = False,
    spending: Spending = "obrien_fleming",
    fractions: Values | None = None,
) -> float:
    """Return the smallest alpha at which any look so far would have been significant: a p-value for repeated looks.

    It is a p-value whenever one stops, so Holm's and other corrections may use it (Jennison and Turnbull, Group
    Sequential Methods, 2000, chapter 9). `z` [n_looks] belongs to `information`. Between 1e-12 and 1.
    """

    def crosses(alpha: float) -> bool:
        found = bounds(
            method,
            information,
            planned=planned,
            alpha=alpha,
            is_last=is_last,
            spending=spending,
            fractions=fractions,
        )
        return bool((np.abs(z) >= found).any())

    low, high = np.log(_SMALLEST_ALPHA), np.log(1 - 1e-9)
    if not crosses(float(np.exp(high))):
        return 1.0
    if crosses(float(np.exp(low))):
        return _SMALLEST_ALPHA
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if crosses(float(np.exp(middle))) else (middle, high)
    return float(np.exp(high))


def _spending_bounds(information: Values, spent: Values) -> Values:
    """Return the bounds at which the probability of having crossed is `spent` at each look."""
    walk, before, now = _Walk(), 0.0, 0.0
    found = np.full(len(information), np.inf)
    for look, total in enumerate(spent):
        if walk.is_new(information[look]):
            walk.step(information[look])
            before = now
        if total - before > 1e-15:
            found[look] = walk.bound_for((total - before) / 2)
            now = total
        walk.stay_within(found[look])
    return found


class _Walk:
    """The score of a test as a Brownian motion seen at looks: the density of where it is if it crossed no bound yet.

    The density stands on Gauss-Legendre points of panels of the continuation region; it is smooth there.
    """

    def __init__(self, drift: float = 0.0) -> None:
        self.drift = drift
        self.information = 0.0
        self.points, self.mass = np.zeros(1), np.ones(1)  # at information 0 it stands at 0
        self._from, self._mass_from, self._step = self.points, self.mass, 0.0

    def is_new(self, information: float) -> bool:
        return bool(information - self.information > NO_LOOK * information)

    def step(self, information: float) -> None:
        """Go on to a look."""
        self._from, self._mass_from = self.points, self.mass
        self._step, self.information = float(information) - self.information, float(information)

    def beyond(self, bound: float) -> tuple[float, float]:
        """Return the probability of being above, and below, a bound in standard errors at this look."""
        if not np.isfinite(bound):
            return 0.0, 0.0
        edge, moved, sd = bound * np.sqrt(self.information), self._from + self.drift * self._step, np.sqrt(self._step)
        return (
            float(self._mass_from @ ndtr((moved - edge) / sd)),
            float(self._mass_from @ ndtr((-edge - moved) / sd)),
        )

    def bound_for(self, one_side: float) -> float:
        """Return the bound above which there is a probability of `one_side`."""
        if self.beyond(0.0)[0] <= one_side:
            return 0.0
        return float(brentq(lambda bound: self.beyond(bound)[0] - one_side, 0.0, 2 * _FARTHEST, xtol=1e-10))

    def stay_within(self, bound: float) -> None:
        """Drop what lies beyond the bound."""
        sd = np.sqrt(self._step)
        reach = min(bound, _FARTHEST + abs(self.drift) * np.sqrt(self.information)) * np.sqrt(self.information)
        panels = int(np.clip(np.ceil(_POINTS_A_STEP * 2 * reach / sd / len(_NODES)), 2, 128))
        middle = (2 * np.arange(panels) + 1) / panels - 1  # of each panel, in units of reach
        self.points = (middle[:, None] + _NODES / panels).ravel() * reach
        offset = (self.points[:, None] - self._from[None, :] - self.drift * self._step) / sd
        density = np.exp(-0.5 * offset * offset) @ self._mass_from / (sd * np.sqrt(2 * np.pi))
        self.mass = density * np.tile(_WEIGHTS, panels) * reach / panels


def _check(information: Values, planned: float, alpha: float) -> None:
    if not (len(information) and information[0] > 0 and (np.diff(information) >= 0).all()):
        raise UnusableValuesError("the information of the looks must ascend from above 0")
    if not (planned > 0 and 0 < alpha < 1):
        raise UnusableValuesError(
            f"planned information must be above 0, not {planned:g}, and alpha in (0, 1), not {alpha:g}"
        )
