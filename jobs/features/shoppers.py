"""Read the shoppers of one shard with their histories as flat arrays, in batches.

Candidates, ranking features and reasons work on these arrays, without loops over users or items. A batch is read when
the one before is done with (`shopper_batches`): a process holds no more of a shard of 8 million shoppers than of one
of 8,000.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from jobs.features.strength import interaction_values
from jobs.lake.contracts import arrow_schema, contract
from jobs.lake.lake import Lake
from jobs.lake.tables import USER, USER_ITEM
from jobs.numeric.arrays import distinct_above

Column = npt.NDArray[Any]

BATCH_USERS = 512
"""Shoppers of a batch. The size is fixed, as it decides the order of float sums."""
PAIRS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class ShopperHistories:
    """Users in byte order of their id, and their rows of features/user_item by user, then item position.

    `users` holds the columns of features/user by name, `history` those of features/user_item. The history rows of
    user u are `indptr[u]:indptr[u + 1]`.
    """

    user_id: pa.Array
    users: dict[str, Column]
    history: dict[str, Column]
    indptr: npt.NDArray[np.int64]
    n_items: int

    def __len__(self) -> int:
        return len(self.user_id)

    def matrix(self) -> sp.csr_matrix:
        """Return users x items with the interaction values that CF is fitted to; rows without weight are 0."""
        values = interaction_values(self.history["weight_milli"])
        cols = self.history["item_pos"].astype(np.int32)
        return sp.csr_matrix((values, cols, self.indptr), shape=(len(self), self.n_items))

    def history_user(self) -> npt.NDArray[np.int64]:
        """Return the index of the user of each history row."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    def later_moments(self) -> npt.NDArray[np.int64]:
        """Return at how many later times the user's other pairs had their last event, of each history row."""
        return distinct_above(self.history_user(), self.history["last_event_ts"].astype(np.int64))

    def take(self, start: int, stop: int) -> "ShopperHistories":
        """Return the users from `start` up to, not including, `stop`."""
        low, high = self.indptr[start], self.indptr[stop]
        return ShopperHistories(
            user_id=self.user_id[start:stop],
            users={name: column[start:stop] for name, column in self.users.items()},
            history={name: column[low:high] for name, column in self.history.items()},
            indptr=self.indptr[start : stop + 1] - low,
            n_items=self.n_items,
        )

    def where(self, kept: npt.NDArray[np.bool_]) -> "ShopperHistories":
        """Return the users for whom `kept` [len(self)] is true."""
        if kept.all():
            return self
        rows = kept[self.history_user()]
        return ShopperHistories(
            user_id=self.user_id.filter(pa.array(kept)),
            users={name: column[kept] for name, column in self.users.items()},
            history={name: column[rows] for name, column in self.history.items()},
            indptr=np.append(0, np.cumsum(np.diff(self.indptr)[kept])),
            n_items=self.n_items,
        )

    def awake(self, dormant_days: int) -> npt.NDArray[np.bool_]:
        """Return [len(self)] whose last event is at most `dormant_days` ago; with 0 days, everybody is awake."""
        if not dormant_days:
            return np.ones(len(self), dtype=np.bool_)
        return np.asarray(self.users["days_since_last_event"] <= dormant_days)

    def batches(self) -> Iterator["ShopperHistories"]:
        """Yield the users, BATCH_USERS at a time."""
        for start in range(0, len(self), BATCH_USERS):
            yield self.take(start, min(start + BATCH_USERS, len(self)))


def load_shoppers(lake: Lake, ds: date, shard: int, n_items: int, only: pa.Array | None = None) -> ShopperHistories:
    """Load one shard as of `ds` whole; of its users those in `only`, if given.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    users = lake.shard(USER, ds, shard)
    if only is not None:
        users = users.filter(pc.is_in(users["user_id"], value_set=only))
    return _histories(users, lake.shard(USER_ITEM, ds, shard), n_items)


def shopper_batches(
    lake: Lake, ds: date, shard: int, n_items: int, only: pa.Array | None = None
) -> Iterator[ShopperHistories]:
    """Yield the batches of `load_shoppers`, each read when it is asked for.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    pairs = _PairsInOrder(lake.shard_batches(USER_ITEM, ds, shard, PAIRS_AT_ONCE))
    for users in _batches_of_users(lake, ds, shard, only):
        yield _histories(users, pairs.of(users["user_id"]), n_items)


class _PairsInOrder:
    """Rows of features/user_item of one shard, which are in order of the user; read as they are asked for."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables, self._rest = tables, next(tables, None)
        none = arrow_schema(contract(USER_ITEM)).empty_table() if self._rest is None else self._rest
        self._none = none.slice(0, 0)

    def of(self, user_ids: pa.ChunkedArray) -> pa.Table:
        """Return the rows of these users, who come behind those of earlier calls."""
        taken = [self._none]
        while self._rest is not None:
            count = pc.sum(pc.less_equal(self._rest["user_id"], user_ids[-1])).as_py() or 0
            passed = self._rest.slice(0, count)
            taken.append(passed.filter(pc.is_in(passed["user_id"], value_set=user_ids)))
            if count < len(self._rest):
                self._rest = self._rest.slice(count)
                break
            self._rest = next(self._tables, None)
        return pa.concat_tables(taken)


def _batches_of_users(lake: Lake, ds: date, shard: int, only: pa.Array | None) -> Iterator[pa.Table]:
    """Yield BATCH_USERS rows of features/user at a time, of the users in `only` if given."""
    waiting: list[pa.Table] = []
    for users in lake.shard_batches(USER, ds, shard, BATCH_USERS):
        waiting.append(users if only is None else users.filter(pc.is_in(users["user_id"], value_set=only)))
        if sum(map(len, waiting)) >= BATCH_USERS:
            rows = pa.concat_tables(waiting)
            yield rows.slice(0, BATCH_USERS)
            waiting = [rows.slice(BATCH_USERS)]
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting)


def _histories(users: pa.Table, pairs: pa.Table, n_items: int) -> ShopperHistories:
    """Return rows of features/user with theirs of features/user_item; pairs of others are left out."""
    user_id = users["user_id"].combine_chunks()
    owner = pc.index_in(pairs["user_id"], value_set=user_id).combine_chunks()
    known = pc.is_valid(owner)
    return ShopperHistories(
        user_id=user_id,
        users=_columns(users, leave={"user_id"}),
        history=_columns(pairs.filter(known), leave={"user_id", "item_id"}),
        indptr=np.searchsorted(owner.filter(known).to_numpy(), np.arange(len(user_id) + 1)).astype(np.int64),
        n_items=n_items,
    )


def _columns(table: pa.Table, leave: set[str]) -> dict[str, Column]:
    """Return a table's columns as NumPy arrays; missing numbers become NaN, which makes the column float64."""
    return {
        name: table[name].combine_chunks().to_numpy(zero_copy_only=False)
        for name in table.column_names
        if name not in leave
    }
