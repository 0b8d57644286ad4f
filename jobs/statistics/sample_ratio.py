"""Whether the arms got the shares of units that were declared: if not, the assignment or the log is broken.

Fabijan et al., Diagnosing Sample Ratio Mismatch in Online Controlled Experiments, KDD 2019.

>>> sample_ratio({"control": 50_612, "new": 49_388}, {"control": 0.5, "new": 0.5}).p
0.000108
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import chdtrc, chndtr
from scipy.stats import binomtest, chi2

from jobs.statistics import UnusableValuesError

ALPHA = 0.001
"""False alarms of all segments and looks of an experiment together."""
_FEW = 1_000  # units expected in the smallest of several arms, below which chi-square's tail may be too light


@dataclass(frozen=True)
class SampleRatio:
    """The units of one segment beside what the shares make expect.

    `is_mismatch`: p is below ALPHA, or below its part of it where several segments were tested.
    """

    counts: dict[str, int]
    expected: dict[str, float]
    p: float
    is_mismatch: bool


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, float], tests: int = 1) -> SampleRatio:
    """Test the units of each arm against the declared shares, which are scaled to sum to 1.

    Pearson's chi-square; of two arms, and where an arm expects fewer than 1,000 units, p is at least that of exact
    binomial tests of the arms (Bonferroni for three and more), as few units would raise more false alarms than many.
    `tests`: how many segments and looks share ALPHA.

    Raises:
        UnusableValuesError: an arm has units and no share, a share is not above 0, or there are under 2 arms.
    """
    if strange := sorted(set(counts) - set(shares)):
        raise UnusableValuesError(f"arm {strange[0]} has units but no declared share")
    if len(shares) < 2 or min(shares.values()) <= 0:
        raise UnusableValuesError("at least two arms need shares above 0")
    found = {arm: counts.get(arm, 0) for arm in shares}
    n_units, whole = sum(found.values()), sum(shares.values())
    expected = {arm: n_units * share / whole for arm, share in shares.items()}
    if not n_units:
        return SampleRatio(found, expected, 1.0, False)
    statistic = sum((found[arm] - expected[arm]) ** 2 / expected[arm] for arm in shares)
    p = float(chdtrc(len(shares) - 1, statistic))
    if p < ALPHA and (len(shares) == 2 or min(expected.values()) < _FEW):
        exact = [binomtest(found[arm], n_units, shares[arm] / whole).pvalue for arm in shares]
        p = max(p, min(1.0, min(exact) * (len(exact) if len(exact) > 2 else 1)))
    return SampleRatio(found, expected, p, p < ALPHA / tests)


def sample_ratios(
    segments: Mapping[str, Mapping[str, int]], shares: Mapping[str, float], looks: int = 1
) -> dict[str, SampleRatio]:
    """Test every segment's units by arm. Count all units as one segment among them.

    The segments, and the `looks` that an experiment gets, share ALPHA (Bonferroni): all of them together raise a
    false alarm in at most 0.1% of experiments. With one look, it is 0.1% of looks.
    """
    return {name: sample_ratio(counts, shares, len(segments) * looks) for name, counts in segments.items()}


def noticeable_mismatch(
    n_units: float, shares: Mapping[str, float], *, power: float = 0.99, tests: int = 1
) -> dict[str, float]:
    """Return by arm the share of its own units that must go missing for the test to notice it with this power.

    The mismatch of 0.02 for an arm means: 2% of its units are never seen, all others are. `n_units` are those that
    the declared shares assign; `tests` as in `sample_ratio`. It is 1 where even losing all would not be noticed.
    """
    limit = float(chi2.isf(ALPHA / tests, len(shares) - 1))
    needed = brentq(lambda shift: chndtr(limit, len(shares) - 1, shift) - (1 - power), 0.0, 4 * limit + 200)
    whole = sum(shares.values())
    return {arm: _lost_share(float(needed), n_units, share / whole) for arm, share in shares.items()}


def _lost_share(noncentrality: float, n_units: float, share: float) -> float:
    """Return which share of an arm must be lost for this noncentrality, with the units that are left."""

    def short_by(lost: float) -> float:
        seen = 1 - share * lost
        moved = share - share * (1 - lost) / seen
        return float(n_units * seen * moved**2 / (share * (1 - share)) - noncentrality)

    return float(brentq(short_by, 0.0, 1.0)) if short_by(1.0) > 0 else 1.0
