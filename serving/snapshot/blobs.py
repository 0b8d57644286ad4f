"""Blobs: the columns of a snapshot that are not one user's. Each is one `.npy` image, read in place, no pickle."""

import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.snapshot.manifest import StoreError

_HEADER = re.compile(rb"\{'descr': '([<|][biuf]\d)', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n")


def pack(array: NDArray[Any]) -> bytes:
    """The `.npy` image of an array of numbers."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def unpack(data: bytes | memoryview, name: str = "blob") -> NDArray[Any]:
    """The array of a `.npy` image, without a copy and read-only. Raises StoreError for damage."""
    try:
        dtype, shape, at = _header(bytes(data[:4096]))
        array = np.frombuffer(data, dtype, int(np.prod(shape)), at).reshape(shape)
    except ValueError as error:
        raise StoreError(f"{name} is no readable .npy image ({error}); publish the night again") from error
    array.flags.writeable = False
    return array


def _header(head: bytes) -> tuple[str, tuple[int, ...], int]:
    """The dtype and shape of a `.npy` image, and where its values begin.

    NumPy's own reader parses the header as Python, which Python 3.11 cannot do safely on several threads at once.
    """
    if head[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("an unknown .npy version")
    end = 10 + int.from_bytes(head[8:10], "little")
    found = _HEADER.fullmatch(head[10:end])
    if found is None:
        raise ValueError(f"its header is {head[10:end][:80]!r}")
    dtype, shape = found.groups()
    return dtype.decode(), tuple(int(n) for n in shape.replace(b" ", b"").split(b",") if n), end


def pack_json(value: object) -> bytes:
    return pack(np.frombuffer(json.dumps(value, ensure_ascii=False, sort_keys=True).encode(), np.uint8))


def unpack_json(data: bytes | memoryview, name: str = "blob") -> Any:
    return json.loads(unpack(data, name).tobytes())


def pack_strings(values: Iterable[str]) -> tuple[bytes, bytes]:
    """A column of strings as two images: the UTF-8 bytes of all, and where each begins (int64 [rows + 1])."""
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    return pack(np.frombuffer(b"".join(encoded), np.uint8)), pack(offsets)


class Strings(Sequence[str]):
    """A read-only column of strings over its two images."""

    __slots__ = ("_data", "_offsets")

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self._data = data.data if len(data) else memoryview(b"")
        self._offsets = offsets

    @property
    def columns(self) -> tuple[memoryview, NDArray[np.int64]]:
        """The UTF-8 bytes of all rows, and where each begins."""
        return self._data, self._offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return str(self.raw(index), "utf-8")

    def raw(self, index: int) -> memoryview:
        """The UTF-8 bytes of one row."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self._data[int(self._offsets[index]) : int(self._offsets[index + 1])]

    def find(self, value: str) -> int:
        """The row of `value` in a column sorted by its bytes, or -1."""
        wanted = value.encode()
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if bytes(self.raw(middle)) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and bytes(self.raw(low)) == wanted else -1
