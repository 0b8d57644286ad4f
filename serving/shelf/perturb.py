"""Reorder the ranked places of a small share of answers, so that the log says what other rankings would have earned.

A perturbed answer uses one of the fixed orderings of `serving.snapshot.place_orderings`.
"""

from functools import lru_cache

from serving.shelf.explore import ordering_number
from serving.shelf.filled_shelf import RANKED, FilledShelf
from serving.snapshot.place_orderings import MOST_PLACES, orderings

_WORD = 1 << 32


def is_perturbed(request_key: bytes, share: float) -> bool:
    """Tell whether an answer is among the share that is perturbed."""
    return int.from_bytes(request_key[-4:], "big") < share * _WORD


@lru_cache(1_024)
def own_places(count: int, share: float) -> tuple[float, ...]:
    """Return how likely each of `count` ranked items stands in its own place."""
    perturbed = min(count, MOST_PLACES)
    shares = orderings(perturbed).shares
    return (*(1 - share + share * shares[rank][rank] for rank in range(perturbed)), *(1.0,) * (count - perturbed))


def perturb(filled: FilledShelf, share: float, secret: bytes, request_key: bytes) -> None:
    """Write the ranked places' propensities, and reorder those places in a `share` of all answers."""
    count = filled.slots.count(RANKED)
    if count == len(filled.slots):
        filled.propensities = list(own_places(count, share))
        places: list[int] | range = range(count)
    else:
        places = [place for place, slot in enumerate(filled.slots) if slot == RANKED]
        for place, propensity in zip(places, own_places(count, share), strict=True):
            filled.propensities[place] = propensity
    if count and is_perturbed(request_key, share):
        drawn = orderings(min(count, MOST_PLACES))
        order = drawn.orders[ordering_number(secret, request_key + b"order")]
        filled.reorder(places[: len(order)], order)
        for rank, (place, moved) in enumerate(zip(places, order, strict=False)):
            filled.propensities[place] = share * drawn.shares[moved][rank] + (1 - share) * (moved == rank)
