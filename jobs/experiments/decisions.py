"""End an experiment by hand, and keep what was known then: `runs/experiments/NAME.decision.json` in the lake.

>>> end(lake, experiments, "varied-head", date(2026, 2, 14), because="worse for new shoppers")

The nights after that day make no shelves for it, whatever its file says. The decision keeps the declaration and the
day's outcome with all its numbers: it holds no shopper, so it outlasts erasures and the units that it was made from.
"""

from datetime import UTC, date, datetime
from typing import Any

import msgspec

from jobs.config.experiments import Experiments
from jobs.experiments.outcome import ExperimentOutcome, ExperimentOutcomes
from jobs.lake.lake import Lake


class DecisionError(ValueError):
    """An experiment that cannot be ended or shown: why, and what to do instead."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, and on what."""

    last_day: date
    """Its last day of answers."""
    decided_at: datetime
    because: str
    declared: dict[str, Any]
    outcome: ExperimentOutcome


def find_decision(lake: Lake, name: str) -> Decision | None:
    """Return what was decided on an experiment, or None."""
    found = lake.get_json(_path(name))
    return None if found is None else msgspec.convert(found, Decision)


def end(lake: Lake, declared: Experiments, name: str, ds: date, because: str) -> Decision:
    """End an experiment with the day `ds`, and keep that day's outcome.

    Raises:
        UnknownExperimentError: no such experiment is declared.
        DecisionError: it is ended already, or the night of `ds` did not judge it.
    """
    one = declared.named(name)
    if before := find_decision(lake, name):
        raise DecisionError(
            f"{name} was ended with {before.last_day}; `topshelf experiments end {name} --undo` first"
        )
    outcome = outcome_on(lake, name, ds)
    if outcome is None:
        raise DecisionError(
            f"the night of {ds} did not judge {name}; run topshelf stage shelf_outcomes --ds {ds}, or name a day "
            f"from {one.first_day} to {one.last_day} whose night did"
        )
    found = Decision(
        last_day=ds,
        decided_at=datetime.now(UTC).replace(microsecond=0),
        because=because,
        declared={name: one.model_dump(mode="json", by_alias=True, exclude_defaults=True)},
        outcome=outcome,
    )
    lake.put_json(_path(name), msgspec.to_builtins(found))
    return found


def undo(lake: Lake, name: str) -> None:
    """Take the end of an experiment back: it runs as its file says.

    Raises:
        DecisionError: it was not ended.
    """
    if find_decision(lake, name) is None:
        raise DecisionError(f"{name} was not ended, so there is nothing to undo")
    lake.put_json(_path(name), None)


def without_ended(lake: Lake, declared: Experiments) -> Experiments:
    """Return the experiments with those over that were ended by hand."""
    found = {name: find_decision(lake, name) for name in declared.experiments}
    return declared.model_copy(
        update={
            "experiments": {
                name: one.model_copy(update={"last_day": min(one.last_day, decision.last_day)}) if decision else one
                for (name, one), decision in zip(declared.experiments.items(), found.values(), strict=True)
            }
        }
    )


def outcome_on(lake: Lake, name: str, ds: date) -> ExperimentOutcome | None:
    """Return what came of an experiment by the end of a day; None where that night did not judge it."""
    outcomes = ExperimentOutcomes.read(lake, ds)
    return outcomes.experiments.get(name) if outcomes else None


def newest_outcome(lake: Lake, name: str, until: date) -> ExperimentOutcome | None:
    """Return the newest outcome of an experiment up to a day, or None."""
    days = (date.fromisoformat(folder[3:]) for folder in lake.names("marts/evaluation") if folder.startswith("ds="))
    for day in sorted((day for day in days if day <= until), reverse=True):
        if found := outcome_on(lake, name, day):
            return found
    return None


def _path(name: str) -> str:
    return f"runs/experiments/{name}.decision.json"
