"""What a policy would have earned on requests that another policy answered: off-policy evaluation, with its limits.

Every estimator returns a number a row whose mean is the estimate, for single places and, in
`jobs.statistics.slate_policies`, for slates. `policy_value` gives the mean an interval clustered by unit. `trust`
says whether the weights allow to believe that interval, and `judge` compares the policy with the one that was live:
better, worse or cannot tell.

>>> weight = importance_weights(target, logged)
>>> rows = snips(clicked, weight)
>>> judge(policy_value(rows - clicked, user), trust(weight, clicked, user)).word
'cannot tell'
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from jobs.statistics import Codes, UnusableValuesError, Values
from jobs.statistics.effects import TWO_SIDED_95, linearised

LEAST_EFFECTIVE_SAMPLE = 1_000.0
LEAST_CLICKS = 100
MEAN_WEIGHT_WITHIN = 0.05
LARGEST_SHARE = 0.005
"""Of the sum of squared weights, which one weight may have: chosen by simulation, see docs/experiments.md."""

Standing = Literal["better", "worse", "cannot tell"]


@dataclass(frozen=True)
class PolicyValue:
    """An estimate of a policy's value, or of a difference of two, a row: with its error over units."""

    value: float
    standard_error: float
    units: int
    bound: float = TWO_SIDED_95

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.value - self.bound * self.standard_error

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.value + self.bound * self.standard_error


@dataclass(frozen=True)
class Trust:
    """Whether an interval of weighted rows can be believed.

    Attributes:
        effective_sample: Kish's, (sum of weights)^2 / sum of squares, of rows or of units, whichever is less. Of
            slates it is the lowest over places.
        clicks: rows with a reward above 0 and a weight.
        mean_weight: 1 if the log holds whatever the policy would show; of slates, that of the place farthest from 1.
        largest_weight: of any row and place, whatever its sign.
        largest_share: that weight's square, as a share of its place's sum of squares: of slates, the highest.
        reasons: a sentence for each limit that is exceeded; empty within all limits.
    """

    effective_sample: float
    clicks: int
    mean_weight: float
    largest_weight: float
    largest_share: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class PolicyJudgement:
    """The policy against the one that was live, and why."""

    word: Standing
    reasons: tuple[str, ...]


def importance_weights(target: Values, logged: Values) -> Values:
    """Return target / logged: how much oftener the policy would have shown what was shown. Any shape, one for both.

    Raises:
        UnusableValuesError: shapes differ, a logged propensity is not in (0, 1], or a target one not in [0, 1].
    """
    if target.shape != logged.shape:
        raise UnusableValuesError(f"propensities {target.shape} of the policy do not fit {logged.shape} logged ones")
    if not ((logged > 0) & (logged <= 1 + 1e-9)).all():
        raise UnusableValuesError("a logged propensity must be above 0 and at most 1; leave rows without one out")
    if not ((target >= 0) & (target <= 1 + 1e-9)).all():
        raise UnusableValuesError("a policy's propensity must be between 0 and 1")
    return np.asarray(target / logged)


def ips(reward: Values, weight: Values) -> Values:
    """Return inverse propensity scores [n] (Horvitz and Thompson, JASA 47, 1952). Unbiased where all is supported."""
    return np.asarray(weight * reward)


def snips(reward: Values, weight: Values) -> Values:
    """Return self-normalised scores [n]; their mean is sum(weight * reward) / sum(weight).

    Swaminathan and Joachims, The Self-Normalized Estimator for Counterfactual Learning, NeurIPS 2015. The rows carry
    the error of the normalisation (delta method). 0 where no row has a weight: `trust` tells.
    """
    return linearised(weight * reward, weight) if weight.any() else np.zeros_like(reward)


def doubly_robust(reward: Values, weight: Values, expected: Values, expected_by_target: Values) -> Values:
    """Return doubly robust scores [n] (Dudík, Langford and Li, ICML 2011).

    Args:
        reward: [n], of what was shown.
        weight: [n].
        expected: [n], a model's reward of what was shown.
        expected_by_target: [n], the model's reward averaged over what the policy would show in that request.
    """
    return np.asarray(expected_by_target + weight * (reward - expected))


def self_normalised_doubly_robust(
    reward: Values, weight: Values, expected: Values, expected_by_target: Values
) -> Values:
    """Return `doubly_robust` with the correction divided by the mean weight."""
    return np.asarray(expected_by_target + snips(reward - expected, weight))


def switch_doubly_robust(
    reward: Values, weight: Values, expected: Values, expected_by_target: Values, *, switch: float
) -> Values:
    """Return `doubly_robust` without the correction where a weight exceeds `switch`: biased, but less noisy.

    Wang, Agarwal and Dudík, Optimal and Adaptive Off-policy Evaluation in Contextual Bandits, ICML 2017.
    """
    return doubly_robust(reward, np.where(weight <= switch, weight, 0.0), expected, expected_by_target)


def policy_value(rows: Values, unit: Codes, bound: float = TWO_SIDED_95) -> PolicyValue:
    """Return the mean of an estimator's rows [n], with its error over units [n]; one unit's rows are not independent.

    For a difference pass the difference of rows, as of an estimator and the reward itself, which is what the live
    policy earned: they are paired.

    Raises:
        UnusableValuesError: lengths differ, a row is not finite, or there are fewer than 2 units.
    """
    if rows.shape != unit.shape or not np.isfinite(rows).all():
        raise UnusableValuesError("a policy's value needs finite numbers, one a row, and a unit for each")
    n_units, place = _units(unit)
    if n_units < 2:
        raise UnusableValuesError("a policy's value needs rows of at least 2 units")
    value = float(rows.mean())
    residual = np.bincount(place, rows - value)
    error = float(np.sqrt((residual**2).sum() * n_units / (n_units - 1))) / len(rows)
    return PolicyValue(value, error, n_units, bound)


def trust(weight: Values, reward: Values, unit: Codes) -> Trust:
    """Return whether weights may be trusted.

    Simulated intervals of 95% cover the truth in 93% and more within these limits; outside they may in 70%. A weight
    may be larger in a longer log: what misleads is that few rows decide.

    Args:
        weight: [n], or [n, places] for slates: the weights as the estimator uses them.
        reward: the same shape.
        unit: [n].
    """
    columns = weight.reshape(len(weight), -1)
    n_units, place = _units(unit)
    by_unit = [np.bincount(place, column, n_units) for column in columns.T]
    effective = min(_effective(column) for column in [*columns.T, *by_unit])
    means = columns.mean(axis=0)
    mean = float(means[np.argmax(np.abs(means - 1))])
    largest, clicks = float(np.abs(columns).max()), int(((reward > 0) & (weight != 0)).sum())
    squares = columns**2
    share = float((squares.max(axis=0) / np.maximum(squares.sum(axis=0), 1e-300)).max())
    reasons = []
    if not effective >= LEAST_EFFECTIVE_SAMPLE:
        reasons.append(f"the effective sample is {effective:,.1f}, below {LEAST_EFFECTIVE_SAMPLE:,.0f}")
    if clicks < LEAST_CLICKS:
        reasons.append(f"{clicks} clicks count, fewer than {LEAST_CLICKS}")
    if not abs(mean - 1) <= MEAN_WEIGHT_WITHIN:
        reasons.append(
            f"the mean weight is {mean:.3f}, not 1 ± {MEAN_WEIGHT_WITHIN:g}: the log lacks what it would show"
        )
    if not share <= LARGEST_SHARE:
        reasons.append(f"one weight, {largest:,.1f}, decides {share:.1%} of the error, above {LARGEST_SHARE:.1%}")
    return Trust(effective, clicks, mean, largest, share, tuple(reasons))


def judge(difference: PolicyValue, trusted: Trust) -> PolicyJudgement:
    """Return whether the policy is better or worse than the live one. `difference`: the policy minus the live one."""
    if trusted.reasons:
        return PolicyJudgement("cannot tell", trusted.reasons)
    told = f"{difference.value:+.4g} a row ({difference.low:+.4g} to {difference.high:+.4g})"
    if difference.low > 0:
        return PolicyJudgement("better", (told,))
    if difference.high < 0:
        return PolicyJudgement("worse", (told,))
    return PolicyJudgement("cannot tell", (f"{told}: no significant difference",))


def _units(unit: Codes) -> tuple[int, Codes]:
    found, place = np.unique(unit, return_inverse=True)
    return len(found), place


def _effective(weight: Values) -> float:
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0
