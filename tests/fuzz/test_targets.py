"""A little fuzzing without a fuzzer: every target takes its seeds, and the same mutations of them each time."""

import random

import pytest

from tests.fuzz.targets import TARGETS, Target

MUTATIONS = 300


def mutated(chance: random.Random, target: Target) -> bytes:
    """A seed after one to four changes: bytes replaced, cut out, repeated, or a word of the format put in."""
    data = bytearray(chance.choice(target.seeds))
    for _ in range(chance.randrange(1, 5)):
        first = chance.randrange(len(data) + 1)
        end = min(len(data), first + chance.randrange(9))
        pieces = [chance.randbytes(end - first), b"", bytes(data[first:end]) * 2, *target.words]
        data[first:end] = chance.choice(pieces)
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_refusals_comes_of_any_bytes(name: str) -> None:
    target, chance = TARGETS[name], random.Random(name)
    for data in (b"", *target.seeds, *(mutated(chance, target) for _ in range(MUTATIONS))):
        try:
            target.take(data)
        except Exception as error:
            raise AssertionError(f"{name} of {data!r}") from error


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_is_read_whole_so_that_its_mutations_reach_every_branch(name: str) -> None:
    TARGETS[name].read(TARGETS[name].seeds[0])
