"""Order the head of a shelf: varied by content, and no more than so many items of one category, brand or seller.

>>> order = blended(user, found.item, value, by_value, catalogue, item_vectors, Blend(mmr_lambda=0.9))

Maximal marginal relevance (Carbonell and Goldstein 1998) takes, place by place, the item with the largest
`mmr_lambda * relevance - (1 - mmr_lambda) * similarity`: relevance is the value as a share of the shopper's best, and
similarity the largest cosine with an item that is placed already. All shoppers of a batch are done at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.features.catalogue import Catalogue

POOL = 5
"""So many items for each place are looked at: those of the highest value."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Blend:
    """How the first `places` of a shelf are chosen; as it stands, by value alone."""

    mmr_lambda: float = 1.0
    """1 is value alone, 0 difference alone."""
    places: int = 20
    most_of: Mapping[str, int] = field(default_factory=dict)
    """At most so many of the places go to one category, brand or seller_id."""

    @property
    def by_value(self) -> bool:
        """Whether the order by value stays as it is."""
        return self.mmr_lambda == 1 and not self.most_of


@dataclass(frozen=True)
class NewItemBoost:
    """How far new items are raised; as it stands, not at all."""

    new_item_boost: float = 0.0
    """The share that the value of an item on its first day is raised by."""
    new_item_boost_days: int = 30
    """The age at which nothing is left of it."""

    def boosted(self, value: npt.NDArray[np.float64], age_days: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the values of items of these ages, raised by a share that falls to 0 evenly, day by day."""
        if not self.new_item_boost:
            return value
        left = np.clip(1 - age_days.astype(np.float64) / self.new_item_boost_days, 0, 1)
        return np.asarray(value * (1 + self.new_item_boost * left))


def blended(
    user: Rows,
    item: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    by_value: Rows,
    catalogue: Catalogue,
    item_vectors: npt.NDArray[np.float32],
    how: Blend,
) -> Rows:
    """Return the rows in order of (user, place): `by_value`, rows in order of (user, -value), with heads reordered.

    A shopper whose items are all of capped groups gets them by value: a shelf is never shorter for a rule.
    """
    if how.by_value or not len(by_value):
        return by_value
    start = np.flatnonzero(np.diff(user[by_value], prepend=-1))
    length = np.diff(np.append(start, len(by_value)))
    place = np.arange(len(by_value)) - np.repeat(start, length)
    pool = np.full((len(start), min(how.places * POOL, int(length.max()))), -1, dtype=np.int64)
    pooled = place < pool.shape[1]
    pool[np.repeat(np.arange(len(start)), length)[pooled], place[pooled]] = by_value[pooled]
    head = _head(pool, item, value, catalogue, item_vectors, how)
    # What was taken goes first, in its places; all else follows by value.
    key = place + head.shape[1]
    for n in range(head.shape[1]):
        taken = head[:, n]
        key[(start + taken)[taken >= 0]] = n
    return by_value[np.lexsort((key, user[by_value]))]


def _head(
    pool: Rows,
    item: npt.NDArray[np.int32],
    value: npt.NDArray[np.float64],
    catalogue: Catalogue,
    item_vectors: npt.NDArray[np.float32],
    how: Blend,
) -> Rows:
    """Return [n_users, places]: for each place the column of `pool` that takes it, -1 where there is none left."""
    items, free = item[pool], pool >= 0
    relevance = value[pool] / np.maximum(value[pool[:, :1]], 1e-12)
    nearest = np.zeros(pool.shape)
    vectors = item_vectors[items] if how.mmr_lambda < 1 else None
    groups = [(catalogue.groups(name)[items], most) for name, most in sorted(how.most_of.items())]
    counts = [np.zeros(pool.shape, dtype=np.int64) for _ in groups]
    users = np.arange(len(pool))
    head = np.full((len(pool), min(how.places, pool.shape[1])), -1, dtype=np.int64)
    for place in range(head.shape[1]):
        allowed = _allowed(free, [count < most for (_, most), count in zip(groups, counts, strict=True)])
        gain = np.where(allowed, how.mmr_lambda * relevance - (1 - how.mmr_lambda) * nearest, -np.inf)
        taken = np.argmax(gain, axis=1)
        left = free[users, taken]
        head[left, place] = taken[left]
        free[users, taken] = False
        for n, (codes, _) in enumerate(groups):
            own = codes[users, taken][:, None]
            counts[n] += (codes == own) & (own >= 0) & left[:, None]
        if vectors is not None:
            nearest = np.maximum(nearest, np.einsum("upd,ud->up", vectors, vectors[users, taken]))
    return head


def _allowed(free: npt.NDArray[np.bool_], below: list[npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """Tell which items are left and held back by no cap; all that are left, where every one would be."""
    allowed = np.logical_and.reduce([free, *below])
    return np.where(allowed.any(axis=1, keepdims=True), allowed, free)
