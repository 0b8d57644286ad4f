"""Turn the marts into what a snapshot stores: catalogue, fallback shelves, segments, and shelves as columns.

Pure functions over Arrow tables of one day; `jobs.publishing.publish` reads the tables and writes the snapshot.
"""

import operator
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.landing.image_address import image_addresses
from serving.snapshot.contents import NO_SEGMENT, UNKNOWN, Segment, SnapshotCatalogue
from serving.snapshot.record import REASON_CODES, SOURCES, ShelfColumns, record_key

POPULARITY = ("purchaser_count_30d", "weight_30d", "weight_total")
_MAX_SEGMENTS = 65_534
_BETWEEN_PATHS = "\x1f"
Segments = Mapping[Segment, int]


class PublishError(RuntimeError):
    """The night's tables make no snapshot. What is live stays live."""


def catalogue_of(
    items: pa.Table, withheld: NDArray[np.bool_] | None = None, usual_prices: pa.Table | None = None
) -> SnapshotCatalogue:
    """Return the snapshot's catalogue from features/item, in the order of `item_pos`.

    `usual_prices` is marts/usual_price; an item that it lacks usually costs what it costs.

    Items that are `withheld` stay in the catalogue, as records may name them, but appear in none of its lists.

    Raises:
        PublishError: `item_pos` does not count from 0 to n - 1.
    """
    items = items.sort_by("item_pos")
    if not np.array_equal(items["item_pos"].to_numpy(), np.arange(len(items))):
        raise PublishError("features/item: item_pos does not count 0 to n-1; run topshelf stage features again")
    keys = [-np.nan_to_num(_numbers(items, name, 0)) for name in reversed(POPULARITY) if name in items.column_names]
    popularity = np.lexsort([np.arange(len(items)), *keys]) if keys else np.arange(len(items))
    if withheld is not None:
        popularity = popularity[~withheld[popularity]]
    text = {name: items[name].fill_null("").to_pylist() for name in ("title", "category", "brand", "seller_id")}
    has_pictures = "image_url" in items.column_names  # a table from before they were carried has none
    price = _numbers(items, "price_minor", UNKNOWN).astype(np.int64)
    return SnapshotCatalogue(
        items["item_id"].to_pylist(),
        text["title"],
        text["category"],
        text["brand"],
        text["seller_id"],
        image_addresses(items["image_url"]).fill_null("").to_pylist() if has_pictures else [""] * len(items),
        price,
        np.minimum(_numbers(items, "stock", UNKNOWN), 2**31 - 1).astype(np.int32),
        popularity.astype(np.uint32),
        None if usual_prices is None else _usual(items["item_id"], price, usual_prices),
    )


def _usual(item_ids: pa.ChunkedArray, price: NDArray[np.int64], usual_prices: pa.Table) -> NDArray[np.int64]:
    row = pc.index_in(item_ids, value_set=usual_prices["item_id"].cast(item_ids.type)).fill_null(-1).to_numpy()
    usual = np.append(_numbers(usual_prices, "usual_price_minor", UNKNOWN), UNKNOWN)[row]
    return np.where(row >= 0, usual, price).astype(np.int64)


def neighbours_shown(
    neighbours: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], withheld: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return item neighbours (CSR: indptr, positions, scores) without those that are withheld."""
    if withheld is None:
        return neighbours
    indptr, positions, scores = neighbours
    kept = ~withheld[positions]
    return np.append(0, np.cumsum(kept))[indptr], positions[kept], scores[kept]


def _numbers(table: pa.Table, name: str, missing: int) -> NDArray[Any]:
    return np.asarray(table[name].fill_null(missing).to_numpy())


def fallback_shelves(fallback: pa.Table, item_ids: Sequence[str]) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Return the fallback shelves by (shelf, key): positions and scores in the order of rank.

    Raises:
        PublishError: a shelf names an item that the catalogue does not have.
    """
    fallback = fallback.sort_by([("shelf", "ascending"), ("shelf_key", "ascending"), ("rank", "ascending")])
    (positions,) = _positions(pa.array(item_ids, pa.string()), "marts/fallback", fallback["item_id"])
    scores = _numbers(fallback, "score", 0)
    rows: dict[tuple[str, str], list[int]] = {}
    names = zip(fallback["shelf"].to_pylist(), fallback["shelf_key"].fill_null("").to_pylist(), strict=True)
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return {name: (positions[at], scores[at]) for name, at in rows.items()}


def segments_of(users: Iterable[pa.Table]) -> Segments:
    """Number the segments of all users. 0 is the segment of which nothing is known; only the most frequent are kept.

    A user who chose categories also counts for their region and age band alone, so that a rare choice falls back
    to those.
    """
    counts: Counter[Segment] = Counter()
    for table in users:
        segments, of_user = _segments(table)
        for segment, count in zip(segments, np.bincount(of_user, minlength=len(segments)).tolist(), strict=True):
            for each in {segment, _without_choice(segment)}:
                counts[each] += count
    del counts[NO_SEGMENT]
    kept = sorted(counts, key=lambda segment: (-counts[segment], segment))[:_MAX_SEGMENTS]
    return {segment: number for number, segment in enumerate([NO_SEGMENT, *sorted(kept)])}


def _without_choice(segment: Segment) -> Segment:
    return segment[0], segment[1], ()


def _segments(users: pa.Table) -> tuple[list[Segment], NDArray[np.int64]]:
    """Return the segments that occur, and for each user the index of theirs. A segment may occur twice, as chosen
    categories have no order.
    """
    chosen = pc.binary_join(users["preferred_categories"].cast(pa.list_(pa.string())), _BETWEEN_PATHS)
    columns = [_distinct(column) for column in (users["region"], users["age_band"], chosen)]
    names = [[*values.to_pylist(), ""] for values, _ in columns]  # the last is for null, index -1
    (_, region), (_, band), (_, choice) = columns
    code = (region.astype(np.int64) % len(names[0]) * len(names[1]) + band % len(names[1])) * len(names[2])
    distinct, of_user = np.unique(code + choice % len(names[2]), return_inverse=True)
    pair, choice_at = np.divmod(distinct, len(names[2]))
    rows = zip(*(at.tolist() for at in (*np.divmod(pair, len(names[1])), choice_at)), strict=True)
    return [(names[0][r], names[1][b], _paths(names[2][c])) for r, b, c in rows], of_user.astype(np.int64)


def _paths(joined: str) -> tuple[str, ...]:
    return tuple(sorted({path for path in joined.split(_BETWEEN_PATHS) if path}))


def _distinct(column: Any) -> tuple[pa.Array, NDArray[np.int32]]:
    """Return a string column's distinct values and, for each entry, the index of its value, -1 for null.

    This is cheap for a column that was read as a dictionary.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    rows = column.indices.fill_null(-1) if column.null_count else column.indices
    return column.dictionary, np.asarray(rows.to_numpy()).astype(np.int32, copy=False)


def _positions(ids: pa.Array, table: str, items: Any, *others: Any) -> list[NDArray[np.int32]]:
    """Return the catalogue positions of each column's items, -1 for null.

    An item of a further column that the catalogue does not have is -1 too.

    Raises:
        PublishError: the first column names an item that the catalogue does not have.
    """
    columns = [_distinct(column) for column in (items, *others)]
    together = pa.concat_arrays([values.cast(pa.string()) for values, _ in columns])  # the catalogue is hashed once
    found = np.asarray(pc.index_in(together, value_set=ids).fill_null(-1).to_numpy())
    positions, first = [], 0
    for values, rows in columns:
        table_of = np.append(found[first : first + len(values)], -1)  # a null's row of -1 meets the last
        positions.append(table_of.astype(np.int32, copy=False)[rows])
        first += len(values)
    if len(items) and positions[0].min() < 0:
        odd = items[int(np.argmin(positions[0]))].as_py()
        raise PublishError(
            f"{table} names item {odd!r}, which features/item does not have; run both for the same day"
        )
    return positions


def _codes(column: Any, vocabulary: tuple[str, ...], name: str) -> NDArray[np.uint8]:
    values, rows = _distinct(column)
    code = {word: number for number, word in enumerate(vocabulary)}
    of_value = np.array([*(code.get(value, 255) for value in values.to_pylist()), 255], np.uint8)
    found = of_value[rows]
    if len(found) and found.max() == 255:
        odd = column[int(np.argmax(found))].as_py()
        raise PublishError(f"marts/top_n has {name} {odd!r}; serving.snapshot.record knows {', '.join(vocabulary)}")
    return found


def shelf_columns(
    shelves: pa.Table, users: pa.Table, ids: pa.Array, segments: Segments
) -> tuple[ShelfColumns, list[bytes]]:
    """Return one shard of marts/top_n as record columns, and the key of each record, ascending.

    A user without a shelf gets a record without items that holds their segment.

    Raises:
        PublishError: ranks do not count from 1, or an item, source or reason is unknown.
    """
    owners, starts = _owners(shelves)
    user_ids = users["user_id"].combine_chunks()
    row = pc.index_in(owners["user_id"], value_set=user_ids).fill_null(-1).to_numpy()
    names, of_user = _segments(users)
    number = np.array([segments.get(name, segments.get(_without_choice(name), 0)) for name in names], np.uint16)
    segment = np.append(number[of_user], np.uint16(0))
    items, about = _positions(ids, "marts/top_n", shelves["item_id"], shelves["reason_item_id"])
    columns = ShelfColumns(
        np.append(starts, len(shelves)).astype(np.int64),
        items.view(np.uint32),
        shelves["score"].to_numpy(),
        _codes(shelves["source"], SOURCES, "source"),
        _codes(shelves["reason_code"], REASON_CODES, "reason_code"),
        about,
        segment[row],
    )
    keys = list(map(record_key, owners["user_id"].to_pylist(), owners["variant"].to_pylist()))
    if not all(map(operator.lt, keys, keys[1:])):
        order = sorted(range(len(keys)), key=keys.__getitem__)  # several variants of a user are not adjacent
        columns, keys = columns.take_users(np.array(order)), [keys[row] for row in order]
    bare = np.ones(len(user_ids), bool)
    bare[row[row >= 0]] = False
    return _with_bare(columns, keys, user_ids.filter(pa.array(bare)).to_pylist(), segment[:-1][bare])


def _with_bare(
    columns: ShelfColumns, keys: list[bytes], user_ids: list[str], segments: NDArray[np.uint16]
) -> tuple[ShelfColumns, list[bytes]]:
    """Insert empty shelves for `user_ids`; keys stay ascending."""
    if not user_ids:
        return columns, keys
    added = sorted(zip(map(record_key, user_ids), segments.tolist(), strict=True))
    at = [bisect_left(keys, key) for key, _ in added]
    offsets = np.insert(columns.offsets, at, columns.offsets[at])
    numbers = np.insert(columns.segments, at, [number for _, number in added])
    return replace(columns, offsets=offsets, segments=numbers), sorted([*keys, *(key for key, _ in added)])


def _owners(shelves: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    """Return user and variant of each shelf, and the row at which it begins.

    Raises:
        PublishError: the ranks of a shelf do not count from 1.
    """
    begins = np.zeros(len(shelves), bool)
    begins[:1] = True
    distinct = []
    for name in ("user_id", "variant"):
        values, rows = _distinct(shelves[name])
        distinct.append((name, values, rows))
        if len(values) > 1:
            begins[1:] |= rows[1:] != rows[:-1]
    rank = shelves["rank"].to_numpy()
    follows = np.where(begins[1:], 1, rank[:-1] + 1)
    if len(rank) and not (rank[0] == 1 and np.array_equal(rank[1:], follows)):
        raise PublishError("marts/top_n: ranks do not count from 1 for each user; run topshelf stage rank again")
    starts = np.flatnonzero(begins)
    return pa.table({name: values.take(pa.array(rows[starts])) for name, values, rows in distinct}), starts
