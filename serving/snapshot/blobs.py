"""Blobs: the columns of a snapshot that all users share, each one `.npy` image, read in place and never pickled."""

import io
import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from serving.snapshot.manifest import StoreError, read_json

T = TypeVar("T")

_BLOCK_ROWS = 64  # of a column of strings, searched one by one
_REMEDY = "publish the night again"
_HEADER = re.compile(
    rb"\{'descr': '(\|[biu]1|<[iu][248]|<f[248])', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n"
)


def pack(array: NDArray[Any]) -> bytes:
    """Return the `.npy` image of an array of numbers."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def unpack(data: bytes | memoryview, name: str = "blob", remedy: str = _REMEDY) -> NDArray[Any]:
    """Return the array of a `.npy` image, read-only and without a copy. Raises StoreError for damage."""
    try:
        dtype, shape, begin = _header(bytes(data[:4096]))
        array = np.frombuffer(data, dtype, math.prod(shape), begin).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise StoreError(f"{name} is no readable .npy image ({error}); {remedy}") from error
    array.flags.writeable = False
    return array


def _header(head: bytes) -> tuple[str, tuple[int, ...], int]:
    """Return the dtype and shape of a `.npy` image, and the byte where its values begin. Raises ValueError.

    NumPy's own reader parses the header as Python code, which is not safe on several threads in Python 3.11.
    """
    if head[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("an unknown .npy version")
    end = 10 + int.from_bytes(head[8:10], "little")
    matched = _HEADER.fullmatch(head[10:end])
    if matched is None:
        raise ValueError(f"its header is {head[10:end][:80]!r}")
    dtype, shape = matched.groups()
    return dtype.decode(), tuple(int(n) for n in shape.replace(b" ", b"").split(b",") if n), end


def pack_json(value: object) -> bytes:
    """Return the blob of a JSON value."""
    return pack(np.frombuffer(json.dumps(value, ensure_ascii=False, sort_keys=True).encode(), np.uint8))


def unpack_json(data: bytes | memoryview, kind: type[T], name: str = "blob", remedy: str = _REMEDY) -> T:
    """Return the JSON value of a blob, converted to `kind`. Raises StoreError for damage and for another kind."""
    return read_json(unpack(data, name, remedy).tobytes(), kind, name, remedy)


def pack_strings(values: Iterable[str]) -> tuple[bytes, bytes]:
    """Return a column of strings as two images: the UTF-8 bytes of all, and their offsets (int64 [rows + 1])."""
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    return pack(np.frombuffer(b"".join(encoded), np.uint8)), pack(offsets)


class Strings(Sequence[str]):
    """A read-only column of strings over its two images."""

    __slots__ = ("_data", "_firsts", "_offsets")

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self._data = data.data if len(data) else memoryview(b"")
        self._offsets = offsets
        self._firsts: list[bytes] | None = None  # of each block of rows, for `find`

    @property
    def columns(self) -> tuple[memoryview, NDArray[np.int64]]:
        """The UTF-8 bytes of all rows, and their offsets [rows + 1]."""
        return self._data, self._offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return str(self.raw(index), "utf-8")

    def raw(self, index: int) -> memoryview:
        """Return the UTF-8 bytes of one row. Raises IndexError."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self._data[int(self._offsets[index]) : int(self._offsets[index + 1])]

    def find(self, value: str) -> int:
        """Return the row of `value`, or -1, in microseconds. The column must be sorted by its bytes.

        The first call keeps every 64th row: at most 5 bytes a row of the column.
        """
        if self._firsts is None:
            begins, ends = self._offsets[:-1:_BLOCK_ROWS].tolist(), self._offsets[1::_BLOCK_ROWS].tolist()
            self._firsts = [bytes(self._data[begin:end]) for begin, end in zip(begins, ends, strict=True)]
        wanted, offsets = value.encode(), self._offsets.data
        low = (bisect_right(self._firsts, wanted) - 1) * _BLOCK_ROWS
        if low < 0:
            return -1
        high = min(low + _BLOCK_ROWS, len(self))
        begin = offsets[low]
        block = bytes(self._data[begin : offsets[high]])
        if wanted not in block:  # so are most that are unknown
            return -1

        def text(row: int) -> bytes:
            return block[offsets[row] - begin : offsets[row + 1] - begin]

        row = bisect_left(range(high), wanted, low, key=text)
        return row if row < high and text(row) == wanted else -1
