"""One metric of one arm, looked at at the end of each day: how sure each look is, and how the effect went.

>>> looks = Looks(Schedule.of(experiment, since), [], [], [])
>>> looks.add(day, effect(new, control), information=unit_days)
>>> looks.now(alpha=0.05).low
"""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from jobs.config.experiments import Experiment
from jobs.experiments.outcome import Look, MetricEffect, Role
from jobs.experiments.plan import METHODS
from jobs.numeric.arrays import Values
from jobs.statistics.effects import Effect, effect
from jobs.statistics.sequential import Method, bounds, repeated_p

LEAST_UNITS = 100
"""Units without which an arm is not looked at: an interval of fewer is not yet what it says."""


@dataclass(frozen=True)
class Schedule:
    """When an experiment is looked at: alpha is spent by the days that have passed."""

    method: Method
    since: date
    nights: int

    @classmethod
    def of(cls, one: Experiment, since: date) -> "Schedule":
        """Return the schedule of an experiment that counts since a day."""
        return cls(METHODS[one.looks], since, (one.last_day - since).days + 1)

    def passed(self, day: date) -> float:
        """Return the share of the days that has passed at the end of one."""
        return ((day - self.since).days + 1) / self.nights


@dataclass(frozen=True)
class Looks:
    """The looks so far; none on days that had too few units."""

    schedule: Schedule
    days: list[date]
    effects: list[Effect]
    """With the bounds of a single look."""
    information: list[float]

    def __bool__(self) -> bool:
        return bool(self.days)

    def add(self, day: date, found: Effect, information: float) -> None:
        """Add the look of the next day."""
        self.days.append(day)
        self.effects.append(found)
        self.information.append(information)

    def p(self) -> float:
        """Return a p-value for all looks together."""
        z = np.array([found.z for found in self.effects])
        fractions = np.array([self.schedule.passed(day) for day in self.days])
        return repeated_p(
            self.schedule.method, z, np.array(self.information), planned=self._planned, fractions=fractions
        )

    def now(self, alpha: float) -> Effect:
        """Return the effect of the last look, with an interval that holds over all looks."""
        return _with_bound(self.effects[-1], float(self._bounds(alpha)[-1]))

    def path(self, alpha: float) -> list[Look]:
        """Return every look with its interval, relative to control where that can be said."""
        if not self:
            return []
        path = []
        for day, found, bound in zip(self.days, self.effects, self._bounds(alpha).tolist(), strict=True):
            now = _with_bound(found, bound)
            if np.isfinite(now.lift):
                path.append(Look(day, now.lift, finite(now.lift_low), finite(now.lift_high)))
            else:
                path.append(Look(day, now.difference, finite(now.low), finite(now.high)))
        return path

    def _bounds(self, alpha: float) -> Values:
        fractions = np.array([self.schedule.passed(day) for day in self.days])
        information = np.array(self.information)
        return bounds(
            self.schedule.method, information, planned=self._planned, alpha=min(alpha, 0.999), fractions=fractions
        )

    @property
    def _planned(self) -> float:
        """The information at the end, if all days bring what the first did: fixed from the first look on."""
        return self.information[0] * self.schedule.nights


def _with_bound(found: Effect, bound: float) -> Effect:
    """Return an effect with another bound; a preference of an interleaving has no lift."""
    if np.isfinite(found.lift):
        return effect(found.treatment, found.control, bound)
    return replace(found, bound=bound)


def finite(value: float) -> float | None:
    """Return a number as JSON has it: None where it is not known or has no end."""
    return float(value) if np.isfinite(value) else None


def told(metric: str, role: Role, arm: str, now: Effect, p: float, says: str) -> MetricEffect:
    """Return an effect as a record."""
    return MetricEffect(
        metric=metric,
        role=role,
        arm=arm,
        value=now.treatment.value,
        control_value=now.control.value,
        difference=now.difference,
        low=finite(now.low),
        high=finite(now.high),
        lift=finite(now.lift),
        lift_low=finite(now.lift_low),
        lift_high=finite(now.lift_high),
        p=p,
        says=says,
    )
