"""The experiments of one night: what runs on the day that its snapshot answers for.

>>> running = running_for(parameters.experiments, date(2026, 1, 31))
>>> running.assigner.night_variants("anna")
('varied-head=varied',)
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from jobs.config.experiments import Arm, Experiments, served_day
from jobs.config.parameters import Parameters
from jobs.experiments.buckets import layers_on
from serving.snapshot.experiments import BUCKETS, Layer
from serving.snapshot.experiments import Experiments as Assigner


@dataclass(frozen=True)
class RunningExperiments:
    """What runs on one day. Sent to Spark's executors. The default has none."""

    layers: Sequence[Layer] = ()
    buckets: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, BUCKETS), np.uint8))
    """[layers, BUCKETS] as a snapshot holds them."""
    arms: Mapping[tuple[str, str], Arm] = field(default_factory=dict)
    """What each arm changes, by experiment and arm."""

    def __bool__(self) -> bool:
        return bool(self.layers)

    @cached_property
    def assigner(self) -> Assigner:
        """Who is in which arm."""
        return Assigner(self.layers, self.buckets)

    @property
    def makes_shelves(self) -> bool:
        """Whether any arm has shelves of its own."""
        return any(arm.is_own_shelf for arm in self.arms.values())

    def parameters_of(self, variant: str, parameters: Parameters) -> Parameters:
        """Return the parameters that a variant's shelves are made with."""
        changes: dict[str, Any] = {}
        for part in self.assigner.arms_of_variant(variant):
            changes |= self.arms[part].parameters
        return parameters.with_values(changes)

    def rules_of(self, variant: str) -> list[dict[str, Any]]:
        """Return the rules that a variant's shelves follow beside the shop's own."""
        parts = self.assigner.arms_of_variant(variant)
        return [rules for part in parts if (rules := self.arms[part].rules) is not None]

    def as_parameters(self) -> dict[str, object]:
        """Return what shapes the night as a manifest lists it; nothing where none runs."""
        if not self:
            return {}
        return {
            "layers": msgspec.to_builtins(list(self.layers)),
            "buckets_sha256": hashlib.sha256(self.buckets.tobytes()).hexdigest(),
            "arms": {
                f"{experiment}={arm}": changes.model_dump(mode="json", exclude_defaults=True)
                for (experiment, arm), changes in sorted(self.arms.items())
            },
        }

    def identity(self) -> list[str]:
        """Return what a night's identity has of them; nothing where none runs."""
        if not self:
            return []
        return ["experiments=" + msgspec.json.encode(self.as_parameters(), order="sorted").decode()]


NO_EXPERIMENTS = RunningExperiments()


def running_for(declared: Experiments, ds: date) -> RunningExperiments:
    """Return what runs on the day that the night of `ds` answers for."""
    day = served_day(ds)
    layers, buckets = layers_on(declared, day)
    arms = {(name, arm): changes for name, one in declared.running(day).items() for arm, changes in one.arms.items()}
    return RunningExperiments(layers, buckets, arms)
