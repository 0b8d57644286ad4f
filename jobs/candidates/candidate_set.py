"""The candidates of a batch of users as flat arrays, and as rows of `marts/candidates`."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.candidates.sources import SCORES
from jobs.numeric.arrays import Flags, Floats, Whole, highest_first, rank_in_group


@dataclass(frozen=True)
class Candidates:
    """The candidates of a batch of users as flat arrays of one length, in order of (user, item)."""

    user: Whole
    item: npt.NDArray[np.int32]
    source: npt.NDArray[np.int8]
    """The source that ranked it highest."""
    sources: npt.NDArray[np.int32]
    """Every source that brought it: bit n is source n of SOURCES."""
    scores: dict[str, Floats]
    """By SCORES; 0 where a source has no score for the pair."""

    @property
    def votes(self) -> npt.NDArray[np.int8]:
        """How many sources brought each candidate."""
        return np.bitwise_count(self.sources).astype(np.int8)

    def rank(self, name: str) -> Floats:
        """Return each candidate's rank by a score among its user's, from 0; equal ones by item. Computed once."""
        if name not in self._ranks:
            rank = np.empty(len(self.user), dtype=np.float32)
            rank[highest_first(self.user, self.scores[name])] = rank_in_group(self.user)
            self._ranks[name] = rank
        return self._ranks[name]

    @cached_property
    def _ranks(self) -> dict[str, Floats]:
        return {}

    def indptr(self, n_users: int) -> Whole:
        """Return where each user's candidates start and end: [n_users + 1]."""
        return np.searchsorted(self.user, np.arange(n_users + 1)).astype(np.int64)

    def where(self, kept: Flags) -> "Candidates":
        """Return the candidates that `kept` is true of."""
        scores = {name: values[kept] for name, values in self.scores.items()}
        return Candidates(self.user[kept], self.item[kept], self.source[kept], self.sources[kept], scores)


def to_arrow(user_id: pa.Array, candidates: Candidates) -> pa.RecordBatch:
    """Return one row a user of `user_id`, with the user's candidates as lists."""
    offsets = pa.array(candidates.indptr(len(user_id)), pa.int32())
    flat = {
        "item_pos": pa.array(candidates.item, pa.int32()),
        "source": pa.array(candidates.source, pa.int32()),
        "sources": pa.array(candidates.sources, pa.int32()),
        **{name: pa.array(values, pa.float32()) for name, values in candidates.scores.items()},
    }
    lists = {name: pa.ListArray.from_arrays(offsets, values) for name, values in flat.items()}
    return pa.RecordBatch.from_pydict({"user_id": user_id} | lists)


def from_arrow(table: pa.Table) -> Candidates:
    """Return rows of `marts/candidates` as flat candidates; users are numbered in the table's order."""
    lists = {name: table[name].combine_chunks() for name in table.column_names if name != "user_id"}
    lengths = np.diff(lists["item_pos"].offsets.to_numpy())
    flat = {name: column.flatten().to_numpy() for name, column in lists.items()}
    return Candidates(
        user=np.repeat(np.arange(len(table)), lengths),
        item=flat["item_pos"],
        source=flat["source"].astype(np.int8),
        sources=flat["sources"],
        scores={name: flat[name] for name in SCORES},
    )
