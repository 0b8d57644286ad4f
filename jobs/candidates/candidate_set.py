"""The candidates of a batch of users as flat arrays, and as rows of `marts/candidates`."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.candidates.sources import SCORES


@dataclass(frozen=True)
class Candidates:
    """Flat candidates of a batch of users, in order of (user, item); all arrays have one length."""

    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int32]
    source: npt.NDArray[np.int8]
    """The source that ranked it highest."""
    sources: npt.NDArray[np.int32]
    """All that brought it: bit n is source n of SOURCES."""
    scores: dict[str, npt.NDArray[np.float32]]
    """By SCORES: 0 where a source says nothing of the pair."""

    @property
    def votes(self) -> npt.NDArray[np.int8]:
        """How many sources brought each."""
        return np.bitwise_count(self.sources).astype(np.int8)

    def indptr(self, n_users: int) -> npt.NDArray[np.int64]:
        """Return where each user's candidates start and end."""
        return np.searchsorted(self.user, np.arange(n_users + 1)).astype(np.int64)

    def where(self, kept: npt.NDArray[np.bool_]) -> "Candidates":
        """Return those that `kept` is true of."""
        scores = {name: values[kept] for name, values in self.scores.items()}
        return Candidates(self.user[kept], self.item[kept], self.source[kept], self.sources[kept], scores)


def to_arrow(user_id: pa.Array, found: Candidates) -> pa.RecordBatch:
    """Lay flat candidates out as one row a user."""
    offsets = pa.array(found.indptr(len(user_id)), pa.int32())
    lists = {
        "item_pos": pa.array(found.item, pa.int32()),
        "source": pa.array(found.source, pa.int32()),
        "sources": pa.array(found.sources, pa.int32()),
        **{name: pa.array(values, pa.float32()) for name, values in found.scores.items()},
    }
    columns = {"user_id": user_id} | {
        name: pa.ListArray.from_arrays(offsets, values) for name, values in lists.items()
    }
    return pa.RecordBatch.from_pydict(columns)


def from_arrow(table: pa.Table) -> Candidates:
    """Flatten rows of `marts/candidates` again; users are numbered in the table's order."""
    chunk = {name: table[name].combine_chunks() for name in table.column_names if name != "user_id"}
    lengths = np.diff(chunk["item_pos"].offsets.to_numpy())
    flat = {name: column.flatten().to_numpy() for name, column in chunk.items()}
    return Candidates(
        user=np.repeat(np.arange(len(table)), lengths),
        item=flat["item_pos"],
        source=flat["source"].astype(np.int8),
        sources=flat["sources"],
        scores={name: flat[name] for name in SCORES},
    )
