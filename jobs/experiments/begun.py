"""Hold a running experiment to what it began with: one that changes in mid-flight answers no question.

Its first night writes `runs/experiments/NAME.json` into the lake; each later one compares. The last day may move, and
shares may get steps on days that no night has answered for yet.
"""

from datetime import date
from typing import Any

from jobs.config.experiments import Experiment, Experiments, served_day
from jobs.lake.lake import Lake

_MAY_CHANGE = {"last_day", "shares", "secondary"}


class ExperimentChangedError(ValueError):
    """A running experiment is declared otherwise than it began: what changed, and the remedy."""


def hold_to_begun(lake: Lake, declared: Experiments, ds: date) -> None:
    """Compare the experiments of the night of `ds` with what they began with, and write down what is new.

    Raises:
        ExperimentChangedError: one changed. Nothing is written.
    """
    day = served_day(ds)
    running = declared.running(day)
    begun = {name: _find(lake, name) for name in running}
    for name, one in running.items():
        if before := begun[name]:
            _compare(name, one, before, day)
    for name, one in running.items():
        before = begun[name]
        until = max(day, date.fromisoformat(before["until"])) if before else day
        now = {"since": before["since"] if before else str(day), "until": str(until)} | _record(one, until)
        if now != before:
            lake.put_json(_path(name), now)


def _path(name: str) -> str:
    return f"runs/experiments/{name}.json"


def _find(lake: Lake, name: str) -> dict[str, Any] | None:
    found = lake.get_json(_path(name))
    return None if found is None else dict(found)


def _record(one: Experiment, until: date) -> dict[str, Any]:
    """Return what must not change, with the shares of the days up to `until`."""
    fixed = one.model_dump(mode="json", exclude=_MAY_CHANGE)
    shares = {
        str(step): dict(sorted(of_step.items())) for step, of_step in sorted(one.shares.items()) if step <= until
    }
    return {"declared": fixed, "arms": list(one.arms), "shares": shares}


def _compare(name: str, one: Experiment, before: dict[str, Any], day: date) -> None:
    until = date.fromisoformat(before["until"])
    now = _record(one, until)
    changed = [word for word in now["declared"] if now["declared"][word] != before["declared"].get(word)]
    if now["arms"] != before["arms"] and "arms" not in changed:
        changed.append("the order of its arms")
    if now["shares"] != before["shares"]:
        changed.append(f"shares of days up to {until}")
    if changed:
        raise ExperimentChangedError(
            f"experiment {name} runs since {before['since']}, and changed: {', '.join(changed)}; take the change "
            f"back, or let it end before {day} and declare another by a new name; shares may get steps from {day} on"
        )
