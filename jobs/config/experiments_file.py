"""Read and check a file of experiments.

    TOPSHELF_EXPERIMENTS=experiments.yaml topshelf nightly --ds 2026-01-31

docs/experiments.md shows such a file and says what each word of it means.
"""

from collections.abc import Mapping
from datetime import date
from itertools import combinations

from pydantic import ValidationError

from jobs.config.experiments import Arm, EndpointChanges, Experiment, Experiments
from jobs.config.fields import flat, settings_of
from jobs.config.parameters import Parameters
from jobs.config.rules import RulesError, checked_rules
from jobs.config.yaml_file import Place, Source, read_yaml
from serving.snapshot.experiments import BUCKETS

CHANGEABLE = ("shelves.blend.", "shelves.new_items.", "ranking.head_weight.", "ranking.order_tilt")
"""Parameters that an arm may change: those by which one shopper's shelf is made of what all arms share."""
_WEIGHT = "ranking.head_weight."


class ExperimentsFileError(ValueError):
    """Experiments that are unreadable or invalid: what is wrong, where in the file, and the remedy."""


def read_experiments(path: str, parameters: Parameters) -> Experiments:
    """Return the experiments of a YAML file beside the shop's own parameters; an empty file has none.

    Raises:
        ExperimentsFileError: the file is missing or no YAML, or an experiment is invalid.
    """
    raw, source = read_yaml(
        path,
        ExperimentsFileError,
        "let TOPSHELF_EXPERIMENTS name a file of experiments",
        "docs/experiments.md shows a file of experiments",
    )
    return checked_experiments(raw, source, parameters)


def checked_experiments(raw: object, source: Source, parameters: Parameters) -> Experiments:
    """Return experiments of plain values, beside the shop's own parameters.

    Raises:
        ExperimentsFileError: a key is unknown, or an experiment is invalid.
    """
    if not isinstance(raw, Mapping):
        raise source.fault((), "is no mapping", "begin with `experiments:` and a name below it")
    try:
        declared = Experiments.model_validate(_with_dated_shares(raw))
    except ValidationError as error:
        raise _fault_of(error, source) from error
    checked = {name: _checked_arms(name, one, source) for name, one in declared.experiments.items()}
    for name, one in checked.items():
        _check(name, one, source)
    declared = Experiments(experiments=checked)
    for layer in {one.layer for one in checked.values()}:
        _check_layer(declared.in_layer(layer), source)
    _check_together(declared, source)
    _check_heads(declared, source, parameters)
    return declared


def _with_dated_shares(raw: Mapping[str, object]) -> dict[str, object]:
    """Return the values with shares by day: shares without a day hold from the first on."""
    experiments = raw.get("experiments") or {}
    if not isinstance(experiments, Mapping):
        return dict(raw)
    dated: dict[str, object] = {}
    for name, one in experiments.items():
        dated[name] = one
        shares = one.get("shares") if isinstance(one, Mapping) else None
        if isinstance(one, Mapping) and isinstance(shares, Mapping):
            flat_shares = shares and not any(isinstance(value, Mapping) for value in shares.values())
            dated[name] = {**one, "shares": {one.get("from"): shares} if flat_shares else shares}
    return {**raw, "experiments": dated}


def _fault_of(error: ValidationError, source: Source) -> ValueError:
    """Return the first fault that pydantic found, in the file's own words."""
    first = error.errors()[0]
    place = tuple(part for part in first["loc"] if part != "[key]")
    kind, allowed = first["type"], first.get("ctx", {})
    if kind == "missing":
        return source.fault(place, "is missing", "docs/experiments.md says what an experiment needs")
    if kind == "extra_forbidden":
        return source.fault(place, "is not known", "docs/experiments.md lists what an experiment takes")
    if kind == "literal_error":
        return source.fault(place, f"is {first['input']!r}", f"use {allowed['expected']}")
    if kind == "string_pattern_mismatch":
        return source.fault(place, "is no name", "use up to 40 of a-z, 0-9 and -, and begin with no -")
    return source.fault(place, f"is {first['input']!r}", first["msg"].removeprefix("Input ").lower())


def _checked_arms(name: str, one: Experiment, source: Source) -> Experiment:
    arms = {
        arm: _checked_arm(("experiments", name, "arms", arm), changes, source) for arm, changes in one.arms.items()
    }
    return one.model_copy(update={"arms": arms})


def _checked_arm(place: Place, arm: Arm, source: Source) -> Arm:
    """Return an arm with its parameters and rules as they are used."""
    known = settings_of(Parameters, "parameters")
    values: dict[str, object] = {}
    for key, text in flat(arm.parameters).items():
        setting = known.get(f"parameters.{key}")
        here = (*place, "parameters", *((key,) if (*place, "parameters", key) in source.lines else key.split(".")))
        if setting is None:
            raise source.fault(here, "is no parameter", "`topshelf config` lists all of them")
        if not key.startswith(CHANGEABLE):
            raise source.fault(
                here,
                "shapes what all arms share",
                f"an arm may change {', '.join(prefix.rstrip('.') for prefix in CHANGEABLE)} and rules",
            )
        try:
            values[key] = setting.checked_text(str(text))
        except ValidationError as error:
            raise source.fault(here, f"is {text!r}", f"give {setting.allowed}") from error
    try:
        rules = None if arm.rules is None else dict(checked_rules(arm.rules, "rules"))
    except RulesError as error:
        raise source.fault((*place, "rules"), "are invalid", str(error)) from error
    return arm.model_copy(update={"parameters": values, "rules": rules})


def _check(name: str, one: Experiment, source: Source) -> None:
    """Raise ExperimentsFileError unless an experiment can be meant by itself."""
    place: Place = ("experiments", name)
    if one.last_day < one.first_day:
        raise source.fault((*place, "to"), f"is {one.last_day}, before from", "swap the two days")
    if len(one.arms) < 2:
        raise source.fault((*place, "arms"), "is one arm", "add the arm that it is compared with")
    for (first, one_arm), (second, other) in combinations(one.arms.items(), 2):
        if one_arm == other:
            raise source.fault(
                (*place, "arms", second), f"changes what {first} changes", "let it change something else"
            )
    if one.kind == "interleave" and any(arm.endpoint != EndpointChanges() for arm in one.arms.values()):
        raise source.fault((*place, "arms"), "change how an answer is made", "interleave arms that differ by shelves")
    first_step = min(one.shares, default=None)
    if first_step != one.first_day:
        raise source.fault((*place, "shares"), "do not begin with from", f"say the shares of {one.first_day}")
    for step, shares in one.shares.items():
        _check_step((*place, "shares", str(step)), one, step, shares, source)
    for arm in one.choices:
        if not any(round(shares.get(arm, 0) * BUCKETS) for shares in one.shares.values()):
            raise source.fault(
                (*place, "shares"), f"give {arm} nothing, so nobody can reach it", "give it a share, or take it out"
            )


def _check_step(place: Place, one: Experiment, step: date, shares: Mapping[str, float], source: Source) -> None:
    if not one.runs_on(step):
        raise source.fault(place, "lies outside the experiment's days", f"use {one.first_day} to {one.last_day}")
    for arm in shares:
        if arm not in one.choices:
            raise source.fault((*place, arm), "is no arm of it", f"use {', '.join(one.choices)}")


def _check_layer(layer: Mapping[str, Experiment], source: Source) -> None:
    """Raise ExperimentsFileError unless the experiments of a layer can share it."""
    first_name, first = next(iter(layer.items()))
    for name, one in layer.items():
        if one.unit != first.unit:
            raise source.fault(
                ("experiments", name, "unit"),
                f"is {one.unit}, and that of {first_name} in the same layer is {first.unit}",
                "put them into two layers",
            )
    for day in sorted({step for one in layer.values() for step in one.shares}):
        parts = {name: sum(one.shares_on(day).values()) for name, one in layer.items() if one.runs_on(day)}
        if sum(parts.values()) > 1 + 1e-9:
            told = " and ".join(f"{name} {share:.2%}" for name, share in parts.items())
            raise source.fault(
                ("experiments", next(reversed(parts)), "shares"),
                f"overlap on {day}: {told} of layer {first.layer}",
                "let the shares of a layer be 1 at most, or use another layer",
            )


def _check_together(declared: Experiments, source: Source) -> None:
    """Raise ExperimentsFileError where one answer could have to follow two experiments that contradict each other."""
    for (first, one), (second, other) in combinations(declared.experiments.items(), 2):
        apart = one.layer == other.layer or one.last_day < other.first_day or other.last_day < one.first_day
        if apart:
            continue
        if one.kind == other.kind == "interleave":
            raise source.fault(
                ("experiments", second, "layer"),
                f"is another than that of {first}, and both interleave at a time",
                "put experiments that interleave into one layer",
            )
        if both := sorted(_changed(one) & _changed(other)):
            raise source.fault(
                ("experiments", second, "arms"),
                f"change {', '.join(both)}, as those of {first} do at the time",
                "put the two into one layer",
            )


def _changed(one: Experiment) -> set[str]:
    """Return what any arm of an experiment changes, apart from rules, which add up."""
    changed = {key for arm in one.arms.values() for key in arm.parameters}
    shares = (arm.endpoint.explore_share for arm in one.arms.values())
    return changed | ({"explore_share"} if any(share is not None for share in shares) else set())


def _check_heads(declared: Experiments, source: Source, parameters: Parameters) -> None:
    """Raise ExperimentsFileError where an arm weighs a head that the shop's night does not train."""
    trained = parameters.ranking.head_weight.positive()
    for name, one in declared.experiments.items():
        for arm, changes in one.arms.items():
            for key, value in changes.parameters.items():
                term = key.removeprefix(_WEIGHT)
                if key.startswith(_WEIGHT) and value and term not in trained:
                    raise source.fault(
                        ("experiments", name, "arms", arm, "parameters", key),
                        f"weighs {term}, which the night does not learn, as its own weight is 0",
                        f"give parameters.{key} a weight such as 0.000001",
                    )
