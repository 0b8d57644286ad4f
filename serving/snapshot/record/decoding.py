"""Decode a record, whole or piece by piece."""

from operator import itemgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.snapshot.record.layout import (
    HEAD_BYTES,
    ITEM_BYTES,
    REASON_CODES,
    SOURCES,
    VERSION,
    NewerRecordError,
    RecordError,
)
from serving.snapshot.record.scores import SCORE_TABLE

_U2, _U4 = np.dtype("<u2"), np.dtype("<u4")
_THREE_BYTES, _FOUR_BITS, _LOW_BITS = np.int64(0xFFFFFF), np.uint8(4), np.uint8(15)
_NO_REASON_ITEMS = np.full(256, -1, np.int64)
# From the byte of source and reason to each of them. A word that a later writer appended reads as the first word.
_SOURCE_OF_BYTE = bytes(byte >> 4 if byte >> 4 < len(SOURCES) else 0 for byte in range(256))
_REASON_OF_BYTE = bytes(byte & 15 if byte & 15 < len(REASON_CODES) else 0 for byte in range(256))


class Shelf(msgspec.Struct, frozen=True, gc=False):
    """One decoded record; every column has one entry an item, in the order of rank."""

    segment: int
    positions: NDArray[np.int64]  # NumPy's own index type, because they index columns of the catalogue
    scores: NDArray[np.float32]
    sources: NDArray[np.uint8]
    reasons: NDArray[np.uint8]
    reason_positions: NDArray[np.int64]  # -1 for none

    def __len__(self) -> int:
        return len(self.positions)


class PackedShelf(msgspec.Struct, frozen=True, gc=False):
    """One checked record, decoded piece by piece: an answer needs about twenty of a shelf's items."""

    record: bytes | memoryview
    count: int  # items
    reason_item_count: int

    @property
    def segment(self) -> int:
        return self.record[1] | self.record[2] << 8

    def positions(self, count: int) -> NDArray[np.int64]:
        """Return the positions of the first `count` items, in the order of rank; of all, if there are fewer."""
        return _three_bytes(self.record, HEAD_BYTES + 3 * self.reason_item_count, min(count, self.count))

    def scores(self, rows: NDArray[np.integer]) -> list[float]:
        """Return the scores of some items, given their 0-based ranks."""
        codes = np.frombuffer(self.record, _U2, self.count, HEAD_BYTES + 3 * (self.reason_item_count + self.count))
        scores: list[float] = SCORE_TABLE[codes[rows]].tolist()
        return scores

    def reasons(self, rows: list[int]) -> tuple[list[int], list[int], list[int]]:
        """Return sources, reasons and reason items' positions (-1 for none) of some items, by their 0-based ranks."""
        if not rows:
            return [], [], []
        whys_begin = HEAD_BYTES + 3 * self.reason_item_count + 5 * self.count
        indices_begin = whys_begin + self.count
        take = itemgetter(*rows, 0)  # the last 0 is dropped again: for a single index itemgetter gives no tuple
        whys = bytes(take(self.record[whys_begin:indices_begin])[:-1])
        count = self.reason_item_count
        items = _three_bytes(self.record, HEAD_BYTES, count).tolist() if count else []
        named = [items[index] if index < count else -1 for index in take(self.record[indices_begin:])[:-1]]
        return list(whys.translate(_SOURCE_OF_BYTE)), list(whys.translate(_REASON_OF_BYTE)), named


def unpack(record: bytes | memoryview) -> PackedShelf:
    """Check a record's layout and length. Raises NewerRecordError for a later layout, RecordError for damage."""
    size = len(record)
    if size == 0 or record[0] != VERSION:
        if size and record[0] > VERSION:
            raise NewerRecordError(
                f"record of layout {record[0]}, this reader knows {VERSION}: upgrade serving before publishing"
            )
        raise RecordError(f"{size} bytes that do not begin with layout {VERSION} are no record; publish again")
    counts = record[3] | record[4] << 8 if size >= HEAD_BYTES else 0
    n, k = counts >> 5, counts & 31
    expected = HEAD_BYTES + 3 * k + ITEM_BYTES * n
    if size < HEAD_BYTES or size != expected:
        raise RecordError(f"record of {size} bytes, its head says {expected}: it was cut or altered; publish again")
    return PackedShelf(record, n, k)


def decode(record: bytes | memoryview) -> Shelf:
    """Return a record decoded whole. Raises NewerRecordError, RecordError."""
    packed = unpack(record)
    n, k = packed.count, packed.reason_item_count
    items_begin = HEAD_BYTES + 3 * k
    whys = np.frombuffer(record, np.uint8, n, items_begin + 5 * n)
    reason_index = np.frombuffer(record, np.uint8, n, items_begin + 6 * n)
    reason_items = _NO_REASON_ITEMS
    if k and n:
        reason_items = _NO_REASON_ITEMS.copy()
        reason_items[:k] = _three_bytes(record, HEAD_BYTES, k)
    return Shelf(
        packed.segment,
        packed.positions(n),
        SCORE_TABLE[np.frombuffer(record, _U2, n, items_begin + 3 * n)],
        whys >> _FOUR_BITS,
        whys & _LOW_BITS,
        reason_items[reason_index],
    )


def _three_bytes(record: bytes | memoryview, begin: int, count: int) -> NDArray[np.int64]:
    """Read three-byte integers as overlapping four-byte ones; at least one byte must follow the last of them."""
    if count == 0:
        return np.empty(0, np.int64)
    return np.ndarray((count,), _U4, record, begin, (3,)) & _THREE_BYTES
