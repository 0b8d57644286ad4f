"""The metrics that an experiment may declare: what each is of a unit, and in which direction it is good.

>>> unit_values(MEASURES["ctr"], units, arm=1)
"""

from dataclasses import dataclass
from typing import Literal

from jobs.config.experiments import Guardrail, Metric
from jobs.experiments.unit_sums import Before, UnitSums
from jobs.numeric.arrays import Flags, Values
from jobs.statistics.decisions import Direction
from jobs.statistics.effects import UnitValues, winsorised


@dataclass(frozen=True)
class Measure:
    """A mean a unit, or the ratio of two sums."""

    total: str
    """A column of `marts/experiment_units`."""
    count: str | None = None
    """The ratio's denominator."""
    better: Direction = "up"
    is_any: bool = False
    """Whether there was any at all, instead of how much."""
    before: Literal["revenue_minor", "order_count"] | None = None
    """What it was before the experiment, where purchases tell."""
    is_cut: bool = False
    """Whether the highest values are cut off at one limit for all arms."""


MEASURES: dict[Metric | Guardrail, Measure] = {
    "revenue": Measure("revenue_minor", before="revenue_minor", is_cut=True),
    "conversion": Measure("order_count", is_any=True, before="order_count"),
    "orders": Measure("order_count", before="order_count"),
    "ctr": Measure("click_count", "exposure_count"),
    "session_duration": Measure("session_seconds", "session_count"),
    "items_per_session": Measure("session_item_count", "session_count"),
    "degraded_share": Measure("filled_count", "place_count", better="down"),
    "short_share": Measure("short_count", "request_count", better="down"),
}


def unit_values(measure: Measure, units: UnitSums, before: Before | None) -> tuple[dict[str, UnitValues], float]:
    """Return by arm what each of its units did so far, and the limit of values that are cut off; 0 without one."""
    seen = {arm: units.seen[:, number] for number, arm in enumerate(units.arms)}
    totals = {arm: _of(units.sums[measure.total][:, number], measure)[seen[arm]] for number, arm in enumerate(seen)}
    limit = 0.0
    if measure.is_cut:
        totals, limit = winsorised(totals)
    earlier = _before(measure, seen, before)
    return {
        arm: UnitValues(
            totals[arm],
            units.sums[measure.count][seen[arm], number] if measure.count else None,
            earlier[arm] if earlier else None,
        )
        for number, arm in enumerate(seen)
    }, limit


def _before(measure: Measure, seen: dict[str, Flags], before: Before | None) -> dict[str, Values] | None:
    if before is None or measure.before is None:
        return None
    values = _of(getattr(before, measure.before), measure)
    by_arm = {arm: values[flags] for arm, flags in seen.items()}
    return winsorised(by_arm)[0] if measure.is_cut else by_arm


def _of(values: Values, measure: Measure) -> Values:
    return (values > 0).astype(values.dtype) if measure.is_any else values
