"""Unite the lists of several sources by reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009)."""

import numpy as np
import numpy.typing as npt

from jobs.candidates.lists import Triple
from jobs.numeric.arrays import pair_keys
from serving.snapshot.record import SOURCES

SOURCE_CODE = {source: code for code, source in enumerate(SOURCES)}
RRF_K = 60  # the constant of reciprocal rank fusion (Cormack, Clarke, Büttcher 2009)


def merged_lists(
    lists: dict[str, Triple], n_items: int, per_user: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int8], npt.NDArray[np.int32]]:
    """Unite the sources' lists: (user, item, best source, all sources) of the `per_user` highest by rank fusion."""
    parts = list(lists.values())
    key = np.concatenate([pair_keys(user, item, n_items) for user, item, _ in parts])
    rank = np.concatenate([rank for *_, rank in parts])
    code = np.concatenate([np.full(len(lists[name][0]), SOURCE_CODE[name]) for name in lists])
    order = np.lexsort([code, rank, key])
    key, rank, code = key[order], rank[order], code[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    brought = np.bitwise_or.reduceat(1 << code, first) if len(first) else np.empty(0)
    fused = np.add.reduceat(1.0 / (RRF_K + 1 + rank), first) if len(first) else np.empty(0)
    # What was bought before is cut last: its list is the one that most often holds the next purchase.
    bought = code == SOURCE_CODE["bought_before"]
    fused = fused + (np.logical_or.reduceat(bought, first) if len(first) else 0)
    key, source = key[first], code[first]
    user = key // n_items
    best = np.lexsort([key, -fused, user])
    kept = np.sort(best[np.arange(len(best)) - np.searchsorted(user[best], user[best]) < per_user])
    return (
        user[kept],
        (key[kept] % n_items).astype(np.int32),
        source[kept].astype(np.int8),
        brought[kept].astype(np.int32),
    )
