"""Turn the marts into what a snapshot stores: catalogue, fallback shelves, segments, and shelves as columns.

Pure functions over Arrow tables of one day; `jobs.publish` reads the tables and writes the snapshot.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.record import REASON_CODES, SOURCES, ShelfColumns, record_key
from serving.stores.contents import UNKNOWN, Catalogue

POPULARITY = ("purchaser_count_30d", "weight_30d_milli", "weight_total_milli")
_MAX_SEGMENTS = 65_534
Segments = Mapping[tuple[str, str], int]


class PublishError(RuntimeError):
    """A night that makes no snapshot; what is live stays."""


def catalogue_of(items: pa.Table) -> Catalogue:
    """The snapshot's catalogue from features/item, in the order of `item_pos`. Raises PublishError."""
    items = items.sort_by("item_pos")
    if not np.array_equal(items["item_pos"].to_numpy(), np.arange(len(items))):
        raise PublishError("features/item: item_pos does not count 0 to n-1; run jobs.features again")
    keys = [-np.nan_to_num(_numbers(items, name, 0)) for name in reversed(POPULARITY) if name in items.column_names]
    popularity = np.lexsort([np.arange(len(items)), *keys]) if keys else np.arange(len(items))
    text = {name: items[name].fill_null("").to_pylist() for name in ("title", "category", "brand", "seller_id")}
    return Catalogue(
        items["item_id"].to_pylist(),
        text["title"],
        text["category"],
        text["brand"],
        text["seller_id"],
        _numbers(items, "price_minor", UNKNOWN).astype(np.int64),
        np.minimum(_numbers(items, "stock", UNKNOWN), 2**31 - 1).astype(np.int32),
        popularity.astype(np.uint32),
    )


def _numbers(table: pa.Table, name: str, missing: int) -> NDArray[Any]:
    return np.asarray(table[name].fill_null(missing).to_numpy())


def fallback_shelves(fallback: pa.Table, item_ids: Sequence[str]) -> dict[tuple[str, str], tuple[Any, Any]]:
    """The fallback shelves by (shelf, key): positions and scores in the order of rank. Raises PublishError."""
    fallback = fallback.sort_by([("shelf", "ascending"), ("shelf_key", "ascending"), ("rank", "ascending")])
    positions = _positions(fallback["item_id"], pa.array(item_ids, pa.string()), "marts/fallback")
    scores = _numbers(fallback, "score", 0)
    rows: dict[tuple[str, str], list[int]] = {}
    names = zip(fallback["shelf"].to_pylist(), fallback["shelf_key"].fill_null("").to_pylist(), strict=True)
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return {name: (positions[of], scores[of]) for name, of in rows.items()}


def segments_of(users: Iterable[pa.Table]) -> Segments:
    """Number the pairs of region and age band that users have: the first, of none, is 0; the most frequent stay."""
    counts: Counter[tuple[str, str]] = Counter()
    for table in users:
        counts.update(_pairs(table))
    del counts["", ""]
    kept = sorted(counts, key=lambda pair: (-counts[pair], pair))[:_MAX_SEGMENTS]
    return {pair: number for number, pair in enumerate([("", ""), *sorted(kept)])}


def _pairs(users: pa.Table) -> list[tuple[str, str]]:
    columns = [users[name].fill_null("").to_pylist() for name in ("region", "age_band")]
    return list(zip(*columns, strict=True))


def _positions(values: Any, ids: pa.Array, table: str, *, unknown_is_none: bool = False) -> NDArray[np.int64]:
    """Rows of the catalogue, -1 for null. Raises PublishError for an item that it does not have."""
    found = pc.index_in(values, value_set=ids, skip_nulls=True)
    if not unknown_is_none and found.null_count != values.null_count:
        odd = values.filter(pc.and_(pc.is_null(found), pc.is_valid(values)))[0].as_py()
        raise PublishError(
            f"{table} names item {odd!r}, which features/item does not have; run both for the same day"
        )
    return np.asarray(found.fill_null(-1).to_numpy()).astype(np.int64)


def _codes(values: Any, vocabulary: tuple[str, ...], name: str) -> NDArray[np.uint8]:
    found = pc.index_in(values, value_set=pa.array(vocabulary))
    if found.null_count:
        odd = values.filter(pc.is_null(found))[0].as_py()
        raise PublishError(f"marts/top_n has {name} {odd!r}; serving.record knows {', '.join(vocabulary)}")
    return np.asarray(found.to_numpy()).astype(np.uint8)


def shelf_columns(
    shelves: pa.Table, users: pa.Table, ids: pa.Array, segments: Segments
) -> tuple[ShelfColumns, list[bytes]]:
    """One shard of marts/top_n as columns for the record, and the key of each record. Raises PublishError."""
    n = len(shelves)
    changed = np.ones(n, bool)
    for number, name in enumerate(("user_id", "variant")):
        column = shelves[name].combine_chunks()
        differs = pc.not_equal(column.slice(1), column.slice(0, max(0, n - 1))).to_numpy(zero_copy_only=False)
        changed[1:] = differs if number == 0 else changed[1:] | differs
    starts = np.flatnonzero(changed)
    offsets = np.append(starts, n).astype(np.int64)
    expected = np.arange(n) - np.repeat(starts, np.diff(offsets)) + 1
    if not np.array_equal(shelves["rank"].to_numpy(), expected):
        raise PublishError("marts/top_n: ranks do not count from 1 for each user; run jobs.rank again")
    owners = shelves.select(["user_id", "variant"]).take(pa.array(starts))
    row = pc.index_in(owners["user_id"], value_set=users["user_id"].combine_chunks()).fill_null(len(users)).to_numpy()
    of_user = np.array([segments.get(pair, 0) for pair in _pairs(users)] + [0], np.uint16)
    columns = ShelfColumns(
        offsets,
        _positions(shelves["item_id"], ids, "marts/top_n").astype(np.uint32),
        shelves["score"].to_numpy(),
        _codes(shelves["source"], SOURCES, "source"),
        _codes(shelves["reason_code"], REASON_CODES, "reason_code"),
        _positions(shelves["reason_item_id"], ids, "marts/top_n", unknown_is_none=True),
        of_user[row],
    )
    keys = map(record_key, owners["user_id"].to_pylist(), owners["variant"].to_pylist())
    return columns, list(keys)
