"""Compare two snapshots of a store: users, overlaps, items and scores.

topshelf diff 2026-01-30-0123456789ab 2026-01-31-ba9876543210
"""

from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from jobs.publishing.gates import item_ids_of
from serving.snapshot.own_lists import holds_own_lists
from serving.snapshot.record import Shelf, decode
from serving.stores.protocols import Store, StoredVersion

AT = 10
_AT_ONCE = 2_000


@dataclass(frozen=True)
class Difference:
    """How two versions differ. Overlaps are means over users with a shelf in both, score drift over shared items."""

    before: str
    after: str
    users_before: int
    users_after: int
    users_of_both: int
    users_changed: int
    """Users of both versions whose shelf has another item or another order."""
    overlap_at_10: float
    overlap_at_n: float
    items_before: int
    items_after: int
    items_added: int
    items_removed: int
    """Of the catalogue."""
    mean_score_before: float
    mean_score_after: float
    mean_score_drift: float
    """Mean absolute difference of an item's score."""

    @property
    def users_added(self) -> int:
        return self.users_after - self.users_of_both

    @property
    def users_removed(self) -> int:
        return self.users_before - self.users_of_both


def difference(store: Store, before: str, after: str) -> Difference:
    """Compare two versions; every record of both is read. Raises UnknownVersionError, StoreError."""
    with closing(store.open(before)) as old, closing(store.open(after)) as new:
        return _difference(old, new)


def _difference(old: StoredVersion, new: StoredVersion) -> Difference:
    place, rows, both = _places(old, new), [], 0
    for shard in range(old.manifest.n_shards):
        pairs = ((key, record) for key, record in old.scan(shard) if not holds_own_lists(key))
        while chunk := list(islice(pairs, _AT_ONCE)):
            others = new.get_many([key for key, _ in chunk])
            for (_, record), other in zip(chunk, others, strict=True):
                if other is not None:
                    both += 1
                    mine, theirs = decode(record), decode(other)
                    if len(mine) or len(theirs):  # not a newcomer in both
                        rows.append(_compare(mine, theirs, place))
    table = np.array(rows, np.float64).reshape(len(rows), 6)
    changed, at_10, at_n, score_before, score_after, drift = table.mean(axis=0) if rows else np.zeros(6)
    kept = int((place >= 0).sum())
    return Difference(
        before=old.manifest.version,
        after=new.manifest.version,
        users_before=old.manifest.users,
        users_after=new.manifest.users,
        users_of_both=both,
        users_changed=round(changed * len(rows)),
        overlap_at_10=float(at_10),
        overlap_at_n=float(at_n),
        items_before=old.manifest.items,
        items_after=new.manifest.items,
        items_added=new.manifest.items - kept,
        items_removed=old.manifest.items - kept,
        mean_score_before=float(score_before),
        mean_score_after=float(score_after),
        mean_score_drift=float(drift),
    )


def _places(old: StoredVersion, new: StoredVersion) -> NDArray[np.int64]:
    """Return each old catalogue item's position in the new catalogue, -1 if it is gone."""
    row = {item_id: number for number, item_id in enumerate(item_ids_of(new))}
    return np.fromiter((row.get(item_id, -1) for item_id in item_ids_of(old)), np.int64)


def _compare(old: Shelf, new: Shelf, place: NDArray[np.int64]) -> tuple[bool, float, float, float, float, float]:
    """Return for one user: changed, overlap at 10 and at N, mean scores before and after, mean score drift."""
    moved = place[old.positions] if len(old) else np.empty(0, np.int64)
    longest = max(len(old), len(new), 1)
    _, mine, theirs = np.intersect1d(moved[moved >= 0], new.positions, return_indices=True)
    at_10 = len(np.intersect1d(moved[:AT], new.positions[:AT])) / min(AT, longest)
    drift = np.abs(old.scores[moved >= 0][mine] - new.scores[theirs])
    means = [float(values.mean()) if len(values) else 0.0 for values in (old.scores, new.scores, drift)]
    return not np.array_equal(moved, new.positions), at_10, len(mine) / longest, *means  # type: ignore[return-value]
