"""Deal the buckets of each layer to the arms of its experiments.

The table of a day is replayed from the declared steps, so it needs no state. A step moves as few buckets as its
shares ask for: an arm that shrinks gives back what it took last, and an arm that grows takes free buckets, its own
former ones first and those of the experiment's other arms last. So no unit changes arms while buckets are free.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from jobs.config.experiments import Experiment, Experiments
from serving.snapshot.experiments import BUCKETS, Arm, Layer, choice_names
from serving.snapshot.experiments import Experiment as PublishedExperiment

_NOBODY = -1


class _Dealing:
    """The buckets of one layer while its steps are replayed."""

    def __init__(self, names: Sequence[tuple[str, str]]) -> None:
        self.number = {name: number for number, name in enumerate(names)}
        self.owner = np.full(BUCKETS, _NOBODY)
        self.former = np.full(BUCKETS, _NOBODY)
        self.taken: dict[int, list[int]] = {number: [] for number in self.number.values()}

    def release(self, number: int, count: int) -> None:
        """Take `count` buckets from an arm, the last first."""
        for _ in range(count):
            bucket = self.taken[number].pop()
            self.owner[bucket], self.former[bucket] = _NOBODY, number

    def take(self, number: int, count: int, order: NDArray[np.int64], others: Sequence[int]) -> None:
        """Give free buckets to an arm in `order`: its own former ones first, those of `others` last."""
        free = np.flatnonzero(self.owner == _NOBODY)
        former = self.former[free]
        preference = np.where(former == number, 0, np.where(np.isin(former, others), 2, 1))
        chosen = free[np.lexsort((order[free], preference))][:count].tolist()
        self.owner[chosen] = number
        self.taken[number] += chosen


def layers_on(declared: Experiments, day: date) -> tuple[list[Layer], NDArray[np.uint8]]:
    """Return the layers in which an experiment runs on a day, and who has their buckets, as a snapshot holds them."""
    running = declared.running(day)
    layers = [
        Layer(
            layer,
            next(one.unit for one in running.values() if one.layer == layer),
            [_published(name, one) for name, one in running.items() if one.layer == layer],
        )
        for layer in sorted({one.layer for one in running.values()})
    ]
    tables = [_codes(declared.in_layer(layer.name), layer, day) for layer in layers]
    return layers, np.array(tables, np.uint8).reshape(len(layers), BUCKETS)


def _published(name: str, one: Experiment) -> PublishedExperiment:
    arms = [Arm(arm, changes.is_own_shelf, changes.endpoint.explore_share) for arm, changes in one.arms.items()]
    return PublishedExperiment(name, one.kind, arms)


def _codes(declared: Mapping[str, Experiment], layer: Layer, day: date) -> NDArray[np.uint8]:
    """Return the code of each bucket of a layer: 0 for no experiment, then those of `choice_names` from 1."""
    names = [(name, choice) for name, one in declared.items() for choice in one.choices]
    owner = _owners(declared, names, day)
    code = {name: number for number, name in enumerate(choice_names(layer), 1)}
    by_owner = np.array([*(code.get(name, 0) for name in names), 0], np.uint8)
    return by_owner[owner]


def _owners(declared: Mapping[str, Experiment], names: Sequence[tuple[str, str]], day: date) -> NDArray[np.int64]:
    """Return the number of the choice among `names` that has each bucket on a day; -1 for none."""
    dealing = _Dealing(names)
    ends = {one.last_day + timedelta(days=1) for one in declared.values()}
    for step in sorted(ends.union(*(one.shares for one in declared.values()))):
        if step > day:
            break
        wanted = {
            (name, choice): round(one.shares_on(step).get(choice, 0) * BUCKETS)
            for name, one in declared.items()
            for choice in one.choices
        }
        for name, count in wanted.items():
            number = dealing.number[name]
            dealing.release(number, max(0, len(dealing.taken[number]) - count))
        for name, count in wanted.items():
            number = dealing.number[name]
            others = [dealing.number[other] for other in names if other[0] == name[0] and other != name]
            missing = count - len(dealing.taken[number])
            if missing > 0:
                dealing.take(number, missing, _order(declared[name[0]].layer, name[0]), others)
    return dealing.owner


def _order(layer: str, experiment: str) -> NDArray[np.int64]:
    """Return the place of each bucket in the order in which an experiment takes them."""
    seed = hashlib.sha256(f"{layer}\x00{experiment}".encode()).digest()
    return np.random.default_rng(list(seed)).permutation(BUCKETS)
