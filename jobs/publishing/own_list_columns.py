"""Turn one shard of marts/shopper_lists into records of shoppers' own lists (`serving.snapshot.own_lists`)."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.publishing.snapshot_columns import PublishError
from serving.snapshot.own_lists import LISTS, OWN_LISTS, REASON_OF_LIST, SOURCE_OF_LIST
from serving.snapshot.record import ShelfColumns, record_key

LIST_COLUMNS = ("list", "user_id", "rank", "item_id", "score")
NO_LISTS = pa.table(
    {
        "list": pa.array([], pa.string()),
        "user_id": pa.array([], pa.string()),
        "rank": pa.array([], pa.int32()),
        "item_id": pa.array([], pa.string()),
        "score": pa.array([], pa.float64()),
    }
)


def own_list_columns(lists: pa.Table, ids: pa.Array) -> tuple[ShelfColumns, list[bytes]]:
    """Return the lists of one shard as record columns, and the key of each record, ascending.

    A record holds a shopper's items to buy again by rank, then those that were viewed; it has no segment.

    Raises:
        PublishError: a list or an item is unknown.
    """
    order = pc.index_in(lists["list"], value_set=pa.array(list(LISTS)))
    if order.null_count:
        odd = lists["list"].filter(pc.is_null(order))[0].as_py()
        raise PublishError(f"marts/shopper_lists has a list {odd!r}; serving.snapshot knows {', '.join(LISTS)}")
    by_user = [("user_id", "ascending"), ("order", "ascending"), ("rank", "ascending")]
    lists = lists.append_column("order", order).sort_by(by_user)
    positions = pc.index_in(lists["item_id"], value_set=ids)
    if positions.null_count:
        odd = lists["item_id"].filter(pc.is_null(positions))[0].as_py()
        raise PublishError(
            f"marts/shopper_lists names item {odd!r}, which features/item does not have; run both for the same day"
        )
    user_ids = lists["user_id"].to_pylist()
    starts = [0, *(row for row, (before, user) in enumerate(pairwise(user_ids), 1) if user != before)][: len(lists)]
    of_list = lists["order"].to_numpy()
    columns = ShelfColumns(
        np.append(starts, len(lists)).astype(np.int64),
        positions.to_numpy().astype(np.uint32),
        lists["score"].to_numpy(),
        np.array(list(SOURCE_OF_LIST.values()), np.uint8)[of_list],
        np.array(list(REASON_OF_LIST.values()), np.uint8)[of_list],
        np.full(len(lists), -1, np.int32),
        np.zeros(len(starts), np.uint16),
    )
    keys = [record_key(user_ids[start], OWN_LISTS) for start in starts]
    order_of_keys = sorted(range(len(keys)), key=keys.__getitem__)  # "a" before "ab", but "ab" ff before "a" ff
    return columns.take_users(np.array(order_of_keys, np.int64)), [keys[row] for row in order_of_keys]
