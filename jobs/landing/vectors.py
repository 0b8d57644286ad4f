"""Read a column of vectors: lists of numbers as parquet stores them, or as text within brackets.

>>> read_vectors(pa.array(["[0.5, -1]", "[0.5 -1]", "[nan, 1]", "[0, 0]"]), most=4096)
([[0.5, -1.0], [0.5, -1.0], None, None], [False, False, True, True])
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

VECTOR = pa.list_(pa.float32())
NO_NUMBER = (float("nan"),)
_JSON = msgspec.json.Decoder(list[float])


def is_vector(kind: pa.DataType) -> bool:
    """Return whether a parquet column of this type holds lists of numbers."""
    if isinstance(kind, pa.BaseExtensionType):
        return is_vector(kind.storage_type)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    types, of = pa.types, kind.value_type
    return bool(types.is_null(of) or types.is_integer(of) or types.is_floating(of) or types.is_decimal(of))


def read_vectors(landed: pa.Array, most: int | None) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Return a column as lists of float32, null where it is no vector, and which cells hold something that is none.

    A vector has 1 to `most` numbers, all of them finite, and one of them other than zero. An empty list is nothing.
    """
    lists = _from_text(landed) if pa.types.is_string(landed.type) else landed.cast(VECTOR)
    length = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    is_wrong = length > (most or np.inf)
    row = np.repeat(np.arange(len(lists)), length)
    number = pc.list_flatten(lists).to_numpy(zero_copy_only=False)  # a null within a list is NaN
    is_wrong |= np.bincount(row[~np.isfinite(number)], minlength=len(lists)) > 0
    is_wrong |= (np.bincount(row[number != 0], minlength=len(lists)) == 0) & (length > 0)
    return pc.if_else(pa.array(is_wrong | (length == 0)), pa.scalar(None, VECTOR), lists), is_wrong


def _from_text(text: pa.Array) -> pa.Array:
    parsed = [None if cell is None else _numbers(cell) for cell in text.to_pylist()]
    offsets = np.cumsum([0, *(0 if of is None else len(of) for of in parsed)])
    flat = np.array([number for of in parsed if of is not None for number in of], np.float64)
    with np.errstate(over="ignore"):  # too large a number becomes infinite
        numbers = pa.array(flat.astype(np.float32))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), numbers)


def _numbers(cell: str) -> Sequence[float]:
    """Return the numbers of `[1, 2]` or `[1 2]`; where it is written otherwise, one that is none."""
    try:
        return _JSON.decode(cell)
    except msgspec.DecodeError:
        pass  # no JSON: blanks between the numbers, NaN, or no numbers at all
    if not (cell.startswith("[") and cell.endswith("]")):
        return NO_NUMBER
    try:
        return [float(number) for number in cell[1:-1].replace(",", " ").split()]
    except ValueError:
        return NO_NUMBER
