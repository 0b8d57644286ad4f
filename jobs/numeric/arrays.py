"""Array helpers that know no shop: ranks within groups, look-ups in sorted keys, the highest columns of each row."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

Column = npt.NDArray[Any]
"""A table's column: numbers of a type that only the table knows."""
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.integer[Any]]
Positions = npt.NDArray[np.int64]
"""Positions in the catalogue, or rows of another array; -1 for none."""
Values = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


PACKED_ROWS = 1 << 16
"""A block of so many rows has at most as many groups, so that both fit into an integer beside a score."""


def group_starts(group: Integers) -> Whole:
    """Return the first row of each group; rows of a group stand together.

    >>> group_starts(np.array([3, 3, 3, 8, 9, 9])).tolist()
    [0, 3, 4]
    """
    is_first = np.ones(len(group), np.bool_)
    is_first[1:] = group[1:] != group[:-1]
    return np.flatnonzero(is_first)


def ranges(start: Integers, length: Integers) -> Whole:
    """Return the numbers of all ranges, one range after the other.

    >>> ranges(np.array([7, 0]), np.array([2, 3])).tolist()
    [7, 8, 0, 1, 2]
    """
    ends = np.cumsum(length)
    return np.asarray(np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - ends + length, length), np.int64)


def rank_in_group(group: Integers) -> Whole:
    """Return each row's place among the rows of its group, from 0, in their order; `group` ascends.

    >>> rank_in_group(np.array([3, 3, 3, 8, 9, 9])).tolist()
    [0, 1, 2, 0, 0, 1]
    """
    start = group_starts(group)
    length = np.diff(np.append(start, len(group)))
    return np.asarray(np.arange(len(group)) - np.repeat(start, length), dtype=np.int64)


def highest_first(group: Integers, score: npt.NDArray[Any]) -> Whole:
    """Return the rows by group, then highest score first, then as they stand; `group` ascends from 0 or above.

    Scores are compared as float32; one that is no number comes last. Group, score and row are packed into one integer
    and sorted as such, which is several times as fast as sorting by each in turn.

    >>> highest_first(np.array([0, 0, 0, 2, 2]), np.array([5, 7, 7, -1, 3])).tolist()
    [1, 2, 0, 4, 3]
    """
    single = np.nan_to_num(score.astype(np.float32), nan=-np.inf, posinf=np.inf, neginf=-np.inf) + np.float32(0)
    descending = descending_bits(single).astype(np.uint64)
    row_bits = max(1, (len(group) - 1).bit_length()) if len(group) else 1
    if not len(group) or int(group[-1]).bit_length() + 32 + row_bits <= 64:
        return _packed_order(group, descending, row_bits)
    # Too many for 64 bits: some at a time, whole groups, numbered anew.
    starts = group_starts(group)
    order = []
    for block in row_blocks(np.diff(np.append(starts, len(group))), PACKED_ROWS):
        first = int(starts[block.start])
        last = int(starts[block.stop]) if block.stop < len(starts) else len(group)
        number = np.searchsorted(starts[block], np.arange(first, last), side="right") - 1
        row_bits = max(1, (last - first - 1).bit_length())
        order.append(first + _packed_order(number, descending[first:last], row_bits))
    return np.concatenate(order)


def _packed_order(group: Integers, descending: npt.NDArray[np.uint64], row_bits: int) -> Whole:
    key = group.astype(np.uint64) << np.uint64(32 + row_bits)
    key |= descending << np.uint64(row_bits)
    key |= np.arange(len(group), dtype=np.uint64)
    key.sort()
    return (key & np.uint64((1 << row_bits) - 1)).astype(np.int64)


def descending_bits(score: Floats) -> npt.NDArray[np.uint32]:
    """Return whole numbers that descend where the scores ascend; 0 and -0 are told apart."""
    bits = score.view(np.uint32)
    # A float's bits ascend with it where it is positive, and descend where it is negative.
    return np.where(bits >> np.uint32(31), bits, np.uint32(0x7FFFFFFF) - bits)


def distinct_above(group: Integers, value: Integers) -> Whole:
    """Return how many distinct higher values the group of each row has; `group` ascends.

    >>> distinct_above(np.array([0, 0, 0, 4]), np.array([7, 9, 7, 2])).tolist()
    [1, 0, 1, 0]
    """
    order = np.lexsort((-value, group))
    group, value = group[order], value[order]
    is_lower = np.zeros(len(order), dtype=np.int64)
    is_lower[1:] = (group[1:] == group[:-1]) & (value[1:] != value[:-1])
    lower, start = np.cumsum(is_lower), group_starts(group)
    above = np.empty(len(order), dtype=np.int64)
    above[order] = lower - np.repeat(lower[start], np.diff(np.append(start, len(group))))
    return above


def rank_by_order(group: Integers, order: Whole) -> Whole:
    """Return each row's rank within its group, from 0; `order` sorts the rows by group, then best first.

    >>> user, score = np.array([1, 0, 1]), np.array([5, 7, 9])
    >>> rank_by_order(user, np.lexsort((-score, user))).tolist()
    [1, 0, 0]
    """
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = rank_in_group(group[order])
    return rank


def best_rows(group: Integers, score: npt.NDArray[Any], most: int) -> Whole:
    """Return the rows with the `most` highest scores of each group, ascending; equal ones as they stand.

    `group` ascends. Scores are compared as `highest_first` does.

    >>> best_rows(np.array([0, 1, 1, 1]), np.array([5, 2, 9, 9]), 2).tolist()
    [0, 2, 3]
    """
    order = highest_first(group, score)
    # `order` keeps the groups where they were, so a row's place in it is its group's.
    return np.sort(order[rank_in_group(group) < most])


def best_in_group(group: Integers, score: npt.NDArray[Any], tie: npt.NDArray[Any], most: int) -> Whole:
    """Return the rows with the `most` highest scores of each group: by group, then best first, then `tie` ascending.

    >>> best_in_group(np.array([0, 1, 1, 1]), np.array([5, 2, 9, 9]), np.array([1, 2, 4, 3]), 2).tolist()
    [0, 3, 2]
    """
    order = np.lexsort((tie, -score, group))
    return np.asarray(order[rank_in_group(group[order]) < most], dtype=np.int64)


def find_sorted(sorted_keys: Integers, keys: Integers) -> Positions:
    """Return where each of `keys` (of any shape) stands in `sorted_keys`, which ascends; -1 where it is missing.

    Of equal keys in `sorted_keys`, the first is returned.

    >>> find_sorted(np.array([2, 5, 5, 9]), np.array([5, 1, 9, 10])).tolist()
    [1, -1, 3, -1]
    """
    if not len(sorted_keys):
        return np.full(keys.shape, -1, dtype=np.int64)
    position = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.where(sorted_keys[position] == keys, position, -1)


def is_in(keys: Whole, sorted_keys: Whole) -> Flags:
    """Tell which of `keys` stand in `sorted_keys`, which ascends."""
    return find_sorted(sorted_keys, keys) >= 0


def pair_keys(user: Whole, item: Integers, n_items: int) -> Whole:
    """Return one number for each (user, item): the keys ascend where the pairs do."""
    return user.astype(np.int64) * n_items + item


def sorted_rows(product: sp.csr_matrix) -> sp.csr_matrix:
    """Return a product of sparse matrices with the columns of each row ascending; SciPy leaves them as they come.

    To columns and back is a sort by counting, in two thirds of the time of SciPy's own.
    """
    return product.tocsc().tocsr()


def values_at(scores: sp.csr_matrix, indptr: Whole, column: Integers) -> Floats:
    """Return the matrix's value at each pair of a row and a column, 0 where it stores none.

    The columns of row n are `column[indptr[n]:indptr[n + 1]]`. A row is laid out whole, as hundreds of its columns
    are asked for: a third of the time of looking each up.
    """
    values = np.zeros(len(column), np.float32)
    laid_out = np.zeros(scores.shape[1], np.float32)
    stored = scores.indptr.tolist()
    for row, (low, high) in enumerate(pairwise(indptr.tolist())):
        entries = slice(stored[row], stored[row + 1])
        columns = scores.indices[entries]
        laid_out[columns] = scores.data[entries]
        values[low:high] = laid_out.take(column[low:high])
        laid_out[columns] = 0
    return values


def products_of_pairs(
    left: npt.NDArray[np.float32], right: npt.NDArray[np.float32], indptr: Whole, column: Integers
) -> npt.NDArray[np.float32]:
    """Return [len(column), k]: the inner products of `left[row]` [k, d] with `right[column]` [d] of each pair.

    `left` is [n_rows, k, d]; the columns of row n are `column[indptr[n]:indptr[n + 1]]`. A row at a time, so that no
    more of `right` is copied than fits a processor's cache.
    """
    products = np.empty((len(column), left.shape[1]), dtype=np.float32)
    for row, (low, high) in enumerate(pairwise(indptr.tolist())):
        if high > low:
            np.matmul(right.take(column[low:high], axis=0), left[row].T, out=products[low:high])
    return products


def top_columns(scores: npt.NDArray[Any], k: int) -> Positions:
    """Return [n_rows, min(k, n_columns)]: the columns of each row's highest scores, highest first, ties by column."""
    n_rows, n_columns = scores.shape
    k = min(k, n_columns)
    if k == 0:
        return np.empty((n_rows, 0), dtype=np.int64)
    kth_highest = np.partition(scores, n_columns - k, axis=1)[:, n_columns - k, None]
    chosen = scores >= kth_highest
    # A partition takes any of the columns that equal the k-th highest; here the first of them fill what room is left.
    tied = np.flatnonzero(np.count_nonzero(chosen, axis=1) > k)
    above, equal = scores[tied] > kth_highest[tied], scores[tied] == kth_highest[tied]
    room = k - above.sum(axis=1, keepdims=True)
    chosen[tied] = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
    columns = np.nonzero(chosen)[1].reshape(n_rows, k)
    best_first = np.argsort(-np.take_along_axis(scores, columns, 1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(columns, best_first, 1), dtype=np.int64)


def unit_rows(rows: Floats) -> Floats:
    """Return the rows scaled to unit length; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1), dtype=np.float32)


def row_blocks(cost: Integers, most: float) -> Iterator[slice]:
    """Yield consecutive slices of rows that together cost at most `most`, or that are one row.

    >>> list(row_blocks(np.array([2, 2, 9, 1]), 4))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    total, start = np.concatenate([[0], np.cumsum(cost)]), 0
    while start < len(cost):
        end = int(np.searchsorted(total, total[start] + most, side="right")) - 1
        yield slice(start, max(end, start + 1))
        start = max(end, start + 1)


def coded(column: pa.ChunkedArray) -> tuple[pa.Array, Whole]:
    """Return a column's distinct ids in byte order, and the index of each row's id among them."""
    ids = column.cast(pa.string()).unique()
    ids = ids.take(pc.sort_indices(ids))
    return ids, pc.index_in(column.cast(pa.string()), value_set=ids).to_numpy().astype(np.int64)
