"""Which items may be shown now: live price and stock, and the price range and category that a request asks for.

from serving.shelf.filters import Filters
mask = Filters(prices=(0, 1000)).eligible(snapshot, live, positions)
"""

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.shelf.snapshot import Snapshot


class LiveColumns(Protocol):
    """Live price and stock, one entry an item of a snapshot's catalogue."""

    servable: NDArray[np.bool_]  # not hidden, and in stock or of unknown stock
    price_minor: NDArray[np.int64]  # -1 for unknown
    stock: NDArray[np.int32]  # -1 for unknown
    masks: dict[object, NDArray[np.bool_]]  # cache of results over these columns; emptied when they change


class Filters(msgspec.Struct, frozen=True, gc=False):
    """What a request restricts: a price range in minor units, both ends inclusive, and a half-open category range."""

    prices: tuple[int, int] | None = None
    nodes: tuple[int, int] | None = None  # rows of the snapshot's `categories`
    without_nodes: tuple[tuple[int, int], ...] = ()  # ranges of them that are left out

    def eligible(self, snapshot: Snapshot, live: LiveColumns, positions: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which of these items may be shown now: [positions]. An unknown price passes no price filter."""
        mask: NDArray[np.bool_] = live.servable[positions]
        if self.prices is not None:
            price = live.price_minor[positions]
            mask &= price >= self.prices[0]
            mask &= price <= self.prices[1]
        if self.nodes is not None:
            node = snapshot.item_category[positions]
            mask &= node >= self.nodes[0]
            mask &= node < self.nodes[1]
        for first, end in self.without_nodes:
            node = snapshot.item_category[positions]
            mask &= (node < first) | (node >= end)
        return mask
