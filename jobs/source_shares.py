"""Tell what each source of candidates is good for, from a window whose outcome is known.

A candidate may have been brought by several sources; `source` is the one that ranked it highest.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.metrics import K
from serving.record import SOURCES


@dataclass(frozen=True)
class Judged:
    """Candidates of a window as flat columns of one length; `rank` from 1, as the ranker ordered each user's."""

    source: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int32]
    """Bit n is set if source n of SOURCES brought the candidate."""
    rank: npt.NDArray[np.int64]
    chosen: npt.NDArray[np.bool_]


def source_shares(found: Judged, n_users: int, n_truth: int, k: int = K) -> dict[str, Any]:
    """Return what candidates and each source came to; shares of recall are of all that `n_users` users chose.

    - `share`: of all candidates, those that the source brought; `only`: those that no other source brought.
    - `recall`: of the truth, what it brought, whoever else did; `unique_recall`: what no other source brought.
    - `shelf_share`, `shelf_hits`: of the first k places, and of the hits among them, those that it ranked higher
      than the other sources did; over the sources they add up to one.
    """
    on_shelf = found.rank <= k
    hits = on_shelf & found.chosen
    alone = np.bitwise_count(found.sources) == 1
    by_source: dict[str, dict[str, float]] = {}
    for code, name in enumerate(SOURCES):
        brought = (found.sources >> code) & 1 == 1
        if not brought.any():
            continue
        highest = found.source == code
        by_source[name] = {
            "share": _share(brought, len(brought)),
            "only": _share(brought & alone, len(brought)),
            "recall": _share(brought & found.chosen, n_truth),
            "unique_recall": _share(brought & alone & found.chosen, n_truth),
            "shelf_share": _share(on_shelf & highest, on_shelf.sum()),
            "shelf_hits": _share(hits & highest, hits.sum()),
        }
    return {
        "candidates_per_user": len(found.source) / max(n_users, 1),
        "recall": _share(found.chosen, n_truth),
        "by_source": by_source,
    }


def _share(rows: npt.NDArray[np.bool_], of: int) -> float:
    return float(rows.sum() / max(of, 1))
