"""Random draws without state: each is a function of its keys, whatever the order or the partition of the work.

A draw is a hash of the shop's seed, a stream's name and integer keys (of the user, the day, …), so every machine
draws the same.

    >>> uniform(7, "price", np.arange(3))  # three numbers in [0, 1), the same everywhere
"""

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

Bits = NDArray[np.uint64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def bits(seed: int, stream: str, *keys: ArrayLike) -> Bits:
    """Return 64 random bits for each element of the broadcast integer `keys`: the finaliser of SplitMix64, chained.

    Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (OOPSLA 2014).
    """
    name = int.from_bytes(hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest(), "little")
    state: Bits | np.uint64 = np.uint64(name)
    with np.errstate(over="ignore"):  # multiplication modulo 2**64 is meant
        for key in keys:
            state = state ^ (np.asarray(key).astype(np.int64).view(np.uint64) * GOLDEN)
            state = (state ^ (state >> np.uint64(30))) * _MIX_1
            state = (state ^ (state >> np.uint64(27))) * _MIX_2
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state, dtype=np.uint64)


def uniform(seed: int, stream: str, *keys: ArrayLike) -> Floats:
    """Return numbers in [0, 1) on a grid of 2**-53."""
    return np.asarray((bits(seed, stream, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def below(limit: ArrayLike, seed: int, stream: str, *keys: ArrayLike) -> Ints:
    """Return integers in [0, limit), limit at most 2**31."""
    high = bits(seed, stream, *keys) >> np.uint64(32)
    return np.asarray((high * np.asarray(limit).astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def normal(seed: int, stream: str, *keys: ArrayLike) -> Floats:
    """Return numbers of mean 0 and variance 1 that look normal and stay within 3.5: four uniforms summed.

    Such sums are the same on every processor; logarithms and cosines need not be.
    """
    drawn = bits(seed, stream, *keys)
    total = np.zeros(drawn.shape)
    for shift in (0, 16, 32, 48):
        total += ((drawn >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64)
    return np.asarray((total / 65536.0 - 2.0) * np.sqrt(3.0))


def gumbel(seed: int, stream: str, *keys: ArrayLike) -> Floats:
    """Return standard Gumbel numbers: adding them to scores and taking the largest draws by softmax."""
    return np.asarray(-np.log(-np.log(uniform(seed, stream, *keys) + 2.0**-54)))
