"""The publish gates: may a loaded snapshot go live? It is compared with the newest published one of an earlier day.

A failed gate stops the promotion, not the run. The snapshot is stored, and its manifest holds the reason.
A first snapshot may be empty, as a shop may open without shoppers or stock. One that had shelves must keep some.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from serving.snapshot.blobs import Strings, unpack
from serving.snapshot.manifest import GateResult, SnapshotManifest
from serving.snapshot.own_lists import holds_own_lists
from serving.snapshot.record import RECORD_BUDGET_BYTES, decode
from serving.stores.protocols import Store, StoredVersion


@dataclass(frozen=True)
class GateLimits:
    """What a snapshot must hold to go live by itself. A fall is a share of the compared snapshot's figure."""

    max_users_fall: float = 0.2
    max_items_fall: float = 0.2
    overlap_at_10: tuple[float, float] = (0.02, 1.0)
    max_coverage_fall: float = 0.5
    max_evaluation_fall: float = 0.2
    evaluation_metric: str = "holdout.all.ndcg@20"
    evaluation_users: str = "holdout.n_users.all"
    min_evaluation_users: int = 500
    """With fewer users the evaluation gate is skipped, as chance alone can cause the allowed fall. The NDCG of users
    has a standard deviation of about 1.5 times its mean. So the means of two nights with 500 users each differ by
    1.5 x sqrt(2 / 500) = 9% (one standard deviation), and the limit of 20% is about twice that."""
    min_fallback: int = 20
    """Items of the global shelf, or all that are on sale if those are fewer."""
    max_fallback_fall: float = 0.5
    """Of the global shelf, of which `min_fallback` items count."""
    record_bytes: int = RECORD_BUDGET_BYTES
    """Of a record of 100 items. Longer shelves may have 7 bytes more for each further item."""


def earlier_snapshot(store: Store, day: str) -> SnapshotManifest | None:
    """Return the newest snapshot of an earlier day that its gates let pass, or None."""
    good = [m for m in store.versions() if m.day < day and not m.is_held_back]
    return max(good, key=lambda m: (m.day, m.published_at, m.version), default=None)


def judge(
    store: Store, new: SnapshotManifest, sample: Mapping[bytes, bytes], item_ids: Sequence[str], *, limits: GateLimits
) -> list[GateResult]:
    """Return the result of every gate for a loaded snapshot that is not sealed yet.

    `sample` holds some of its records by key. Gates that compare are skipped if there is nothing to compare with.
    """
    budget = limits.record_bytes + 7 * max(0, new.top_n - 100)
    largest = max((shard.max_record_bytes for shard in new.shards), default=0)
    old = earlier_snapshot(store, new.day)
    results = [
        _not_empty(old, new),
        _result("record_budget", largest <= budget, f"the largest record has {largest} bytes of {budget}"),
        _fallback(old, new, limits),
        *_off_policy(new),
    ]
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
    user_counts = [_metric(manifest.metrics, limits.evaluation_users) for manifest in (old, new)]
    fewest = min((users for users in user_counts if users is not None), default=None)
    if fewest is not None and fewest < limits.min_evaluation_users:
        why = f"only {fewest:,.0f} users were evaluated; below {limits.min_evaluation_users} a fall may be chance"
        return [*results, GateResult("evaluation", "skipped", why)]
    return [*results, _metric_gate("evaluation", old, new, limits.evaluation_metric, limits.max_evaluation_fall)]


def _not_empty(old: SnapshotManifest | None, new: SnapshotManifest) -> GateResult:
    """Hold back a snapshot without users or items, unless no earlier one had any."""
    had_users, had_items = (old.users > 0, old.items > 0) if old else (False, False)
    kept = (new.users > 0 or not had_users) and (new.items > 0 or not had_items)
    first = "" if new.users and new.items else f"; {old.version} had no more" if old and kept else ""
    return _result("not_empty", kept, f"{new.users:,} users, {new.items:,} items{first}")


def _fallback(old: SnapshotManifest | None, new: SnapshotManifest, limits: GateLimits) -> GateResult:
    """Hold back a snapshot whose global shelf lacks items on sale, or lost most of those that it had."""
    held = int(new.metrics["global_shelf_items"])
    had = min(limits.min_fallback, int(old.metrics.get("global_shelf_items", 0))) if old else 0
    wanted = max(
        min(limits.min_fallback, int(new.metrics["items_on_sale"])), ceil(had * (1 - limits.max_fallback_fall))
    )
    return _result("fallback", held >= wanted, f"the global shelf has {held} items of at least {wanted}")


def _off_policy(new: SnapshotManifest) -> list[GateResult]:
    """Hold back shelves that would have earned less on the answers of the last days; nothing where none tell."""
    found = new.metrics.get("off_policy")
    if found is None:
        return []
    status = {"worse": "failed", "better": "passed"}.get(found["word"], "skipped")
    return [GateResult("off_policy", status, found["reason"])]


def _metric_gate(name: str, old: SnapshotManifest, new: SnapshotManifest, metric: str, most: float) -> GateResult:
    before, now = _metric(old.metrics, metric), _metric(new.metrics, metric)
    if before is None or now is None:
        return GateResult(name, "skipped", f"{metric} is not known for both {old.version} and this night")
    return _fall(name, old.version, before, now, most)


def _result(name: str, passed: bool, reason: str) -> GateResult:
    return GateResult(name, "passed" if passed else "failed", reason)


def _fall(name: str, against: str, before: float, now: float, most: float) -> GateResult:
    fall = 1 - now / before if before else 0.0
    return _result(name, fall <= most, f"{before:,.6g} in {against}, {now:,.6g} now; a fall of {most:.0%} is allowed")


def _metric(metrics: Mapping[str, Any], name: str) -> float | None:
    value: Any = metrics
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _overlap_gate(
    store: Store, old: SnapshotManifest, sample: Mapping[bytes, bytes], item_ids: Sequence[str], limits: GateLimits
) -> GateResult:
    low, high = limits.overlap_at_10
    sample = {key: record for key, record in sample.items() if not holds_own_lists(key)}
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
    return _result("overlap", low <= mean <= high, f"{reason}; {low:.0%} to {high:.0%} is allowed")


def item_ids_of(stored: StoredVersion) -> Strings:
    """Return the item ids of a stored version, in catalogue order."""
    return Strings(unpack(stored.blob("item_ids.data")), unpack(stored.blob("item_ids.offsets")))


def _ids(record: bytes, item_ids: Sequence[str], first: int | None = None) -> list[str]:
    return [item_ids[position] for position in decode(record).positions[:first].tolist()]


def overlap(before: Sequence[str], now: Sequence[str]) -> float:
    """Return how many items two lists share, as a share of the longer list; 1 for two empty lists."""
    longest = max(len(before), len(now))
    return len(set(before) & set(now)) / longest if longest else 1.0
