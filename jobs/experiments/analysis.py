"""Judge the running experiments by the end of a day: effects with intervals, sample ratios, a verdict in words.

>>> analyse(lake, "varied-head", experiment, date(2026, 2, 14)).verdicts
[ArmVerdict(arm='varied', word='go on', reasons=['revenue rose by 1.20% (-0.80% to +3.20%), not significant yet'])]

Every night looks once, at all units since the first day that counts. It takes the looks of the nights before anew
from the same units, so no verdict depends on what an earlier night wrote.
"""

from datetime import date

from jobs.config.experiments import Experiment, Experiments
from jobs.experiments.compared import judge_test
from jobs.experiments.interleaved import judge_interleaving
from jobs.experiments.outcome import ExperimentOutcome, ExperimentOutcomes
from jobs.experiments.unit_sums import read_before, read_units
from jobs.experiments.units import days_of
from jobs.lake.lake import Lake


def analyse_all(lake: Lake, declared: Experiments, ds: date) -> ExperimentOutcomes:
    """Return what came of the experiments that run on a day, whose units are built.

    Raises:
        MissingPartitionError: a day of `marts/experiment_units` is missing.
    """
    running = declared.running(ds)
    return ExperimentOutcomes(experiments={name: analyse(lake, name, one, ds) for name, one in running.items()})


def analyse(lake: Lake, name: str, one: Experiment, ds: date) -> ExperimentOutcome:
    """Return what came of one experiment by the end of a day. Raises as `analyse_all` does."""
    since = counts_since(one, ds)
    days = [day for day in days_of(lake, {name: one}, ds) if day >= since]
    if one.kind == "interleave":
        return judge_interleaving(one, read_units(lake, name, one, list(one.arms), days), since, ds)
    shares = {arm: share for arm, share in one.shares_on(ds).items() if share > 0}
    arms = list(dict.fromkeys([one.control, *shares]))
    units = read_units(lake, name, one, arms, days)
    before = read_before(lake, one.first_day, units.ids) if one.unit == "user" else None
    return judge_test(one, units, before, shares, since, ds)


def counts_since(one: Experiment, ds: date) -> date:
    """Return the first day that counts: the last one up to `ds` on which the proportions of the arms changed.

    Units that came at other proportions cannot be compared with each other.
    """
    since, before = one.first_day, None
    for day in sorted(day for day in one.shares if day <= ds):
        whole = sum(one.shares[day].values())
        now = {arm: round(share / whole, 9) for arm, share in one.shares[day].items() if share} if whole else {}
        if before is not None and now != before:
            since = max(day, one.first_day)
        before = now
    return since
