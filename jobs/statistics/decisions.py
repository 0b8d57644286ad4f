"""What follows from an experiment's effects: corrections for many of them, guardrails, and a verdict in words.

>>> verdict(primary, guardrails, is_over=False)
Verdict(word='ship', reasons=('revenue a user rose by 3.1% (0.4% to 5.9%)', 'p99 latency is within its margin'))
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from jobs.statistics.effects import Effect

Direction = Literal["up", "down"]
Word = Literal["ship", "stop", "go on", "cannot tell"]
State = Literal["holds", "broken", "open"]

Name = TypeVar("Name", bound=Hashable)


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return adjusted p-values; those at most alpha are significant, with any mistake at all in alpha of families.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2), 1979. A
    family is every metric and arm that a decision is taken on.
    """
    ordered = sorted(p_values, key=lambda name: p_values[name])
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def benjamini_hochberg(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return adjusted p-values; of those at most alpha, a share of alpha is false on average. For exploring only.

    Benjamini and Hochberg, Controlling the false discovery rate, JRSS B 57(1), 1995.
    """
    ordered = sorted(p_values, key=lambda name: p_values[name], reverse=True)
    adjusted, lowest = {}, 1.0
    for rank, name in enumerate(ordered):
        lowest = min(lowest, p_values[name] * len(ordered) / (len(ordered) - rank))
        adjusted[name] = lowest
    return {name: adjusted[name] for name in p_values}


@dataclass(frozen=True)
class Reading:
    """A metric's effect with its name, and the direction in which it is good.

    `p` is what the decision is taken on: for repeated looks and several metrics or arms, corrected for both. The
    effect's own interval is of one metric and does not know of the others.
    """

    metric: str
    better: Direction
    effect: Effect
    p: float


@dataclass(frozen=True)
class Guardrail:
    """A metric that may not get worse by `margin` or more: one-sided non-inferiority.

    `margin` is above 0, in the metric's unit. The effect's bound is that of a one-sided test: the method's bound for
    2 alpha.
    """

    metric: str
    better: Direction
    effect: Effect
    margin: float

    @property
    def state(self) -> State:
        """Whether it holds (surely less harm than the margin), is broken (surely more), or is open yet."""
        sign = 1 if self.better == "down" else -1
        harm, reach = sign * self.effect.difference, self.effect.reach
        if harm + reach < self.margin:
            return "holds"
        return "broken" if harm - reach >= self.margin else "open"


@dataclass(frozen=True)
class Verdict:
    """What to do, and why: the first reason is the one that decided."""

    word: Word
    reasons: tuple[str, ...]


def verdict(
    primary: Reading,
    guardrails: Sequence[Guardrail] = (),
    *,
    is_over: bool,
    alpha: float = 0.05,
    smallest_effect: float = 0.0,
    withheld: Sequence[str] = (),
) -> Verdict:
    """Return what to do with an arm.

    - cannot tell: a reason withholds the verdict, such as a sample-ratio mismatch; or the time is over and the
      primary metric may still have the effect that was asked for, or a guardrail is still open.
    - stop: a guardrail is broken, the primary metric got worse, or the time is over and even the upper end of the
      interval is below `smallest_effect`.
    - ship: the primary metric got better, and all guardrails hold.
    - go on: anything else while there is time.

    Args:
        primary: the metric that decides.
        guardrails: metrics that may not get worse.
        is_over: there will be no further look.
        alpha: the experiment's own.
        smallest_effect: the minimum detectable effect in the metric's unit, above 0; 0 where none was declared.
        withheld: reasons, each a sentence, for which nothing may be concluded.
    """
    if withheld:
        return Verdict("cannot tell", tuple(withheld))
    told = told_effect(primary)
    rails = tuple(f"{rail.metric} {_RAILS[rail.state]}" for rail in guardrails)
    broken = tuple(f"{rail.metric} {_RAILS['broken']}" for rail in guardrails if rail.state == "broken")
    is_open = any(rail.state == "open" for rail in guardrails)
    gain = primary.effect.difference if primary.better == "up" else -primary.effect.difference
    best = gain + primary.effect.reach
    is_significant = primary.p <= alpha
    if broken:
        return Verdict("stop", (*broken, told))
    if is_significant and gain < 0:
        return Verdict("stop", (f"{told}, which is worse", *rails))
    if is_significant and not is_open:
        return Verdict("ship", (told, *rails))
    if is_over and not is_significant and best < smallest_effect:
        return Verdict("stop", (f"{told}: an effect as large as was asked for is ruled out", *rails))
    why = "but a guardrail is open" if is_significant else "not significant" if is_over else "not significant yet"
    return Verdict("cannot tell" if is_over else "go on", (f"{told}, {why}", *rails))


_RAILS: dict[State, str] = {
    "holds": "is within its margin",
    "broken": "is worse by more than its margin",
    "open": "may yet be worse by more than its margin",
}


def told_effect(reading: Reading) -> str:
    """Return the effect as a sentence: relative where it can be, otherwise in the metric's unit."""
    effect = reading.effect
    moved = "did not move" if effect.difference == 0 else "rose" if effect.difference > 0 else "fell"
    if not np.isfinite(effect.bound):
        return f"{reading.metric} {moved} so far; it is too early for an interval"
    if np.isfinite(effect.lift):
        size = f"by {abs(effect.lift):.2%} ({effect.lift_low:+.2%} to {effect.lift_high:+.2%})"
    else:
        size = f"by {abs(effect.difference):.4g} ({effect.low:+.4g} to {effect.high:+.4g})"
    return f"{reading.metric} {moved} {size}"
