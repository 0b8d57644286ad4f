"""The fixed orderings by which an endpoint perturbs ranked places, and how often each puts an item where.

They are drawn once for each number of places by Plackett and Luce's model around the ranking: an item of rank r is as
likely to come first as 1 / r to the power of 1 / TEMPERATURE. So the propensity of an item in a place is counted, and
the same for every answer of a length; an evaluation of the log counts it alike. docs/adr/0011 says why so.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from serving.snapshot.contents import ORDERINGS

TEMPERATURE = 0.5
MOST_PLACES = 100
"""Ranked places after these stay as they are."""


class PlaceOrderings(NamedTuple):
    """Orderings of some places, and how often each puts an item where."""

    orders: tuple[tuple[int, ...], ...]  # [ORDERINGS][place] the rank, from 0, of the item that stands there
    shares: tuple[tuple[float, ...], ...]  # [rank][place] the share of the orderings that put it there


@lru_cache(MOST_PLACES + 1)
def orderings(count: int) -> PlaceOrderings:
    """Return the orderings of `count` ranked places."""
    worth = np.random.default_rng(count).gumbel(size=(ORDERINGS, count)) * TEMPERATURE - np.log(np.arange(count) + 1)
    orders = np.argsort(-worth, axis=1, kind="stable")
    shares = np.zeros((count, count))
    np.add.at(shares, (orders, np.arange(count)), 1 / ORDERINGS)
    return PlaceOrderings(tuple(map(tuple, orders.tolist())), tuple(map(tuple, shares.tolist())))
