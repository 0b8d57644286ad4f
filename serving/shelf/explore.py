"""Exploration: a few fixed places of a shelf show items worth learning about, with an exact propensity.

The night draws ORDERINGS posterior orderings of every pool (Thompson sampling: Chapelle and Li, 2011). A request
selects one by an HMAC of its own key, and each exploration slot takes that ordering's next eligible item. The
propensity of an item in a slot is the share of orderings that would have put it there, given the items eligible now.
It is counted, not estimated.

    exploration_slots(limit=20, share=0.1)  # (4, 14)
"""

import hmac
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import count as numbers
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.shelf.bounded_table import BoundedTable
from serving.snapshot.contents import MAX_POOL_ITEMS, ORDERINGS, Pool
from serving.snapshot.record import REASON_CODES

_CHOICES_BYTES = 320  # of the objects of one result: a tuple, two byte strings, a key
_FIRST_LOOK = 16  # places of each ordering read first, beside two a slot: most items are eligible
_REASON_NEW, _REASON_UNCERTAIN = REASON_CODES.index("new_item"), REASON_CODES.index("explore")

_share = [(others + 1) / ORDERINGS for others in range(ORDERINGS)].__getitem__


class Choices(NamedTuple):
    """What each of the ORDERINGS puts into some slots, given the eligible items of a pool."""

    eligible_count: int
    slots: int
    rows: bytes  # of the pool, as uint8 [ORDERINGS, slots]
    others: bytes  # how many other orderings have the same row in the slot, as uint8 [ORDERINGS, slots]


# All pools of a worker share one table, so its bound holds however many pools a night has. Keys begin with the number
# of a pool, so the table refers to no pool and a pool that is gone is let go.
CHOICES: BoundedTable[tuple[int, bytes, int], Choices] = BoundedTable(32 << 20)
_POOL_NUMBERS = numbers()


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
        self._number = next(_POOL_NUMBERS)

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

    def choice(self, eligible: bytes, count: int, ordering: int) -> tuple[int, bytes, Iterator[float]]:
        """Return the number of eligible rows, and what one ordering puts into `count` slots: rows and propensities.

        With fewer eligible rows than slots, the first slots are filled.
        """
        key = (self._number, eligible, count)
        choices = CHOICES.get(key)
        if choices is None:
            choices = choose(self.orders, np.frombuffer(eligible, np.bool_), count)
            CHOICES.put(key, choices, 2 * len(choices.rows) + len(eligible) + _CHOICES_BYTES)
        eligible_count, slots, rows, others = choices
        first = ordering * slots
        return eligible_count, rows[first : first + slots], map(_share, others[first : first + slots])


def choose(orders: NDArray[np.uint8], mask: NDArray[np.bool_], count: int) -> Choices:
    """Return what each of `orders` [ORDERINGS, rows] puts into `count` slots, given the rows that `mask` allows."""
    eligible_count = int(np.count_nonzero(mask))
    slots = min(count, eligible_count)
    rows = first_eligible(orders, mask, slots)
    cells = rows + np.arange(slots, dtype=np.int64) * MAX_POOL_ITEMS  # one for each row in each slot
    others = np.bincount(cells.ravel(), minlength=1)[cells] - 1
    return Choices(eligible_count, slots, rows.tobytes(), others.astype(np.uint8).tobytes())


def first_eligible(orders: NDArray[np.uint8], mask: NDArray[np.bool_], count: int) -> NDArray[np.uint8]:
    """Return the first `count` rows of each ordering that `mask` allows: [orderings, count].

    `mask` must allow at least `count` rows.
    """
    looked_at = orders[:, : _FIRST_LOOK + 2 * count]
    allowed = mask[looked_at]
    allowed_count = np.count_nonzero(allowed, axis=1)
    if count and allowed_count.min() < count:
        looked_at, allowed = orders, mask[orders]
        allowed_count = np.count_nonzero(allowed, axis=1)
    start = np.cumsum(allowed_count) - allowed_count
    first: NDArray[np.uint8] = looked_at[allowed][start[:, None] + np.arange(count)]
    return first
