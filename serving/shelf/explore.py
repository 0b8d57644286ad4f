"""Exploration: a few fixed places of a shelf show items worth learning about, with an exact propensity.

The night draws ORDERINGS posterior orderings of every pool (Thompson sampling: Chapelle and Li, 2011). A request
selects one by an HMAC of its own key, and each exploration slot takes that ordering's next eligible item. The
propensity of an item in a slot is the share of orderings that would have put it there, given the items eligible now.
It is counted, not estimated.

    exploration_slots(limit=20, share=0.1)  # (4, 14)
"""

import hmac
from collections.abc import Collection
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from serving.snapshot.contents import ORDERINGS, Pool
from serving.snapshot.record import REASON_CODES

_KEPT_CHOICES = 4_096  # results of `choices` kept a pool, each for one set of eligible items
_FIRST_LOOK = 16  # places of each ordering read first: slots are few, and most items are eligible
_REASON_NEW, _REASON_UNCERTAIN = REASON_CODES.index("new_item"), REASON_CODES.index("explore")

Choice = tuple[tuple[int, ...], tuple[float, ...]]  # rows of the pool, one a slot, and their propensities


@lru_cache(4_096)
def exploration_slots(limit: int, share: float) -> tuple[int, ...]:
    """Return the 0-based places that explore: slot `j` is where `limit * share` reaches `j + 1/2`, for every user."""
    if share <= 0:
        return ()
    places = range(limit)
    return tuple(place for place in places if int((place + 1) * share + 0.5) > int(place * share + 0.5))


def ordering_number(secret: bytes, request_key: bytes) -> int:
    """Return the number of the ordering that a request uses: the first byte of HMAC-SHA256 over its key."""
    return hmac.digest(secret, request_key, "sha256")[0]


class ExplorePool:
    """One pool as lookups use it: its items, and the orderings as rows of the pool."""

    def __init__(self, pool: Pool) -> None:
        self.category, self.draws, self.prior = pool.category, pool.draws, pool.prior
        self.positions = np.asarray(pool.positions, np.int64)
        self.means, self.new = pool.means, pool.new
        self.reasons = [_REASON_NEW if new else _REASON_UNCERTAIN for new in pool.new.tolist()]
        order = np.argsort(-pool.draws, axis=1, kind="stable")  # equal draws: the earlier row first
        self.orders = order.astype(np.uint8)
        self.items: list[int] = self.positions.tolist()
        self.scores: list[float] = self.means.tolist()
        self.row = {position: row for row, position in enumerate(self.items)}
        self._members = frozenset(self.items)
        self.choices = lru_cache(_KEPT_CHOICES)(self._choices)

    def __len__(self) -> int:
        return len(self.positions)

    def eligible(self, mask: NDArray[np.bool_], *unfit: Collection[int]) -> bytes:
        """Return `mask` [items of the pool] as `choices` takes it, the rows of `unfit` positions cleared in place."""
        row = self.row
        for positions in unfit:
            if not self._members.isdisjoint(positions):
                for position in positions:
                    if position in row:
                        mask[row[position]] = False
        return mask.tobytes()

    def _choices(self, eligible: bytes, count: int) -> tuple[int, list[Choice]]:
        """Return the number of eligible rows, and what each of the ORDERINGS puts into `count` slots.

        With fewer eligible rows than slots, the first slots are filled.
        """
        mask = np.frombuffer(eligible, np.bool_)
        eligible_count = int(np.count_nonzero(mask))
        rows = first_eligible(self.orders, mask, min(count, eligible_count))
        propensities: NDArray[np.float64] = np.empty(rows.shape)
        for slot in range(rows.shape[1]):
            in_slot = rows[:, slot]
            propensities[:, slot] = np.bincount(in_slot, minlength=len(mask))[in_slot] / ORDERINGS
        choices = zip(rows.tolist(), propensities.tolist(), strict=True)
        return eligible_count, [(tuple(chosen), tuple(shares)) for chosen, shares in choices]


def first_eligible(orders: NDArray[np.uint8], mask: NDArray[np.bool_], count: int) -> NDArray[np.uint8]:
    """Return the first `count` rows of each ordering that `mask` allows: [orderings, count].

    `mask` must allow at least `count` rows.
    """
    width = min(orders.shape[1], max(_FIRST_LOOK, 4 * count))
    allowed = mask[orders[:, :width]]
    allowed_count = allowed.sum(axis=1)
    if count and allowed_count.min() < count:
        allowed = mask[orders]
        allowed_count = allowed.sum(axis=1)
    places: NDArray[np.int64] = allowed.nonzero()[1]
    start = np.cumsum(allowed_count) - allowed_count
    chosen = places[start[:, None] + np.arange(count)] if count else np.empty((len(orders), 0), np.int64)
    first: NDArray[np.uint8] = orders[np.arange(len(orders))[:, None], chosen]
    return first
