"""What came of the running experiments by the end of a day: `marts/evaluation/ds=<day>/experiments.json`.

>>> ExperimentOutcomes.read(lake, date(2026, 2, 14)).experiments["varied-head"].verdicts[0].word
'go on'
"""

from datetime import date
from typing import Literal

import msgspec

from jobs.lake.evaluations import EvaluationRecord
from jobs.statistics.decisions import Word

Role = Literal["primary", "secondary", "guardrail"]


class MetricEffect(msgspec.Struct, frozen=True, kw_only=True):
    """One arm against control in one metric. What is not known yet is None."""

    metric: str
    role: Role
    arm: str
    value: float
    control_value: float
    difference: float
    low: float | None
    """With `high`, the interval at the experiment's alpha: over all looks together it misses in that share."""
    high: float | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    p: float
    """For all looks so far. Those of the primary metric are corrected for the number of arms (Holm), those of
    secondary metrics together (Benjamini and Hochberg)."""
    says: str
    """The effect in words, or how a guardrail stands."""

    def change_and_interval(self) -> tuple[str, str]:
        """Return the change and its interval as text, relative to control where that can be said."""
        if self.lift is not None:
            value, low, high = f"{self.lift:+.2%}", self.lift_low, self.lift_high
            return value, f"{low:+.2%} to {high:+.2%}" if low is not None and high is not None else "too early"
        interval = f"{self.low:+.4g} to {self.high:+.4g}" if self.low is not None and self.high is not None else ""
        return f"{self.difference:+.4g}", interval or "too early"


class Look(msgspec.Struct, frozen=True):
    """The primary metric of one arm as it stood at the end of a day: relative to control where that can be said."""

    day: date
    value: float
    low: float | None
    high: float | None


class Segment(msgspec.Struct, frozen=True):
    """The units of a segment by arm, beside what the declared shares make expect."""

    counts: dict[str, int]
    expected: dict[str, float]
    p: float
    is_mismatch: bool


class ArmVerdict(msgspec.Struct, frozen=True):
    """What to do with an arm, and why: the first reason is the one that decided."""

    arm: str
    word: Word
    reasons: list[str]


class ExperimentOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one experiment so far."""

    kind: str
    unit: str
    control: str
    primary: str
    since: date
    """The first day that counts."""
    until: date
    last_day: date
    units: dict[str, int]
    """By arm."""
    verdicts: list[ArmVerdict]
    effects: list[MetricEffect] = []
    looks: dict[str, list[Look]] = {}
    """By arm, a look a day."""
    segments: dict[str, Segment] = {}
    """`all`, and the devices."""
    notes: list[str] = []
    """How the numbers were made, a sentence each."""

    def lines(self, name: str) -> list[str]:
        """Return the verdicts as text, a line an arm."""
        return [f"{name}, {of.arm}: {of.word}: {'; '.join(of.reasons)}" for of in self.verdicts]


class ExperimentOutcomes(EvaluationRecord, frozen=True, kw_only=True):
    """The running experiments of a day, by name."""

    FILE = "experiments.json"

    experiments: dict[str, ExperimentOutcome]
