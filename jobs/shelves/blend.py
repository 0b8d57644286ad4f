"""Reorder the head of a shelf: vary it by content, and cap the items of one category, brand or seller.

>>> order = blended(user, item, value, by_value, catalogue, item_vectors, Blend(mmr_lambda=0.9))

Maximal marginal relevance (Carbonell and Goldstein 1998) fills place after place with the item that has the largest
`mmr_lambda * relevance - (1 - mmr_lambda) * similarity`. Relevance is the value as a share of the shopper's best;
similarity is the largest cosine with an item that is already placed. All shoppers of a batch are computed together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jobs.features.catalogue import Catalogue
from jobs.numeric.arrays import Column, Flags, Floats, Values, Whole

POOL_PER_PLACE = 5
"""The pool for the head has this many items a place: those of the highest value."""


@dataclass(frozen=True)
class Blend:
    """How the head of a shelf, its first `places`, is chosen. By default by value alone."""

    mmr_lambda: float = 1.0
    """1 is value alone, 0 is difference alone."""
    places: int = 20
    most_of: Mapping[str, int] = field(default_factory=dict)
    """The most places for one category, brand or seller_id, by column; other columns have no cap."""

    @property
    def by_value(self) -> bool:
        """Whether the order by value stays."""
        return self.mmr_lambda == 1 and not self.most_of


@dataclass(frozen=True)
class NewItemBoost:
    """How much the value of new items is raised. By default not at all."""

    new_item_boost: float = 0.0
    """The share by which the value of an item is raised on its first day."""
    new_item_boost_days: int = 30
    """The age at which nothing is left of the boost."""

    def boosted(self, value: Values, age_days: Column) -> Values:
        """Return the values, raised by a share that falls linearly with the age to 0."""
        if not self.new_item_boost:
            return value
        left = np.clip(1 - age_days.astype(np.float64) / self.new_item_boost_days, 0, 1)
        return np.asarray(value * (1 + self.new_item_boost * left))


def blended(
    user: Whole,
    item: npt.NDArray[np.int32],
    value: Values,
    by_value: Whole,
    catalogue: Catalogue,
    item_vectors: Floats,
    blend: Blend,
) -> Whole:
    """Return the rows in order of (user, place): `by_value` with the head of each user's shelf reordered.

    `by_value` are rows in order of (user, -value). Where only items of full groups are left, caps are
    ignored: a cap never shortens a shelf.
    """
    if blend.by_value or not len(by_value):
        return by_value
    start = np.flatnonzero(np.diff(user[by_value], prepend=-1))
    length = np.diff(np.append(start, len(by_value)))
    place = np.arange(len(by_value)) - np.repeat(start, length)
    pool = np.full((len(start), min(blend.places * POOL_PER_PLACE, int(length.max()))), -1, dtype=np.int64)
    pooled = place < pool.shape[1]
    pool[np.repeat(np.arange(len(start)), length)[pooled], place[pooled]] = by_value[pooled]
    head = _head(pool, item, value, catalogue, item_vectors, blend)
    # Items of the head come first, in their places; all others follow by value.
    key = place + head.shape[1]
    for head_place in range(head.shape[1]):
        taken = head[:, head_place]
        key[(start + taken)[taken >= 0]] = head_place
    return by_value[np.lexsort((key, user[by_value]))]


def _head(
    pool: Whole,
    item: npt.NDArray[np.int32],
    value: Values,
    catalogue: Catalogue,
    item_vectors: Floats,
    blend: Blend,
) -> Whole:
    """Return [n_users, places]: the column of `pool` that fills each place, -1 when none is left.

    `pool` is [n_users, n] rows, best value first, padded with -1.
    """
    items, free = item[pool], pool >= 0
    relevance = value[pool] / np.maximum(value[pool[:, :1]], 1e-12)
    nearest = np.zeros(pool.shape)
    vectors = item_vectors[items] if blend.mmr_lambda < 1 else None
    groups = [(catalogue.groups(name)[items], most) for name, most in sorted(blend.most_of.items())]
    counts = [np.zeros(pool.shape, dtype=np.int64) for _ in groups]
    users = np.arange(len(pool))
    head = np.full((len(pool), min(blend.places, pool.shape[1])), -1, dtype=np.int64)
    for place in range(head.shape[1]):
        allowed = _allowed(free, [count < most for (_, most), count in zip(groups, counts, strict=True)])
        gain = np.where(allowed, blend.mmr_lambda * relevance - (1 - blend.mmr_lambda) * nearest, -np.inf)
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


def _allowed(free: Flags, below_cap: list[Flags]) -> Flags:
    """Return the free items that no cap excludes; all free items of a user for whom caps exclude every one."""
    allowed = np.logical_and.reduce([free, *below_cap])
    return np.where(allowed.any(axis=1, keepdims=True), allowed, free)
