"""The effect of an arm against control, for means a unit and for ratios such as clicks an impression.

A ratio's variance is that of the delta method over units, as the events of one unit are not independent (Deng,
Knoblich and Lu, Applying the Delta Method in Metric Analytics, KDD 2018). With values of the time before the
experiment, the part of the variance that they explain is removed: CUPED (Deng, Xu, Kohavi and Walker, Improving the
Sensitivity of Online Controlled Experiments by Utilizing Pre-Experiment Data, WSDM 2013).

>>> arms = arm_summaries({"control": UnitValues(clicks_c, views_c), "new": UnitValues(clicks_n, views_n)})
>>> effect(arms["new"], arms["control"]).difference
0.0021
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from jobs.statistics import UnusableValuesError, Values

TWO_SIDED_95 = float(ndtri(0.975))
"""Standard errors on either side of a 95% interval that is looked at once."""


@dataclass(frozen=True)
class UnitValues:
    """What each unit of an arm did: every array is [n_units], a number a unit in the same order, all days summed.

    Attributes:
        total: the metric itself, or a ratio's numerator.
        count: a ratio's denominator; None for a mean a unit.
        total_before: `total` in the time before the experiment; 0 for a unit that was not there. None without CUPED.
        count_before: `count` in that time. Needed with `total_before` if there is a `count`.
    """

    total: Values
    count: Values | None = None
    total_before: Values | None = None
    count_before: Values | None = None


@dataclass(frozen=True)
class ArmSummary:
    """An arm's value, and how sure it is: all that an effect needs.

    Attributes:
        units: how many units the arm has.
        value: the mean a unit, or the ratio; with CUPED, adjusted to the mean of the time before over all arms.
        variance: of one unit's part in the value; the value's standard error is sqrt(variance / units).
        removed_share: share of the variance that CUPED removed in this arm; 0 without it.
    """

    units: int
    value: float
    variance: float
    removed_share: float = 0.0

    @property
    def standard_error(self) -> float:
        """The standard error of `value`, in its unit."""
        return float(np.sqrt(self.variance / self.units))


@dataclass(frozen=True)
class Effect:
    """An arm against control, in the metric's unit, and as a share of control's value.

    Attributes:
        difference: treatment's value minus control's.
        standard_error: of the difference.
        bound: standard errors on either side of `low` and `high`; infinite when it is too early to look.
        p: two-sided p-value of a single look. For repeated looks see `jobs.statistics.sequential.repeated_p`.
        lift: difference / control's value, with an interval of its own; nan unless both values are above 0.
    """

    treatment: ArmSummary
    control: ArmSummary
    difference: float
    standard_error: float
    bound: float
    p: float
    lift: float
    lift_low: float
    lift_high: float

    @property
    def z(self) -> float:
        """The difference in standard errors; 0 if there is neither difference nor error."""
        if self.standard_error:
            return self.difference / self.standard_error
        return float(np.sign(self.difference) * np.inf) if self.difference else 0.0

    @property
    def reach(self) -> float:
        """Half of the interval's width; infinite when it is too early to look."""
        return self.bound * self.standard_error if np.isfinite(self.bound) else float("inf")

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.difference - self.reach

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.difference + self.reach


def arm_summaries(arms: Mapping[str, UnitValues]) -> dict[str, ArmSummary]:
    """Return each arm's summary. Where arms have values of the time before, CUPED removes what they explain.

    CUPED's coefficient is one for all arms, fitted to their units together.

    Raises:
        UnusableValuesError: an arm has fewer than 2 units, lengths differ, a value is not finite, a ratio's
            denominators sum to 0, or some arms only have values of the time before.
    """
    for name, arm in arms.items():
        _check(name, arm)
    before = {name: _before(arm) for name, arm in arms.items()}
    having = [arm for arm in before.values() if arm is not None]
    if having and len(having) < len(arms):
        raise UnusableValuesError("only some arms have values of the time before; give them for all arms or for none")
    if not having:
        return {name: _summary(linearised(arm.total, arm.count)) for name, arm in arms.items()}
    values = linearised(*_together(list(arms.values())))
    covariates = linearised(*_together(having))
    covariance = np.cov(values, covariates)
    coefficient = float(covariance[0, 1] / covariance[1, 1]) if covariance[1, 1] > 0 else 0.0
    centre = float(covariates.mean())
    summaries = {}
    for name, arm in arms.items():
        earlier = before[name]
        assert earlier is not None
        plain = linearised(arm.total, arm.count)
        adjusted = _summary(plain - coefficient * (linearised(earlier.total, earlier.count) - centre))
        spread = float(plain.var(ddof=1))
        summaries[name] = replace(adjusted, removed_share=1 - adjusted.variance / spread if spread else 0.0)
    return summaries


def effect(treatment: ArmSummary, control: ArmSummary, bound: float = TWO_SIDED_95) -> Effect:
    """Return what the treatment changed. `bound` is in standard errors, as from `jobs.statistics.sequential.bounds`.

    The lift's interval is symmetric on the logarithm's scale (delta method), so that it never falls below -100%.
    """
    difference = treatment.value - control.value
    error = float(np.hypot(treatment.standard_error, control.standard_error))
    lift = lift_low = lift_high = float("nan")
    if treatment.value > 0 and control.value > 0:
        ratio = treatment.value / control.value
        error_of_log = float(
            np.hypot(treatment.standard_error / treatment.value, control.standard_error / control.value)
        )
        width = bound * error_of_log if np.isfinite(bound) else np.inf
        lift, lift_low = ratio - 1, float(ratio * np.exp(-width)) - 1
        with np.errstate(over="ignore"):
            lift_high = float(ratio * np.exp(width)) - 1
    found = Effect(treatment, control, difference, error, bound, 1.0, lift, lift_low, lift_high)
    return replace(found, p=float(2 * ndtr(-abs(found.z))))


def linearised(total: Values, count: Values | None = None) -> Values:
    """Return a number a unit whose mean is the mean of `total`, or the ratio of sums if there is a `count`.

    The variance of that mean is the variance of the ratio by the delta method over units.
    """
    if count is None:
        return np.asarray(total, dtype=np.float64)
    ratio = total.sum() / count.sum()
    return np.asarray(ratio + (total - ratio * count) / count.mean(), dtype=np.float64)


def winsorised(arms: Mapping[str, Values], quantile: float = 0.99) -> tuple[dict[str, Values], float]:
    """Return the arms' values cut off at one limit for all arms, and that limit.

    The limit is the `quantile` of all values above 0: most units of a shop spend nothing. Without any, it is 0. A
    mean of such values is not the mean of what was spent: whoever shows it must name the limit.
    """
    spent = np.concatenate([values[values > 0] for values in arms.values()])
    limit = float(np.quantile(spent, quantile)) if len(spent) else 0.0
    return {name: np.minimum(values, limit) for name, values in arms.items()}, limit


def _summary(per_unit: Values) -> ArmSummary:
    return ArmSummary(len(per_unit), float(per_unit.mean()), float(per_unit.var(ddof=1)))


def _before(arm: UnitValues) -> UnitValues | None:
    return None if arm.total_before is None else UnitValues(arm.total_before, arm.count_before)


def _together(arms: list[UnitValues]) -> tuple[Values, Values | None]:
    counts = [arm.count for arm in arms if arm.count is not None]
    return np.concatenate([arm.total for arm in arms]), np.concatenate(counts) if counts else None


def _check(name: str, arm: UnitValues) -> None:
    if len(arm.total) < 2:
        raise UnusableValuesError(f"arm {name} has {len(arm.total)} units; an effect needs at least 2 in each arm")
    if (arm.count is None) != (arm.count_before is None) and arm.total_before is not None:
        raise UnusableValuesError(f"arm {name}: give both count and count_before, or neither")
    for column in (arm.total, arm.count, arm.total_before, arm.count_before):
        if column is None:
            continue
        if column.shape != arm.total.shape or not np.isfinite(column).all():
            raise UnusableValuesError(f"arm {name} needs one finite number a unit in each of its columns")
    for count in (arm.count, arm.count_before):
        if count is not None and count.sum() <= 0:
            raise UnusableValuesError(f"arm {name}: the denominators of a ratio sum to {count.sum():g}, not above 0")
