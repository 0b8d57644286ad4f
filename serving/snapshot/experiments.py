"""The experiments of a night, as its snapshot holds them: who is in which arm, and which stored shelves that means.

A layer deals its units (shoppers or requests) into BUCKETS by an HMAC whose key is the layer's own, so layers are
independent of each other. A table says which arm has a bucket; `jobs.experiments.buckets` makes it. The night reads
the same table to rank each shopper for their own arms, so both agree.

>>> experiments = read_experiments(heads, buckets)
>>> experiments.assigned("anna", request_key).arms
{'varied-head': 'varied'}
"""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import product
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.snapshot.blobs import pack, pack_json

BUCKETS = 10_000
BASE = "base"
"""The variant of shelves that no arm changed."""
INTERLEAVED = "interleaved"
"""What stands for the arm of a unit whose answers mix the shelves of all arms."""
FORCED = "_forced"
"""The key that marks, among an answer's arms, that a tester chose them."""
_KEPT_ASSIGNMENTS = 4_096
_KEPT_USERS = 1 << 14  # of at most 0.6 KB each; most are of 0.2

Unit = Literal["user", "request"]
Kind = Literal["ab", "interleave"]


class Arm(msgspec.Struct, frozen=True):
    """What an arm changes, as far as a reader needs it."""

    name: str
    is_own_shelf: bool = False  # the night ranks for it, so it has shelves of its own
    explore_share: float | None = None  # of its answers; None where it changes nothing


class Experiment(msgspec.Struct, frozen=True):
    """One running experiment; the first arm is the control."""

    name: str
    kind: Kind
    arms: list[Arm]


class Layer(msgspec.Struct, frozen=True):
    """Experiments that share no unit."""

    name: str
    unit: Unit
    experiments: list[Experiment]


class Assigned(NamedTuple):
    """What one answer is made of."""

    arms: dict[str, str]
    arms_json: msgspec.Raw  # the same, for answers and the log
    variants: tuple[str, ...]  # whose shelves are read: one, or those that are interleaved
    teams: tuple[str, ...]  # the arm of each of `variants`, where they are interleaved
    explore_share: float | None


def _with_arms(
    arms: dict[str, str], variants: tuple[str, ...], teams: tuple[str, ...], explore_share: float | None
) -> Assigned:
    return Assigned(arms, msgspec.Raw(msgspec.json.encode(arms)), variants, teams, explore_share)


class _Choice(NamedTuple):
    """What one bucket of a layer means."""

    experiment: Experiment
    arm: Arm | None  # None where all arms are interleaved


UNASSIGNED = Assigned({}, msgspec.Raw(b"{}"), (BASE,), (), None)


class ExperimentsError(ValueError):
    """The experiments of a snapshot cannot be meant; the message says what and the remedy."""


def layer_key(layer: str) -> bytes:
    """Return the key of a layer's HMAC: a hash, so keys of like names share nothing."""
    return hashlib.sha256(b"topshelf experiment layer\x00" + layer.encode()).digest()


def bucket_of(key: bytes, unit: bytes) -> int:
    """Return the bucket, from 0 to BUCKETS - 1, of a unit in the layer with this key."""
    return int.from_bytes(hmac.digest(key, unit, "sha256")[:8], "big") % BUCKETS


def _chosen(code: int, choices: Sequence[_Choice]) -> _Choice | None:
    return choices[code - 1] if code else None


def _codes(dealt: Sequence[tuple[bytes, bytes]], unit: bytes) -> tuple[int, ...]:
    """Return the code of a unit in each of some layers, given their keys and tables."""
    return tuple([row[bucket_of(key, unit)] for key, row in dealt])


class Experiments:
    """The running experiments of one night; layers of shoppers stand before those of requests."""

    def __init__(self, layers: Sequence[Layer], buckets: NDArray[np.uint8]) -> None:
        """`buckets` [layers, BUCKETS] holds codes: 0 for no experiment, then each layer's choices in order.

        Raises ExperimentsError for a table of another shape, or with a code that no choice has.
        """
        if buckets.shape != (len(layers), BUCKETS):
            raise ExperimentsError(f"buckets are {buckets.shape}, not {(len(layers), BUCKETS)}; {_AGAIN}")
        order = sorted(range(len(layers)), key=lambda number: layers[number].unit != "user")  # shoppers first
        self.layers = [layers[number] for number in order]
        self._choices = [list(_choices(layer)) for layer in self.layers]
        dealt = []
        for layer, row, choices in zip(self.layers, buckets[order], self._choices, strict=True):
            if int(row.max()) > len(choices):
                raise ExperimentsError(f"layer {layer.name} has a bucket of no arm; {_AGAIN}")
            dealt.append((layer_key(layer.name), row.tobytes()))
        of_users = sum(layer.unit == "user" for layer in layers)
        self._of_requests = dealt[of_users:]
        self._nobody = (0,) * of_users
        self._user_codes = lru_cache(_KEPT_USERS)(partial(_codes, dealt[:of_users]))
        self._by_codes: dict[tuple[int, ...], Assigned] = {}
        self._made: dict[tuple[int, ...], tuple[str, ...]] = {}

    def assigned(self, user_id: str | None, request_key: bytes) -> Assigned:
        """Return the arms of an answer. A layer of shoppers takes no request without one."""
        codes = self._codes_of(user_id, request_key)
        assigned = self._by_codes.get(codes)
        if assigned is None:
            assigned = self._of(codes)
            if len(self._by_codes) < _KEPT_ASSIGNMENTS:
                self._by_codes[codes] = assigned
        return assigned

    def _codes_of(self, user_id: str | None, request_key: bytes) -> tuple[int, ...]:
        """Return the code of an answer in each layer."""
        codes = self._nobody if user_id is None else self._user_codes(user_id.encode())
        return codes + _codes(self._of_requests, request_key) if self._of_requests else codes

    def forced(self, user_id: str | None, request_key: bytes, wanted: dict[str, str]) -> Assigned:
        """Return the arms of an answer for a tester who wants these arms; others are assigned as always.

        Raises ExperimentsError: no such experiment runs, it has no such arm, or two of them stand in one layer.
        """
        codes = list(self._codes_of(user_id, request_key))
        free = dict(wanted)
        for number, (layer, choices) in enumerate(zip(self.layers, self._choices, strict=True)):
            of_layer = [experiment for experiment in layer.experiments if experiment.name in free]
            if len(of_layer) > 1:
                both = " and ".join(experiment.name for experiment in of_layer)
                raise ExperimentsError(f"{both} stand in one layer, {layer.name}; ask for one of them")
            for experiment in of_layer:
                arm = free.pop(experiment.name)
                names = [_name(choice) for choice in choices if choice.experiment is experiment]
                if arm not in names:
                    raise ExperimentsError(f"{experiment.name} has no arm {arm[:64]!r}; use {', '.join(names)}")
                codes[number] = 1 + next(
                    code
                    for code, choice in enumerate(choices)
                    if choice.experiment is experiment and _name(choice) == arm
                )
        if free:
            running = ", ".join(experiment.name for layer in self.layers for experiment in layer.experiments)
            raise ExperimentsError(f"no experiment {next(iter(free))[:64]!r} runs; use one of {running or 'none'}")
        assigned = self._of(codes)
        return _with_arms(assigned.arms | {FORCED: "true"}, *assigned[2:])

    def night_variants(self, user_id: str) -> tuple[str, ...]:
        """Return the variants of a shopper's shelf that a night has to make: every one that an answer may read."""
        codes = self._user_codes(user_id.encode())
        made = self._made.get(codes)
        if made is None:
            of_users, of_requests = self._choices[: len(codes)], self._choices[len(codes) :]
            ways: list[list[_Choice | None]] = [
                [_chosen(code, some)] for code, some in zip(codes, of_users, strict=True)
            ]
            ways += [[None, *choices] for choices in of_requests]
            made = tuple(sorted({name for way in product(*ways) for name in self._variants(way)}))
            self._made[codes] = made
        return made

    def arms_of_variant(self, variant: str) -> list[tuple[str, str]]:
        """Return experiment and arm of each part of a variant's name."""
        return [] if variant == BASE else [_split(part) for part in variant.split("+")]

    def _of(self, codes: Sequence[int]) -> Assigned:
        """Return what the codes of all layers mean."""
        way = [_chosen(code, choices) for code, choices in zip(codes, self._choices, strict=True)]
        chosen = [choice for choice in way if choice is not None]
        mixed = next((choice.experiment for choice in chosen if choice.arm is None), None)
        shares = [c.arm.explore_share for c in chosen if c.arm is not None and c.arm.explore_share is not None]
        return _with_arms(
            {choice.experiment.name: _name(choice) for choice in chosen},
            self._variants(way),
            () if mixed is None else tuple(arm.name for arm in mixed.arms),
            shares[-1] if shares else None,
        )

    def _variants(self, way: Sequence[_Choice | None]) -> tuple[str, ...]:
        """Return the names of the shelves that a choice in each layer reads, in the order of interleaved arms."""
        arms = [
            [(choice.experiment, arm) for arm in (choice.experiment.arms if choice.arm is None else [choice.arm])]
            for choice in way
            if choice is not None
        ]
        return tuple(
            "+".join(f"{experiment.name}={arm.name}" for experiment, arm in together if arm.is_own_shelf) or BASE
            for together in product(*arms)
        )


_AGAIN = "run topshelf stage publish again"


def _choices(layer: Layer) -> Iterator[_Choice]:
    """Yield a layer's choices in the order of their codes."""
    for experiment in layer.experiments:
        if experiment.kind == "interleave":
            yield _Choice(experiment, None)
        else:
            yield from (_Choice(experiment, arm) for arm in experiment.arms)


def choice_names(layer: Layer) -> list[tuple[str, str]]:
    """Return experiment and arm of a layer's choices, in the order of their codes from 1."""
    return [(choice.experiment.name, _name(choice)) for choice in _choices(layer)]


def _name(choice: _Choice) -> str:
    return INTERLEAVED if choice.arm is None else choice.arm.name


def _split(part: str) -> tuple[str, str]:
    experiment, _, arm = part.partition("=")
    return experiment, arm


def experiment_blobs(layers: Sequence[Layer], buckets: NDArray[np.uint8]) -> Iterator[tuple[str, bytes]]:
    """Yield the blobs of experiments; none where none runs. Raises ExperimentsError as `Experiments` does."""
    if layers:
        Experiments(layers, buckets)
        yield "experiments", pack_json(msgspec.to_builtins(list(layers)))
        yield "experiment_buckets", pack(buckets)


def read_experiments(layers: Sequence[Layer], buckets: NDArray[np.uint8]) -> Experiments:
    """Return the experiments of `experiment_blobs`, from its JSON and its flat buckets."""
    return Experiments(layers, buckets.reshape(len(layers), -1))
