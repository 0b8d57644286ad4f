"""Encode the shelves of many users into records."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.snapshot.record.layout import (
    HEAD_BYTES,
    ITEM_BYTES,
    MAX_ITEMS,
    MAX_POSITION,
    MAX_REASON_ITEMS,
    NO_REASON_ITEM,
    REASON_CODES,
    SOURCES,
    VERSION,
    RecordError,
)
from serving.snapshot.record.scores import encode_scores

_NO_ITEM = 0xFFFFFF
_CHUNK_ITEMS = 200_000  # so many items at a time keep a chunk's columns within the processor's cache


@dataclass(frozen=True, slots=True)
class ShelfColumns:
    """The shelves of many users, flat: user `u` owns the rows `offsets[u]:offsets[u + 1]`, in the order of rank."""

    offsets: NDArray[np.int64]  # [users + 1], from 0
    positions: NDArray[np.uint32]  # [rows], positions in the catalogue
    scores: NDArray[np.floating]  # [rows], finite
    sources: NDArray[np.uint8]  # [rows], indices into SOURCES
    reasons: NDArray[np.uint8]  # [rows], indices into REASON_CODES
    reason_positions: NDArray[np.signedinteger]  # [rows], positions in the catalogue, -1 for none
    segments: NDArray[np.uint16]  # [users], indices into the segment table, 0 for none

    def slice_users(self, first: int, end: int) -> "ShelfColumns":
        """Return the users `first` to `end - 1`, without a copy."""
        offsets = self.offsets[first : end + 1]
        rows = slice(int(offsets[0]), int(offsets[-1]))
        return self._with_rows(offsets - offsets[0], rows, self.segments[first:end])

    def take_users(self, users: NDArray[np.int64]) -> "ShelfColumns":
        """Return a copy of the named users, in that order."""
        lengths = np.diff(self.offsets)[users]
        offsets = np.append(0, np.cumsum(lengths))
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[users] - offsets[:-1], lengths)
        return self._with_rows(offsets, rows, self.segments[users])

    def _with_rows(
        self, offsets: NDArray[np.int64], rows: slice | NDArray[np.int64], segments: NDArray[np.uint16]
    ) -> "ShelfColumns":
        return ShelfColumns(
            offsets,
            self.positions[rows],
            self.scores[rows],
            self.sources[rows],
            self.reasons[rows],
            self.reason_positions[rows],
            segments,
        )


def encode(columns: ShelfColumns) -> list[bytes]:
    """Return one record for each user, in the given order.

    A record names the MAX_REASON_ITEMS reason items that appear first by rank. Items with another reason item keep
    their reason code, and their text names no item. Raises RecordError, naming the first offending value.
    """
    _check(columns)
    counts = np.diff(columns.offsets)
    records: list[bytes] = [b""] * len(counts)
    for count in np.unique(counts):  # users of one count have records of one shape
        users = np.flatnonzero(counts == count)
        step = max(1, _CHUNK_ITEMS // max(1, int(count)))
        for first in range(0, len(users), step):
            chunk = users[first : first + step]
            chunk_records = _encode_equal(columns, chunk, int(count))
            if chunk[-1] - chunk[0] + 1 == len(chunk):
                records[chunk[0] : chunk[-1] + 1] = chunk_records
            else:
                for user, record in zip(chunk.tolist(), chunk_records, strict=True):
                    records[user] = record
    return records


def _check(columns: ShelfColumns) -> None:
    counts = np.diff(columns.offsets)
    if len(counts) != len(columns.segments) or columns.offsets[0] != 0 or (counts < 0).any():
        raise RecordError("offsets must rise from 0, one user between each two, with one segment a user")
    if counts.size and counts.max() > MAX_ITEMS:
        raise RecordError(f"a shelf of {counts.max()} items: a record holds at most {MAX_ITEMS}; lower --top-n")
    limits = (
        ("position", columns.positions, MAX_POSITION),
        ("source", columns.sources, len(SOURCES) - 1),
        ("reason", columns.reasons, len(REASON_CODES) - 1),
        ("reason item", columns.reason_positions, MAX_POSITION),
    )
    for name, values, largest in limits:
        if len(values) != columns.offsets[-1] or len(columns.scores) != columns.offsets[-1]:
            raise RecordError(f"{name} has {len(values)} rows, the offsets end at {columns.offsets[-1]}")
        if values.size and values.max() > largest:
            raise RecordError(f"{name} {values.max()} is beyond {largest}, the largest a record can hold")


def _encode_equal(columns: ShelfColumns, users: NDArray[np.int64], n: int) -> list[bytes]:
    """Encode users who all have `n` items.

    The records are built as rows of one matrix with room for MAX_REASON_ITEMS reason items. These and the head stand
    at the right end of that room, so a record with fewer of them starts later in its row.
    """
    u = len(users)
    first, end = int(columns.offsets[users[0]]), int(columns.offsets[users[-1] + 1])
    rows: slice | NDArray[np.int64] = slice(first, end)
    if end - first != u * n:  # users of other lengths stand between
        rows = (columns.offsets[users][:, None] + np.arange(n)).reshape(-1)
    reason_index, reason_items, k = _number_reason_items(columns.reason_positions[rows].reshape(u, n))
    body = HEAD_BYTES + 3 * MAX_REASON_ITEMS
    width = body + ITEM_BYTES * n
    out = np.empty((u, width), np.uint8)
    out[:, HEAD_BYTES:body].reshape(u, MAX_REASON_ITEMS, 3)[...] = _low_bytes(reason_items)
    starts = 3 * (MAX_REASON_ITEMS - k)
    head = np.empty((u, HEAD_BYTES), np.uint8)
    head[:, 0] = VERSION
    head[:, 1:3] = columns.segments[users].astype("<u2").view(np.uint8).reshape(u, 2)
    head[:, 3:5] = (np.int64(n << 5) | k).astype("<u2").view(np.uint8).reshape(u, 2)
    out[np.arange(u)[:, None], starts[:, None] + np.arange(HEAD_BYTES)] = head
    begin = body
    out[:, begin : begin + 3 * n].reshape(u, n, 3)[...] = _low_bytes(columns.positions[rows].reshape(u, n))
    begin += 3 * n
    codes = encode_scores(columns.scores[rows])
    out[:, begin : begin + 2 * n] = codes.astype("<u2").view(np.uint8).reshape(u, 2 * n)
    begin += 2 * n
    out[:, begin : begin + n] = (columns.sources[rows] << 4 | columns.reasons[rows]).reshape(u, n)
    out[:, begin + n :] = reason_index
    data = out.tobytes()
    ends = range(width, width * u + 1, width)
    begins = (np.arange(u) * width + starts).tolist()
    return [data[begin:end] for begin, end in zip(begins, ends, strict=True)]


def _low_bytes(values: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the three low bytes of each value: [..., 3]."""
    return values.astype("<u4", copy=False).view(np.uint8).reshape(*values.shape, 4)[..., :3]


def _number_reason_items(
    reasons: NDArray[np.signedinteger],
) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.int64]]:
    """Number each row's distinct reason items, ascending.

    Returns the number of each item's reason item [users, n], the reason items at the right end of their room
    [users, MAX_REASON_ITEMS], and their count [users].
    """
    u, n = reasons.shape
    index = np.full((u, n), NO_REASON_ITEM, np.uint8)
    reason_items = np.zeros((u, MAX_REASON_ITEMS), np.uint32)
    if n == 0 or reasons.max() < 0:
        return index, reason_items, np.zeros(u, np.int64)
    # Sort (reason item, rank) as one integer a pair.
    rank_bits = max(8, int(n - 1).bit_length())
    dtype = np.uint32 if rank_bits == 8 else np.uint64
    wide: NDArray[np.unsignedinteger] = np.where(reasons < 0, _NO_ITEM, reasons).astype(dtype)
    ranks: NDArray[np.unsignedinteger] = np.arange(n, dtype=dtype)
    pairs = np.left_shift(wide, rank_bits) | ranks
    pairs.sort(axis=1)
    item = pairs >> rank_bits
    rank = (pairs & ((1 << rank_bits) - 1)).astype(np.int64)
    is_first = np.empty((u, n), bool)  # where a distinct reason item begins
    is_first[:, 0] = True
    np.not_equal(item[:, 1:], item[:, :-1], out=is_first[:, 1:])
    named = item != _NO_ITEM
    is_first &= named
    k = is_first.sum(axis=1)
    if k.max() > MAX_REASON_ITEMS:
        return _number_reason_items(_keep_first_named(reasons, item, rank, is_first, k))
    number = np.cumsum(is_first, axis=1, dtype=np.uint8) - np.uint8(1)
    np.put_along_axis(index, rank, np.where(named, number, np.uint8(NO_REASON_ITEM)), axis=1)
    row, column = np.nonzero(is_first)
    reason_items[row, MAX_REASON_ITEMS - k[row] + number[row, column]] = item[row, column]
    return index, reason_items, k


def _keep_first_named(
    reasons: NDArray[np.signedinteger],
    item: NDArray[np.unsignedinteger],
    rank: NDArray[np.int64],
    is_first: NDArray[np.bool_],
    k: NDArray[np.int64],
) -> NDArray[np.signedinteger]:
    """Return `reasons` with none in place of reason items beyond a row's MAX_REASON_ITEMS first ones by rank."""
    over = np.flatnonzero(k > MAX_REASON_ITEMS)
    is_first, rank = is_first[over], rank[over]
    n = is_first.shape[1]
    first_rank = np.where(is_first, rank, n)  # the first rank that names each item
    latest_kept = np.partition(first_rank, MAX_REASON_ITEMS - 1, axis=1)[:, MAX_REASON_ITEMS - 1]
    start = np.maximum.accumulate(np.where(is_first, np.arange(n), 0), axis=1)
    named_first = np.take_along_axis(rank, start, axis=1)
    drop = (named_first > latest_kept[:, None]) & (item[over] != _NO_ITEM)
    kept = reasons.copy()
    row, column = np.nonzero(drop)
    kept[over[row], rank[row, column]] = -1
    return kept
