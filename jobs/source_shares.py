"""Tell what each source of candidates is good for, from a window whose outcome is known.

A candidate belongs to the source that ranked it highest; how many others brought it as well is its `votes`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.metrics import K
from jobs.ranking_features import FEATURES
from serving.record import SOURCES


@dataclass(frozen=True)
class Judged:
    """Candidates of a window as flat columns of one length; `rank` from 1, as the ranker ordered each user's."""

    source: npt.NDArray[np.int64]
    votes: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    chosen: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls, features: npt.NDArray[np.float32], rank: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]
    ) -> "Judged":
        """Read source and votes off the ranker's features."""
        source, votes = (features[:, FEATURES.index(name)].astype(np.int64) for name in ("source", "votes"))
        return cls(source, votes, rank, chosen)


def source_shares(found: Judged, n_users: int, n_truth: int, k: int = K) -> dict[str, Any]:
    """Return what candidates and each source came to; shares of recall are of all that `n_users` users chose.

    - `share`: of all candidates, those that the source ranked highest; `only`: those that no other source brought.
    - `recall`: of the truth, what it ranked highest; over the sources they add up to the candidates' recall.
    - `unique_recall`: of the truth, what no other source brought: what its removal would cost.
    - `shelf_share`, `shelf_hits`: its share of the first k places, and of the hits among them.
    """
    on_shelf = found.rank <= k
    hits = on_shelf & found.chosen

    def counts(rows: npt.NDArray[np.bool_] | slice) -> npt.NDArray[np.int64]:
        return np.bincount(found.source[rows], minlength=len(SOURCES))

    everything, alone = max(len(found.source), 1), found.votes == 1
    columns = {
        "share": counts(slice(None)) / everything,
        "only": counts(alone) / everything,
        "recall": counts(found.chosen) / max(n_truth, 1),
        "unique_recall": counts(found.chosen & alone) / max(n_truth, 1),
        "shelf_share": counts(on_shelf) / max(int(on_shelf.sum()), 1),
        "shelf_hits": counts(hits) / max(int(hits.sum()), 1),
    }
    present = np.flatnonzero(counts(slice(None)))
    return {
        "candidates_per_user": len(found.source) / max(n_users, 1),
        "recall": int(found.chosen.sum()) / max(n_truth, 1),
        "by_source": {
            SOURCES[code]: {name: float(column[code]) for name, column in columns.items()} for code in present
        },
    }
