r"""The record: one user's shelf of one variant as packed bytes.

Layout, little-endian, for a shelf of `n` items that names `k` reason items (length = 5 + 3k + 7n):

| bytes | what |
| --- | --- |
| 1 | version of this layout, now 1 |
| 2 | the user's segment: an index into the snapshot's segment table, 0 for none |
| 2 | `n << 5 \\| k`: n up to 2,047, k up to 19 |
| 3k | the reason items: positions in the catalogue, ascending |
| 3n | the items: positions in the catalogue, in the order of rank |
| 2n | their scores: sign (1 bit), exponent (6 bits, bias 47), mantissa (9 bits); 0 is zero; true to 1 in 1,000 |
| n | `source << 4 \\| reason`: indices into SOURCES and REASON_CODES |
| n | which reason item the reason speaks of: an index into the k above, 255 for none |

100 items with 19 reason items take 762 bytes. Order is rank; a score is no sort key.

    python -c "from serving.snapshot.record import decode; print(decode(open('shelf.bin', 'rb').read()))"
"""

import zlib
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

VERSION = 1
HEAD_BYTES = 5
ITEM_BYTES = 7
MAX_ITEMS = 2_047
MAX_REASON_ITEMS = 19  # 19 and not 20 keep a shelf of 100 at 762 bytes, the last size of Redis' 856-byte class
MAX_POSITION = 0xFFFFFE  # 0xFFFFFF stands for "no item" while encoding
NO_REASON_ITEM = 255
RECORD_BUDGET_BYTES = 800  # for 100 items

# Append only: an index into these is on the wire, four bits each.
SOURCES = (
    "popular",
    "trending",
    "als",
    "item_item",
    "ease",
    "bought_before",
    "popular_in_category",
    "new_item",
    "segment",
    "two_tower",
    "content",
    "session",
    "explore",
)
REASON_CODES = (
    "popular",
    "trending",
    "popular_in_category",
    "new_item",
    "buy_again",
    "bought",
    "viewed",
    "carted",
    "similar_taste",
    "explore",
)

_NONE = 0xFFFFFF
_EXPONENT_SHIFT = 80 << 9  # float32's exponent of 127 becomes 47
_CHUNK_ITEMS = 200_000  # keeps one chunk's columns within the processor's cache


class RecordError(ValueError):
    """A record, or what should become one, that this layout cannot carry."""


class NewerRecordError(RecordError):
    """A record written by a later version than this reader knows."""


@dataclass(frozen=True, slots=True)
class ShelfColumns:
    """The shelves of many users, flat: user `u` owns the rows `offsets[u]:offsets[u + 1]`, in the order of rank."""

    offsets: NDArray[np.int64]  # [users + 1], from 0
    positions: NDArray[np.uint32]  # [rows], positions in the catalogue
    scores: NDArray[np.floating]  # [rows], finite
    sources: NDArray[np.uint8]  # [rows], indices into SOURCES
    reasons: NDArray[np.uint8]  # [rows], indices into REASON_CODES
    reason_positions: NDArray[np.signedinteger[Any]]  # [rows], positions in the catalogue, -1 for none
    segments: NDArray[np.uint16]  # [users], indices into the segment table, 0 for none

    def part(self, first: int, last: int) -> "ShelfColumns":
        """The users `first` to `last - 1`, without a copy."""
        offsets = self.offsets[first : last + 1]
        return self._of(offsets - offsets[0], slice(int(offsets[0]), int(offsets[-1])), self.segments[first:last])

    def taken(self, users: NDArray[np.int64]) -> "ShelfColumns":
        """The named users, in that order."""
        lengths = np.diff(self.offsets)[users]
        offsets = np.append(0, np.cumsum(lengths))
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[users] - offsets[:-1], lengths)
        return self._of(offsets, rows, self.segments[users])

    def _of(
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


class Shelf(msgspec.Struct, frozen=True, gc=False):
    """One decoded record; every column has one entry an item, in the order of rank."""

    segment: int
    positions: NDArray[np.int64]  # as wide as NumPy's own indices: columns of the catalogue are read by them
    scores: NDArray[np.float32]
    sources: NDArray[np.uint8]
    reasons: NDArray[np.uint8]
    reason_positions: NDArray[np.int64]  # -1 for none

    def __len__(self) -> int:
        return len(self.positions)


def record_key(user_id: str, variant: str = "base") -> bytes:
    """The key of a user's record; a variant other than `base` stands behind a byte that UTF-8 never has."""
    key = user_id.encode()
    return key if variant == "base" else key + b"\xff" + variant.encode()


def user_of(key: bytes) -> bytes:
    """The UTF-8 bytes of the user whose record a key names."""
    return key.partition(b"\xff")[0]


def shard_of(user_id: str | bytes, n_shards: int) -> int:
    """The shard that holds a user: crc32 of the UTF-8 bytes, modulo the number of shards."""
    return zlib.crc32(user_id.encode() if isinstance(user_id, str) else user_id) % n_shards


def encode_scores(scores: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Scores as 16-bit codes, relative error at most 2**-10; below 2**-46 they become zero.

    Raises RecordError for NaN, infinities and magnitudes of 130,944 and more.
    """
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused below
        bits = scores.astype(np.float32).view(np.uint32)
    magnitude = ((bits & np.uint32(0x7FFFFFFF)) + np.uint32(1 << 13)) >> np.uint32(14)
    code = magnitude.astype(np.int32) - np.int32(_EXPONENT_SHIFT)
    if code.size and code.max() > 0x7FFF:
        worst = float(scores.reshape(-1)[int(code.argmax())])
        raise RecordError(f"score {worst}: a record holds finite scores below 130,944 in magnitude; rescale it")
    code[code < 512] = 0
    sign = ((bits >> np.uint32(16)) & np.uint32(0x8000)).astype(np.uint16)
    return np.where(code == 0, np.uint16(0), code.astype(np.uint16) | sign)


def _score_table() -> NDArray[np.float32]:
    code = np.arange(1 << 16, dtype=np.uint32)
    magnitude = ((code & 0x7FFF) + np.uint32(_EXPONENT_SHIFT)) << np.uint32(14)
    bits = np.where((code & 0x7FFF) < 512, np.uint32(0), magnitude | ((code & 0x8000) << np.uint32(16)))
    return bits.astype(np.uint32).view(np.float32)


_SCORES = _score_table()  # every code's value: decoding is one look-up


def encode(columns: ShelfColumns) -> list[bytes]:
    """One record for each user, in the given order.

    A user's reason items beyond the MAX_REASON_ITEMS that appear first lose their place: the reason code stays,
    and its text names no item. Raises RecordError, naming the first offending value.
    """
    _check(columns)
    counts = np.diff(columns.offsets)
    records: list[bytes] = [b""] * len(counts)
    for count in np.unique(counts):
        users = np.flatnonzero(counts == count)
        step = max(1, _CHUNK_ITEMS // max(1, int(count)))
        for first in range(0, len(users), step):
            chunk = users[first : first + step]
            matrix, starts = _encode_equal(columns, chunk, int(count))
            width = matrix.shape[1]
            data = matrix.tobytes()
            ends = range(width, width * len(chunk) + 1, width)
            begins = (np.arange(len(chunk)) * width + starts).tolist()
            parts = [data[b:e] for b, e in zip(begins, ends, strict=True)]
            if chunk[-1] - chunk[0] + 1 == len(chunk):
                records[chunk[0] : chunk[-1] + 1] = parts
            else:
                for user, part in zip(chunk.tolist(), parts, strict=True):
                    records[user] = part
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
            raise RecordError(f"{name} {values.max()} is beyond {largest}, the largest a record can carry")


def _encode_equal(
    columns: ShelfColumns, users: NDArray[np.int64], n: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Encode users who all have `n` items: one row a user, whose record starts at the returned column."""
    u = len(users)
    first, last = int(columns.offsets[users[0]]), int(columns.offsets[users[-1] + 1])
    rows: slice | NDArray[np.int64] = slice(first, last)
    if last - first != u * n:  # users of other lengths stand between
        rows = (columns.offsets[users][:, None] + np.arange(n)).reshape(-1)
    reason_index, ids, k = _reason_items(columns.reason_positions[rows].reshape(u, n))
    body = HEAD_BYTES + 3 * MAX_REASON_ITEMS
    out = np.empty((u, body + ITEM_BYTES * n), np.uint8)
    out[:, HEAD_BYTES:body].reshape(u, MAX_REASON_ITEMS, 3)[...] = _low_bytes(ids)
    starts = 3 * (MAX_REASON_ITEMS - k)
    head = np.empty((u, HEAD_BYTES), np.uint8)
    head[:, 0] = VERSION
    head[:, 1:3] = columns.segments[users].astype("<u2").view(np.uint8).reshape(u, 2)
    head[:, 3:5] = (np.int64(n << 5) | k).astype("<u2").view(np.uint8).reshape(u, 2)
    out[np.arange(u)[:, None], starts[:, None] + np.arange(HEAD_BYTES)] = head
    at = body
    out[:, at : at + 3 * n].reshape(u, n, 3)[...] = _low_bytes(columns.positions[rows].reshape(u, n))
    at += 3 * n
    out[:, at : at + 2 * n] = encode_scores(columns.scores[rows]).astype("<u2").view(np.uint8).reshape(u, 2 * n)
    at += 2 * n
    out[:, at : at + n] = (columns.sources[rows] << 4 | columns.reasons[rows]).reshape(u, n)
    out[:, at + n :] = reason_index
    return out, starts


def _low_bytes(values: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The three low bytes of each value: [..., 3]."""
    return values.astype("<u4", copy=False).view(np.uint8).reshape(*values.shape, 4)[..., :3]


def _reason_items(
    reasons: NDArray[np.signedinteger[Any]],
) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.int64]]:
    """Number each row's distinct reason items: (index of each item's, the ids packed to the right, their count)."""
    u, n = reasons.shape
    index = np.full((u, n), NO_REASON_ITEM, np.uint8)
    ids = np.zeros((u, MAX_REASON_ITEMS), np.uint32)
    if n == 0 or reasons.max() < 0:
        return index, ids, np.zeros(u, np.int64)
    bits = max(8, int(n - 1).bit_length())
    dtype = np.uint32 if bits == 8 else np.uint64
    named: NDArray[Any] = np.where(reasons < 0, _NONE, reasons).astype(dtype)
    ranks: NDArray[Any] = np.arange(n, dtype=dtype)
    keys: NDArray[Any] = (named << bits) | ranks
    keys.sort(axis=1)
    item: NDArray[Any] = keys >> bits
    rank = (keys & ((1 << bits) - 1)).astype(np.int64)
    new = np.empty((u, n), bool)
    new[:, 0] = True
    np.not_equal(item[:, 1:], item[:, :-1], out=new[:, 1:])
    some = item != _NONE
    new &= some
    k = new.sum(axis=1)
    if k.max() > MAX_REASON_ITEMS:
        return _reason_items(_keep_first_named(reasons, item, rank, new, k))
    group = np.cumsum(new, axis=1, dtype=np.uint8) - np.uint8(1)
    np.put_along_axis(index, rank, np.where(some, group, np.uint8(NO_REASON_ITEM)), axis=1)
    row, column = np.nonzero(new)
    ids[row, MAX_REASON_ITEMS - k[row] + group[row, column]] = item[row, column]
    return index, ids, k


def _keep_first_named(
    reasons: NDArray[np.signedinteger[Any]],
    item: NDArray[np.unsignedinteger],
    rank: NDArray[np.int64],
    new: NDArray[np.bool_],
    k: NDArray[np.int64],
) -> NDArray[np.signedinteger[Any]]:
    """Set reason items to none where a row names too many: those named first, by rank, stay."""
    over = np.flatnonzero(k > MAX_REASON_ITEMS)
    new, rank = new[over], rank[over]
    n = new.shape[1]
    first = np.where(new, rank, n)  # the rank that names each item first
    latest_kept = np.partition(first, MAX_REASON_ITEMS - 1, axis=1)[:, MAX_REASON_ITEMS - 1]
    start = np.maximum.accumulate(np.where(new, np.arange(n), 0), axis=1)
    named_first = np.take_along_axis(rank, start, axis=1)
    drop = (named_first > latest_kept[:, None]) & (item[over] != _NONE)
    kept = reasons.copy()
    row, column = np.nonzero(drop)
    kept[over[row], rank[row, column]] = -1
    return kept


class PackedShelf(msgspec.Struct, frozen=True, gc=False):
    """One record, read piece by piece: an answer wants some twenty of a shelf's items."""

    record: bytes | memoryview
    count: int  # items
    named: int  # reason items

    @property
    def segment(self) -> int:
        return self.record[1] | self.record[2] << 8

    def positions(self, count: int) -> NDArray[np.int64]:
        """The positions of the first `count` items, in the order of rank."""
        return _three_bytes(self.record, HEAD_BYTES + 3 * self.named, min(count, self.count))

    def scores(self, rows: NDArray[np.integer]) -> list[float]:
        """The scores of some items, by their 0-based rank."""
        codes = np.frombuffer(self.record, _U2, self.count, HEAD_BYTES + 3 * (self.named + self.count))
        scores: list[float] = _SCORES[codes[rows]].tolist()
        return scores

    def reasons(self, rows: list[int]) -> tuple[list[int], list[int], list[int]]:
        """Sources, reasons and reason items (-1 for none) of some items, by their 0-based rank."""
        if not rows:
            return [], [], []
        kinds = HEAD_BYTES + 3 * self.named + 5 * self.count
        about = kinds + self.count
        taken = itemgetter(*rows, 0)  # of one index it would give no tuple
        both = bytes(taken(self.record[kinds:about])[:-1])
        ids = _three_bytes(self.record, HEAD_BYTES, self.named).tolist() if self.named else []
        of_what = [ids[at] if at < len(ids) else -1 for at in taken(self.record[about:])[:-1]]
        return list(both.translate(_HIGH)), list(both.translate(_LOW)), of_what


def unpack(record: bytes | memoryview) -> PackedShelf:
    """Check one record. Raises NewerRecordError for a later layout, RecordError for what is no whole record."""
    size = len(record)
    if size == 0 or record[0] != VERSION:
        if size and record[0] > VERSION:
            raise NewerRecordError(
                f"record of layout {record[0]}, this reader knows {VERSION}: upgrade serving before publishing"
            )
        raise RecordError(f"{size} bytes that do not begin with layout {VERSION} are no record; publish again")
    packed = record[3] | record[4] << 8 if size >= HEAD_BYTES else 0
    n, k = packed >> 5, packed & 31
    expected = HEAD_BYTES + 3 * k + ITEM_BYTES * n
    if size < HEAD_BYTES or size != expected:
        raise RecordError(f"record of {size} bytes, its head says {expected}: it was cut or altered; publish again")
    return PackedShelf(record, n, k)


def decode(record: bytes | memoryview) -> Shelf:
    """Read one record whole. Raises as `unpack` does."""
    packed = unpack(record)
    n, k = packed.count, packed.named
    at = HEAD_BYTES + 3 * k
    both = np.frombuffer(record, np.uint8, n, at + 5 * n)
    index = np.frombuffer(record, np.uint8, n, at + 6 * n)
    ids = _NO_IDS
    if k and n:
        ids = _NO_IDS.copy()
        ids[:k] = _three_bytes(record, HEAD_BYTES, k)
    return Shelf(
        packed.segment,
        packed.positions(n),
        _SCORES[np.frombuffer(record, _U2, n, at + 3 * n)],
        both >> _FOUR_BITS,
        both & _LOW_BITS,
        ids[index],
    )


# What a later writer appended to a vocabulary reads as its first word.
_HIGH = bytes(byte >> 4 if byte >> 4 < len(SOURCES) else 0 for byte in range(256))
_LOW = bytes(byte & 15 if byte & 15 < len(REASON_CODES) else 0 for byte in range(256))
_U2, _U4 = np.dtype("<u2"), np.dtype("<u4")
_THREE_BYTES, _FOUR_BITS, _LOW_BITS = np.int64(0xFFFFFF), np.uint8(4), np.uint8(15)
_NO_IDS = np.full(256, -1, np.int64)


def _three_bytes(record: bytes | memoryview, at: int, count: int) -> NDArray[np.int64]:
    """Integers of three bytes, read as overlapping ones of four: a byte more than they take must follow them."""
    if count == 0:
        return np.empty(0, np.int64)
    return np.ndarray((count,), _U4, record, at, (3,)) & _THREE_BYTES
