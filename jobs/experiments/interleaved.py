"""Judge an experiment that interleaves: which arm's items shoppers chose from shelves that held those of all arms."""

from datetime import date

from jobs.config.experiments import Experiment
from jobs.experiments.looks import Looks, Schedule, told
from jobs.experiments.outcome import ArmVerdict, ExperimentOutcome
from jobs.experiments.unit_sums import UnitSums
from jobs.statistics import UnusableValuesError
from jobs.statistics.decisions import Reading, holm, told_effect, verdict
from jobs.statistics.interleaving import compare_units
from serving.snapshot.experiments import INTERLEAVED

CREDIT = "credit"
"""The metric of an interleaving."""
LEAST_CLICKERS = 50
"""Units that clicked, without which there is no look: each gives a share between 0 and 1, so few are enough."""


def judge_interleaving(one: Experiment, units: UnitSums, since: date, ds: date) -> ExperimentOutcome:
    """Return what came of an interleaving by the end of a day; `units` has its days, none added yet."""
    is_over = ds >= one.last_day
    others = [arm for arm in units.arms if arm != one.control]
    looks = {arm: Looks(Schedule.of(one, since), [], [], []) for arm in others}
    for day in units.days:
        units.add(day)
        try:
            compared = compare_units(units.sums[CREDIT], units.arms)
        except UnusableValuesError:
            continue  # nobody clicked yet
        if compared.units < LEAST_CLICKERS:
            continue
        for arm in others:
            looks[arm].add(day, compared.preferences[arm, one.control], float(compared.shelves))
    corrected = holm({arm: of.p() for arm, of in looks.items() if of})
    verdicts, effects = [], []
    for arm, of in looks.items():
        if not of:
            verdicts.append(
                ArmVerdict(
                    arm, "cannot tell" if is_over else "go on", [f"fewer than {LEAST_CLICKERS} units have clicked"]
                )
            )
            continue
        now = of.now(one.alpha)
        reading = Reading(CREDIT, "up", now, corrected[arm])
        said = verdict(reading, is_over=is_over, alpha=one.alpha)
        verdicts.append(ArmVerdict(arm, said.word, list(said.reasons)))
        effects.append(told(CREDIT, "primary", arm, now, corrected[arm], told_effect(reading)))
    clicked = units.sums[CREDIT].sum()
    return ExperimentOutcome(
        kind=one.kind,
        unit=one.unit,
        control=one.control,
        primary=CREDIT,
        since=since,
        until=ds,
        last_day=one.last_day,
        units={INTERLEAVED: len(units.ids)},
        verdicts=verdicts,
        effects=effects,
        looks={arm: of.path(one.alpha) for arm, of in looks.items()},
        notes=[f"{clicked:,.0f} answers were clicked: each gives a credit of 1, shared by the arms of its places"],
    )
