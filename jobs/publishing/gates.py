"""The publish gates: whether a loaded snapshot may go live by itself, judged against the newest of an earlier day.

A gate that fails stops the promotion and not the run: the snapshot is stored, with the reason in its manifest.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.snapshot.blobs import Strings, unpack
from serving.snapshot.manifest import GateResult, SnapshotManifest
from serving.snapshot.record import RECORD_BUDGET_BYTES, decode
from serving.stores.protocols import Store, StoredVersion


@dataclass(frozen=True)
class GateLimits:
    """When a snapshot does not go live by itself; shares are of the compared snapshot's figure."""

    max_users_fall: float = 0.2
    max_items_fall: float = 0.2
    overlap_at_10: tuple[float, float] = (0.02, 1.0)
    max_coverage_fall: float = 0.5
    max_evaluation_fall: float = 0.2
    evaluation_metric: str = "holdout.all.ndcg@20"
    evaluation_users: str = "holdout.n_users.all"
    min_evaluation_users: int = 500
    """Of fewer, chance alone moves it by the allowed fall: a user's NDCG scatters by about 1.5 times its mean,
    so two nights' means over 500 users each differ by 1.5 x sqrt(2 / 500), 9%, and 20% is twice that."""
    min_fallback: int = 20  # items of the global shelf, or the whole catalogue where that is smaller
    record_bytes: int = RECORD_BUDGET_BYTES  # for 100 items; longer shelves get 7 bytes an item more


def earlier_snapshot(store: Store, day: str) -> SnapshotManifest | None:
    """The newest published snapshot of an earlier day; one that its gates held back is no measure."""
    good = [m for m in store.versions() if m.day < day and (m.forced or all(g.outcome != "failed" for g in m.gates))]
    return max(good, key=lambda m: (m.day, m.published_at, m.version), default=None)


def gates(
    store: Store, new: SnapshotManifest, sample: Mapping[bytes, bytes], item_ids: Sequence[str], *, limits: GateLimits
) -> list[GateResult]:
    """Judge a loaded snapshot before it is sealed, against the newest of an earlier day where there is one."""
    budget = limits.record_bytes + 7 * max(0, new.top_n - 100)
    largest = max((shard.max_record_bytes for shard in new.shards), default=0)
    global_items = int(new.metrics.get("global_shelf_items", 0))
    wanted = min(limits.min_fallback, new.items - int(new.metrics.get("withheld_items", 0)))
    results = [
        _judge("not_empty", new.users > 0 and new.items > 0, f"{new.users:,} users, {new.items:,} items"),
        _judge("record_budget", largest <= budget, f"the largest record has {largest} bytes of {budget}"),
        _judge("fallback", global_items >= wanted, f"the global shelf has {global_items} items of at least {wanted}"),
    ]
    old = earlier_snapshot(store, new.day)
    if old is None:
        why = f"no snapshot of a day before {new.day} is published, so there is nothing to compare with"
        return [
            *results,
            *(GateResult(name, "skipped", why) for name in ("users", "items", "overlap", "coverage", "evaluation")),
        ]
    results.append(_fall("users", old.version, old.users, new.users, limits.max_users_fall))
    results.append(_fall("items", old.version, old.items, new.items, limits.max_items_fall))
    results.append(_overlap_gate(store, old, sample, item_ids, limits))
    results.append(_metric_gate("coverage", old, new, "coverage", limits.max_coverage_fall))
    counted = [_metric(of.metrics, limits.evaluation_users) for of in (old, new)]
    fewest = min((users for users in counted if users is not None), default=None)
    if fewest is not None and fewest < limits.min_evaluation_users:
        why = f"{fewest:,.0f} users were asked, and of fewer than {limits.min_evaluation_users} a fall may be chance"
        return [*results, GateResult("evaluation", "skipped", why)]
    judged = _metric_gate("evaluation", old, new, limits.evaluation_metric, limits.max_evaluation_fall)
    return [*results, judged]


def _metric_gate(name: str, old: SnapshotManifest, new: SnapshotManifest, metric: str, most: float) -> GateResult:
    before, now = _metric(old.metrics, metric), _metric(new.metrics, metric)
    if before is None or now is None:
        return GateResult(name, "skipped", f"{metric} is not known of both {old.version} and this night")
    return _fall(name, old.version, before, now, most)


def _judge(name: str, passed: bool, reason: str) -> GateResult:
    return GateResult(name, "passed" if passed else "failed", reason)


def _fall(name: str, against: str, before: float, now: float, most: float) -> GateResult:
    fall = 1 - now / before if before else 0.0
    return _judge(name, fall <= most, f"{before:,.6g} in {against}, {now:,.6g} now; a fall of {most:.0%} is allowed")


def _metric(metrics: Mapping[str, Any], name: str) -> float | None:
    value: Any = metrics
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _overlap_gate(
    store: Store, old: SnapshotManifest, sample: Mapping[bytes, bytes], item_ids: Sequence[str], limits: GateLimits
) -> GateResult:
    low, high = limits.overlap_at_10
    with closing(store.open(old.version)) as stored:
        old_ids = item_ids_of(stored)
        pairs = zip(stored.get_many(list(sample)), sample.values(), strict=True)
        shares = [
            overlap(shelf, _ids(now, item_ids, 10))
            for before, now in pairs
            if before is not None and (shelf := _ids(before, old_ids, 10))  # a newcomer had none
        ]
    if not shares:
        return GateResult("overlap", "skipped", f"no sampled user is in {old.version} as well")
    mean = float(np.mean(shares))
    reason = f"{mean:.0%} of the first 10 items are those of {old.version}, over {len(shares)} users"
    return _judge("overlap", low <= mean <= high, f"{reason}; {low:.0%} to {high:.0%} is allowed")


def item_ids_of(stored: StoredVersion) -> Strings:
    """The catalogue's ids of a stored version."""
    return Strings(unpack(stored.blob("item_ids.data")), unpack(stored.blob("item_ids.offsets")))


def _ids(record: bytes, item_ids: Sequence[str], first: int | None = None) -> list[str]:
    return [item_ids[position] for position in decode(record).positions[:first].tolist()]


def overlap(before: Sequence[str], now: Sequence[str]) -> float:
    """The share of the longer list's places that hold items of both."""
    longest = max(len(before), len(now))
    return len(set(before) & set(now)) / longest if longest else 1.0
