"""Array helpers that know no shop: keys of pairs, look-ups in sorted arrays, the highest columns of each row."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from jobs.numeric.list_metrics import Positions, Values

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]


def top_columns(scores: Values, k: int) -> Positions:
    """Return the columns of the k highest scores of each row, highest first, equals by column; fewer if there are."""
    n_rows, n_columns = scores.shape
    k = min(k, n_columns)
    if k == 0:
        return np.empty((n_rows, 0), dtype=np.int64)
    edge = np.partition(scores, n_columns - k, axis=1)[:, n_columns - k, None]
    above, equal = scores > edge, scores == edge
    room = k - above.sum(axis=1, keepdims=True)
    # A partition alone would take any of the equals at the edge: the first columns among them get the room.
    chosen = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
    columns = np.nonzero(chosen)[1].reshape(n_rows, k)
    best_first = np.argsort(-np.take_along_axis(scores, columns, 1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(columns, best_first, 1), dtype=np.int64)


def unit_rows(rows: Floats) -> Floats:
    """Return rows of unit length; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1), dtype=np.float32)


def pair_keys(user: npt.NDArray[np.int64], item: npt.NDArray[np.int32], n_items: int) -> npt.NDArray[np.int64]:
    """Return one number for each (user, item), ascending in that order."""
    return user.astype(np.int64) * n_items + item


def values_at(
    scores: sp.csr_matrix, user: npt.NDArray[np.int64], item: npt.NDArray[np.int32]
) -> npt.NDArray[np.float32]:
    """Return the score of each (user, item), 0 where the matrix holds none."""
    scores.sort_indices()  # a product of sparse matrices leaves its rows unsorted
    rows = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    keys = pair_keys(rows, scores.indices, scores.shape[1])
    values = np.zeros(len(user), dtype=np.float32)
    if len(keys):
        wanted = pair_keys(user, item, scores.shape[1])
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        values = np.where(keys[at] == wanted, scores.data[at], 0).astype(np.float32)
    return values


def is_in(keys: npt.NDArray[np.int64], ordered: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell which keys stand in an ascending array."""
    if not len(ordered):
        return np.zeros(len(keys), dtype=np.bool_)
    at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return np.asarray(ordered[at] == keys)


def coded(column: pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Return the distinct ids in byte order, and each row's index among them."""
    ids = column.cast(pa.string()).unique()
    ids = ids.take(pc.sort_indices(ids))
    return ids, pc.index_in(column.cast(pa.string()), value_set=ids).to_numpy().astype(np.int64)
