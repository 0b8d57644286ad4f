"""Judge an A/B test: each arm against control, in every declared metric, with the units that each arm got."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.experiments import Experiment, Metric
from jobs.config.experiments import Guardrail as Guard
from jobs.experiments.looks import LEAST_UNITS, Looks, Schedule, told
from jobs.experiments.measures import MEASURES, unit_values
from jobs.experiments.outcome import ArmVerdict, ExperimentOutcome, MetricEffect, Segment
from jobs.experiments.unit_sums import Before, UnitSums
from jobs.numeric.arrays import Flags
from jobs.statistics import UnusableValuesError
from jobs.statistics.decisions import Guardrail, Reading, benjamini_hochberg, holm, told_effect, verdict
from jobs.statistics.effects import arm_summaries, effect
from jobs.statistics.sample_ratio import SampleRatio, sample_ratios

MOST_CROSSED = 0.01
"""The share of units seen in two arms above which there is no verdict."""
SEGMENT_UNITS = 100
"""A device with fewer units is no segment."""
MOST_SEGMENTS = 8
_MetricArm = tuple[Metric | Guard, str]
_RAILS = {"holds": "holds", "broken": "is broken", "open": "is open yet"}
_UNIT_NAMES = {"user": "shopper", "request": "request"}


def judge_test(
    one: Experiment, units: UnitSums, before: Before | None, shares: Mapping[str, float], since: date, ds: date
) -> ExperimentOutcome:
    """Return what came of an A/B test by the end of a day.

    Args:
        one: the experiment.
        units: of the arms with a share, its days not added yet.
        before: what the units bought before the start.
        shares: of the arms that have one.
        since: the first day that counts.
        ds: the day.
    """
    schedule = Schedule.of(one, since)
    others = [arm for arm in units.arms if arm != one.control]
    looks, limit = _all_looks(one, units, before, schedule)
    counts = _counts(units)
    segments = sample_ratios(_segments(units, shares), shares, looks=schedule.nights) if len(shares) > 1 else {}
    withheld = _withheld(units, segments)
    corrected = holm({arm: looks[one.primary, arm].p() for arm in others if looks[one.primary, arm]})
    verdicts, effects = [], []
    for arm in others:
        primary = looks[one.primary, arm]
        is_over = ds >= one.last_day
        if not primary:
            few = f"{counts[one.control]:,} units have come to {one.control} and {counts[arm]:,} to {arm}"
            verdicts.append(ArmVerdict(arm, "cannot tell" if is_over else "go on", [f"{few}, too few to compare"]))
            continue
        now = primary.now(one.alpha)
        reading = Reading(one.primary, MEASURES[one.primary].better, now, corrected[arm])
        rails = _guardrails(one, looks, arm)
        said = verdict(
            reading,
            rails,
            is_over=is_over,
            alpha=one.alpha,
            smallest_effect=one.effect * abs(now.control.value),
            withheld=withheld,
        )
        verdicts.append(ArmVerdict(arm, said.word, list(said.reasons)))
        effects.append(told(one.primary, "primary", arm, now, corrected[arm], told_effect(reading)))
        for metric, rail in zip(one.guardrails, rails, strict=True):
            if watched := looks[metric, arm]:
                says = f"{_RAILS[rail.state]}: at most {one.guardrails[metric]:.1%} worse is allowed"
                effects.append(told(metric, "guardrail", arm, rail.effect, watched.p(), says))
    return ExperimentOutcome(
        kind=one.kind,
        unit=one.unit,
        control=one.control,
        primary=one.primary,
        since=since,
        until=ds,
        last_day=one.last_day,
        units=counts,
        verdicts=verdicts,
        effects=effects + _explored(one, looks, others),
        looks={arm: looks[one.primary, arm].path(one.alpha) for arm in others},
        segments={name: Segment(of.counts, of.expected, of.p, of.is_mismatch) for name, of in segments.items()},
        notes=_notes(one, units, before, looks, limit, since),
    )


def _all_looks(
    one: Experiment, units: UnitSums, before: Before | None, schedule: Schedule
) -> tuple[dict[_MetricArm, Looks], float]:
    """Add the days up, and look at each metric of each arm after each day.

    Return the looks by metric and arm, and the limit at which revenue was cut off at the last one.
    """
    metrics = dict.fromkeys([one.primary, *one.secondary, *one.guardrails])
    others = [arm for arm in units.arms if arm != one.control]
    looks = {(metric, arm): Looks(schedule, [], [], []) for metric in metrics for arm in others}
    limit = 0.0
    for day in units.days:
        units.add(day)
        for metric in metrics:
            values, cut_at = unit_values(MEASURES[metric], units, before)
            limit = cut_at or limit
            for arm in others:
                if min(len(values[one.control].total), len(values[arm].total)) < LEAST_UNITS:
                    continue
                try:
                    summaries = arm_summaries({one.control: values[one.control], arm: values[arm]})
                except UnusableValuesError:
                    continue  # nothing to divide by: there is no look
                looks[metric, arm].add(day, effect(summaries[arm], summaries[one.control]), units.unit_days)
    return looks, limit


def _guardrails(one: Experiment, looks: Mapping[_MetricArm, Looks], arm: str) -> list[Guardrail]:
    """Return how an arm's guardrails stand. One that has no look yet is open, whatever its numbers."""
    rails = []
    for metric, share in one.guardrails.items():
        found = looks[metric, arm]
        watched = found.now(2 * one.alpha) if found else replace(looks[one.primary, arm].effects[-1], bound=np.inf)
        margin = share * abs(watched.control.value) or 1e-12  # of nothing, any harm is too much
        rails.append(Guardrail(metric, MEASURES[metric].better, watched, margin))
    return rails


def _explored(one: Experiment, looks: Mapping[_MetricArm, Looks], others: Sequence[str]) -> list[MetricEffect]:
    """Return the secondary metrics of all arms; their p-values are corrected together."""
    keys = [(metric, arm) for metric in one.secondary if metric != one.primary for arm in others]
    corrected = benjamini_hochberg({key: looks[key].p() for key in keys if looks[key]})
    effects = []
    for (metric, arm), p in corrected.items():
        now = looks[metric, arm].now(one.alpha)
        says = told_effect(Reading(metric, "up", now, p))
        effects.append(told(metric, "secondary", arm, now, p, says))
    return effects


def _counts(units: UnitSums) -> dict[str, int]:
    return dict(zip(units.arms, units.seen.sum(axis=0).tolist(), strict=True))


def _segments(units: UnitSums, shares: Mapping[str, float]) -> dict[str, dict[str, int]]:
    """Return the units of the arms with a share: of all, and of each device that has enough of them."""
    having = [number for number, arm in enumerate(units.arms) if arm in shares]

    def counts(seen: Flags) -> dict[str, int]:
        return {units.arms[number]: int(seen[:, number].sum()) for number in having}

    counted = {"all": counts(units.seen)}
    devices = sorted(pc.value_counts(units.device).to_pylist(), key=lambda row: (-row["counts"], row["values"]))
    names = [row["values"] for row in devices if row["counts"] >= SEGMENT_UNITS][:MOST_SEGMENTS]
    for name in names if len(devices) > 1 else []:
        of_device = pc.equal(units.device, pa.scalar(name)).to_numpy(zero_copy_only=False)
        counted[name] = counts(units.seen[of_device])
    return counted


def _withheld(units: UnitSums, segments: Mapping[str, SampleRatio]) -> list[str]:
    reasons = []
    for name, ratio in segments.items():
        if ratio.is_mismatch:
            units_of = ", ".join(f"{arm} {n:,}, not {ratio.expected[arm]:,.0f}" for arm, n in ratio.counts.items())
            which = "the arms" if name == "all" else f"on {name}, the arms"
            reasons.append(f"{which} did not get the declared shares (units of {units_of}); find out why first")
    n_units = len(units.ids) + units.crossed
    if units.crossed > MOST_CROSSED * n_units:
        reasons.append(f"{units.crossed:,} of {n_units:,} units were seen in two arms; find out why first")
    return reasons


def _notes(
    one: Experiment,
    units: UnitSums,
    before: Before | None,
    looks: Mapping[_MetricArm, Looks],
    limit: float,
    since: date,
) -> list[str]:
    """Return how the numbers were made, a sentence each."""
    notes = []
    if since > one.first_day:
        notes.append(f"Counts from {since}, as the proportions of the arms changed on that day.")
    if units.crossed:
        notes.append(f"{units.crossed:,} units that were seen in two arms are left out.")
    if any(metric == "revenue" for metric, _ in looks):
        cut = f"what one spent above {limit:,.0f} is cut off" if limit else "nobody has spent anything"
        notes.append(f"Revenue is in minor units a {_UNIT_NAMES[one.unit]}; {cut}.")
    primary = next((of for (metric, _), of in looks.items() if metric == one.primary and of), None)
    if before is not None and primary is not None and (removed := primary.effects[-1].control.removed_share) > 0:
        notes.append(f"Purchases before the start explain {removed:.0%} of the variance of {one.primary}.")
    return notes
