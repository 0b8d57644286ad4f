"""Print experiments: which run, who is in which arm, what they need, what came of them, and how they ended."""

from datetime import date

from rich.table import Table

from jobs.config.experiments import Experiments
from jobs.config.terminal import Terminal
from jobs.experiments.buckets import layers_on
from jobs.experiments.decisions import (
    Decision,
    DecisionError,
    end,
    find_decision,
    newest_outcome,
    undo,
    without_ended,
)
from jobs.experiments.outcome import ExperimentOutcome
from jobs.experiments.plan import MOST_DAYS, plan, read_traffic
from jobs.lake.lake import Lake
from serving.snapshot.experiments import Experiments as Assigner


def print_experiments(lake: Lake, file: Experiments, day: date) -> None:
    """Print all experiments as of a day whose answers they may take part in."""
    declared = without_ended(lake, file)
    if not declared.experiments:
        print("No experiment is declared; docs/experiments.md shows a file for TOPSHELF_EXPERIMENTS to name.")
        return
    table = Table(box=None)
    for heading in ("experiment", "state", "from", "to", "layer", "unit", "kind", "arms and shares", "primary"):
        table.add_column(heading, overflow="fold")
    for name, one in sorted(declared.experiments.items()):
        state = "runs" if one.runs_on(day) else "not yet" if day < one.first_day else "over"
        shares = one.shares_on(day)
        arms = ", ".join(f"{choice} {shares.get(choice, 0):.2%}" for choice in one.choices)
        if one.kind == "interleave":
            arms += f" of {' and '.join(one.arms)}"
        days = (str(one.first_day), str(one.last_day))
        table.add_row(name, state, *days, one.layer, one.unit, one.kind, arms, one.primary)
    Terminal().print(table)


def print_arms_of(lake: Lake, file: Experiments, user_id: str, day: date) -> None:
    """Print the arms that a shopper has in the experiments of shoppers that run on a day."""
    layers, buckets = layers_on(without_ended(lake, file), day)
    of_users = [row for row, layer in enumerate(layers) if layer.unit == "user"]
    assigner = Assigner([layers[row] for row in of_users], buckets[of_users])
    arms = assigner.assigned(user_id, b"").arms
    told = ", ".join(f"{name} {arm}" for name, arm in arms.items()) or "in no experiment of shoppers"
    print(f"{user_id} on {day}: {told}")


def print_plan(lake: Lake, declared: Experiments, name: str, ds: date) -> None:
    """Print what an experiment needs, by the traffic up to `ds`.

    Raises:
        UnknownExperimentError: there is no such experiment.
        PlanError: no plan can be made for it.
    """
    one = declared.named(name)
    days = (one.last_day - one.first_day).days + 1
    print("\n".join(plan(one, read_traffic(lake, ds, min(days, MOST_DAYS))).lines(name)))


def print_outcome(lake: Lake, name: str, until: date) -> None:
    """Print what came of an experiment by the newest night up to a day, and how it was ended, if it was.

    Raises:
        DecisionError: no night has judged it.
    """
    decision = find_decision(lake, name)
    outcome = newest_outcome(lake, name, until) or (decision.outcome if decision else None)
    if outcome is None:
        raise DecisionError(
            f"no night up to {until} has judged {name}; the first that does is that of its first day of answers"
        )
    _print(name, outcome)
    if decision:
        _print_decision(name, decision)


def end_and_print(lake: Lake, declared: Experiments, name: str, ds: date, because: str) -> None:
    """End an experiment with a day, and print what was known and how its arms go on.

    Raises:
        DecisionError: as `jobs.experiments.decisions.end` does.
    """
    decision = end(lake, declared, name, ds, because)
    _print(name, decision.outcome)
    _print_decision(name, decision)
    for arm, changes in declared.experiments[name].arms.items():
        values = ", ".join(f"{key} = {value}" for key, value in changes.parameters.items())
        if values:
            print(f"to keep {arm} for all shoppers, set in [parameters] of topshelf.toml: {values}")


def undo_and_print(lake: Lake, name: str) -> None:
    """Take the end of an experiment back.

    Raises:
        DecisionError: it was not ended.
    """
    undo(lake, name)
    print(f"{name} runs again as its file says, from the next night on")


def _print(name: str, outcome: ExperimentOutcome) -> None:
    units = ", ".join(f"{arm} {count:,}" for arm, count in outcome.units.items())
    print(f"{name}, {outcome.since} to {outcome.until} of {outcome.last_day}; units: {units}")
    for line in outcome.lines(name):
        print(line)
    table = Table(box=None)
    for heading in ("metric", "arm", "control", "value", "change", "interval", "p", "role"):
        table.add_column(heading, overflow="fold")
    for of in outcome.effects:
        table.add_row(
            of.metric,
            of.arm,
            f"{of.control_value:.4g}",
            f"{of.value:.4g}",
            *of.change_and_interval(),
            f"{of.p:.3g}",
            of.role if of.role != "guardrail" else f"guardrail, {of.says}",
        )
    if outcome.effects:
        Terminal().print(table)
    for note in outcome.notes:
        print(note)


def _print_decision(name: str, decision: Decision) -> None:
    why = f": {decision.because}" if decision.because else ""
    print(f"{name} was ended with {decision.last_day}, at {decision.decided_at:%Y-%m-%d %H:%M} UTC{why}")
