"""What the shelves of one page are made from: the shopper, the item and the basket that the page is about."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.shelf.filters import LiveColumns
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.request import ShelfRequest, excluded_positions
from serving.shelf.snapshot import Snapshot
from serving.snapshot.own_lists import NO_OWN_LISTS, OwnLists
from serving.snapshot.record import PackedShelf

_VIEWED = frozenset(ACTION_KINDS.index(kind) for kind in ("click", "view", "add_to_cart"))
_CARTED, _BOUGHT = ACTION_KINDS.index("add_to_cart"), ACTION_KINDS.index("purchase")
_FAVOURITES = 3
_TASTE_ITEMS = 30  # of the stored shelf that tell what the shopper likes


@dataclass(frozen=True)
class PageContext:
    """One request for a page over one snapshot and the present."""

    snapshot: Snapshot
    live: LiveColumns
    request: ShelfRequest
    actions: LastActions | None = None
    stored: PackedShelf | None = None  # the shopper's shelf, for their taste
    own: OwnLists = NO_OWN_LISTS
    item: int = -1  # the position of the item that the page is about
    sent_basket: tuple[int, ...] = ()

    @property
    def basket(self) -> tuple[int, ...]:
        """Positions of the items in the basket: those of the request, or else those that the last actions put in."""
        return self.sent_basket or self._acted((_CARTED,), without=self.bought)

    def page_items(self) -> set[int]:
        """Return what no shelf of the page shows: its item, the basket, and what the request excludes."""
        about = {self.item, *self.basket} - {-1}
        return about | excluded_positions(self.snapshot, self.request)

    @property
    def bought(self) -> tuple[int, ...]:
        """Positions of the items that the last actions bought."""
        return self._acted((_BOUGHT,))

    @property
    def viewed(self) -> tuple[int, ...]:
        """Positions of the items looked at, newest first: of the last actions, then those that the night knows."""
        latest = self._acted(_VIEWED, without=self.bought)
        return tuple(dict.fromkeys((*latest, *self.own.recently_viewed[0].tolist())))

    def _acted(self, kinds: Sequence[int] | frozenset[int], without: Sequence[int] = ()) -> tuple[int, ...]:
        if self.actions is None:
            return ()
        acted = zip(self.actions.positions, self.actions.kinds, strict=True)
        return tuple(dict.fromkeys(position for position, kind in acted if kind in kinds and position not in without))

    @property
    def category(self) -> str:
        """The category that the page is about: that of the request, or else that of its item; empty for none."""
        return self.request.category or (self.snapshot.category(self.item) if self.item >= 0 else "")

    def favourite_categories(self) -> list[str]:
        """Return the categories that the shopper likes best, each followed by the one above it; empty for nobody's.

        The items of the last actions and those at the top of the stored shelf count for their category, each less
        than the one before it.
        """
        tops = self.stored.positions(min(self.stored.count, _TASTE_ITEMS)).tolist() if self.stored else []
        weights: dict[str, float] = {}
        for positions in (self.viewed, tops):
            for place, position in enumerate(positions):
                path = self.snapshot.category(position)
                if path:
                    weights[path] = weights.get(path, 0.0) + 1 / (1 + place)
        best = sorted(weights, key=lambda path: (-weights[path], path))[:_FAVOURITES]
        above = ((path, path.rpartition("/")[0]) for path in best)
        return list(dict.fromkeys(each for pair in above for each in pair if each))

    def basket_price_minor(self) -> int:
        """Return the summed live price of the basket; items of unknown price add nothing."""
        prices: NDArray[np.int64] = self.live.price_minor[list(self.basket)]
        return int(prices[prices > 0].sum())
