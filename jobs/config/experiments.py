"""The shop's declared experiments: which arms there are, what each changes, and who is in which.

`jobs.config.experiments_file` reads them; docs/experiments.md says what each word of the file means.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.snapshot.experiments import INTERLEAVED

PrimaryMetric = Literal["revenue", "conversion"]
Metric = Literal["revenue", "conversion", "ctr", "orders", "session_duration", "items_per_session"]
Guardrail = Literal["ctr", "conversion", "revenue", "degraded_share", "short_share"]
Looks = Literal["every_night", "any_time", "at_the_end"]

NAME = r"^[a-z0-9][a-z0-9-]{0,39}$"
Name = Annotated[str, Field(pattern=NAME)]
Share = Annotated[float, Field(ge=0, le=1)]


class UnknownExperimentError(LookupError):
    """An experiment is asked for that the file does not declare."""


class _Declared(BaseModel):
    """A frozen table of the file. Values are text, as YAML has them, and become what the fields say."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class EndpointChanges(_Declared):
    """What an arm changes when an answer is made, without a shelf of its own."""

    explore_share: Annotated[float, Field(ge=0, le=1)] | None = None


class Arm(_Declared):
    """What one arm changes; an arm that changes nothing has the shop's usual shelves."""

    parameters: dict[str, Any] = {}
    """Checked values by key, as in topshelf.toml below `[parameters]`."""
    rules: dict[str, Any] | None = None
    """Rules beside the shop's own, as plain data; None for none."""
    endpoint: EndpointChanges = EndpointChanges()

    @property
    def is_own_shelf(self) -> bool:
        """Whether the night ranks for it."""
        return bool(self.parameters) or self.rules is not None


class Experiment(_Declared):
    """One declared experiment. The first arm is the control."""

    layer: Name
    unit: Literal["user", "request"] = "user"
    kind: Literal["ab", "interleave"] = "ab"
    first_day: Annotated[date, Field(alias="from")]
    last_day: Annotated[date, Field(alias="to")]
    arms: dict[Name, Arm]
    shares: dict[date, dict[str, Share]]
    """Shares of the layer's units by arm, by the day from which they hold."""
    primary: PrimaryMetric = "conversion"
    secondary: list[Metric] = []
    guardrails: dict[Guardrail, Annotated[float, Field(gt=0, le=1)]] = {}
    """By how much of the control's value an arm may be worse."""
    effect: Annotated[float, Field(gt=0, le=10)] = 0.05
    """The smallest relative change of the primary metric that is worth knowing."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    power: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    looks: Looks = "every_night"

    @property
    def control(self) -> str:
        """The arm that others are compared with."""
        return next(iter(self.arms))

    @property
    def choices(self) -> list[str]:
        """What a unit may get: an arm, or all of them interleaved."""
        return list(self.arms) if self.kind == "ab" else [INTERLEAVED]

    def runs_on(self, day: date) -> bool:
        """Whether answers of a day take part."""
        return self.first_day <= day <= self.last_day

    def shares_on(self, day: date) -> Mapping[str, float]:
        """Return the shares that hold on a day, by arm; none outside its days."""
        steps = [step for step in sorted(self.shares) if step <= day]
        return self.shares[steps[-1]] if steps and self.runs_on(day) else {}


class Experiments(_Declared):
    """All experiments of a shop, by name. The default has none."""

    experiments: dict[Name, Experiment] = {}

    def running(self, day: date) -> dict[str, Experiment]:
        """Return the experiments in which answers of a day take part, by name."""
        return {name: one for name, one in sorted(self.experiments.items()) if one.runs_on(day)}

    def named(self, name: str) -> Experiment:
        """Return one experiment.

        Raises:
            UnknownExperimentError: there is none of that name.
        """
        if name not in self.experiments:
            declared = ", ".join(self.experiments) or "none"
            raise UnknownExperimentError(f"no experiment {name} is declared; declared are {declared}")
        return self.experiments[name]

    def in_layer(self, layer: str) -> dict[str, Experiment]:
        """Return the experiments of a layer, whenever they run, by name."""
        return {name: one for name, one in sorted(self.experiments.items()) if one.layer == layer}


NONE = Experiments()


def served_day(ds: date) -> date:
    """Return the day that a night's snapshot answers for: the one that begins when its own has ended."""
    return ds + timedelta(days=1)
