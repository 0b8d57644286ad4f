"""Look after the snapshots of a store: list, promote, roll back, pin, compare, export, gate, verify, sweep.

topshelf snapshots --store lmdb://data/store
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.record import RECORD_BUDGET_BYTES, RecordDigest, decode
from serving.stores import BusyVersionError, Gate, Manifest, Pointer, Store, StoredVersion, StoreError
from serving.stores import pointer as steps
from serving.stores.blobs import Strings, unpack

KEEP = 2


@dataclass(frozen=True)
class GateLimits:
    """When a snapshot does not go live by itself; shares are of the compared snapshot's figure."""

    max_users_fall: float = 0.2
    max_items_fall: float = 0.2
    overlap_at_10: tuple[float, float] = (0.02, 1.0)
    max_coverage_fall: float = 0.5
    max_evaluation_fall: float = 0.2
    evaluation_metric: str = "holdout.all.ndcg@20"
    min_fallback: int = 20  # items of the global shelf, or the whole catalogue where that is smaller
    record_bytes: int = RECORD_BUDGET_BYTES  # for 100 items; longer shelves get 7 bytes an item more


@dataclass(frozen=True)
class SnapshotRow:
    """One line of `topshelf snapshots`."""

    version: str
    day: str
    run_id: str
    users: int
    items: int
    bytes: int
    model_version: str
    metrics: Mapping[str, Any]
    state: str  # live, pinned, rollback target, stored
    gates: Sequence[Gate]
    forced: str
    published_at: str


def list_snapshots(store: Store) -> list[SnapshotRow]:
    """Every sealed version, the oldest day first, and which is live."""
    pointer = store.pointer()
    rows = []
    for m in store.versions():
        states = [name for name, at in (("live", pointer.live), ("pinned", pointer.pinned)) if at == m.version]
        state = ", ".join(states) or ("before" if m.version == pointer.before else "stored")
        size = m.record_bytes + m.blob_bytes
        shown = (m.model_version, m.metrics, state, m.gates, m.forced, m.published_at)
        rows.append(SnapshotRow(m.version, m.day, m.run_id, m.users, m.items, size, *shown))
    return rows


def manifest_of(store: Store, version: str) -> Manifest:
    """The manifest of one version. Raises StoreError, naming those there are."""
    found = store.versions()
    for manifest in found:
        if manifest.version == version:
            return manifest
    names = ", ".join(m.version for m in found) or "none"
    raise StoreError(f"{store.url} holds no version {version}; it holds {names}")


def _step_to(store: Store, version: str, step: Callable[[Pointer, Manifest], Pointer]) -> Pointer:
    """Move the pointer to a version that is held meanwhile, so that nothing sweeps it away."""
    manifest = manifest_of(store, version)
    with store.begin(version, manifest.n_shards) as held:
        if not held.sealed:
            raise StoreError(f"{version} was removed just now; see topshelf snapshots")
        return steps.move(store, lambda old: step(old, manifest))[1]


def promote(store: Store, version: str) -> Pointer:
    """Make a stored version live, whatever its day and gates. Raises StoreError."""
    return _step_to(store, version, lambda old, m: steps.promoted(old, m.version, m.day))


def pin(store: Store, version: str) -> Pointer:
    """Make a version live and keep it so: nights go on, the pointer stays, until `unpin`."""
    return _step_to(store, version, lambda old, m: steps.pinned(old, m.version, m.day))


def unpin(store: Store) -> Pointer:
    """Let the next night go live again; what is live stays until then."""
    return steps.move(store, steps.unpinned)[1]


def rollback(store: Store) -> Pointer:
    """Make the version before the live one live again. Raises StoreError where there is none."""
    present = {m.version for m in store.versions()}
    target = steps.rolled_back(store.pointer(), present).live
    assert target is not None
    return _step_to(store, target, lambda old, _: steps.rolled_back(old, {target}))


def promote_published(store: Store, manifest: Manifest) -> tuple[bool, str]:
    """Note a sealed version and make it live if its gates and the publishing rule let it: whether, and why."""
    failed = [f"{gate.name}: {gate.reason}" for gate in manifest.gates if gate.outcome == "failed"]
    outcome = (False, "")

    def step(old: Pointer) -> Pointer:
        nonlocal outcome
        noted = steps.published(old, manifest.version)
        if old.live == manifest.version:
            outcome = (True, "it is live already")
            return noted
        outcome = steps.may_promote(old, manifest.day)
        if outcome[0] and failed and not manifest.forced:
            outcome = (False, "; ".join(failed) + ' (publish again with --force "why", or topshelf promote)')
        return steps.promoted(noted, manifest.version, manifest.day) if outcome[0] else noted

    steps.move(store, step)
    return outcome


def make_way(store: Store, version: str) -> None:
    """Remove a version that its gates hold back, so that it can be published anew with a reason."""
    for manifest in store.versions():
        if manifest.version == version and not manifest.forced and any(g.outcome == "failed" for g in manifest.gates):
            with store.begin(version, manifest.n_shards):
                if version not in {store.pointer().live, store.pointer().pinned}:
                    store.delete(version)


def sweep(store: Store, keep: int = KEEP) -> list[str]:
    """Remove what retention does not keep, and what dead publishers left: the versions removed."""
    removed = []
    sealed = {m.version: m.n_shards for m in store.versions()}
    spare = set(sealed) - steps.retained(store.pointer(), sealed, keep)
    for version in [*sorted(spare), *store.unfinished()]:
        try:
            with store.begin(version, sealed.get(version, 0)) as held:
                pointer, present = store.pointer(), {m.version for m in store.versions()}
                if held.sealed and version in steps.retained(pointer, present, keep):
                    continue  # promoted since we looked
                store.delete(version)
                removed.append(version)
        except BusyVersionError:
            continue  # its publisher is alive
    present = {m.version for m in store.versions()}
    steps.move(store, lambda old: steps.forgotten(old, present))
    return removed


def verify(store: Store, manifest: Manifest, sample: Mapping[bytes, bytes], *, whole: bool | None = None) -> None:
    """Read a sealed version back: a sample of records, every blob's name, and, if `whole`, every record's digest.

    By default everything is read where that is local. Raises StoreError; the version is then removed.
    """
    try:
        with closing(store.open(manifest.version)) as stored:
            if stored.manifest.hash != manifest.hash:
                raise StoreError("the manifest that was read back is another one")
            for name in manifest.blobs:
                unpack(stored.blob(name), name)
            for key, record in sample.items():
                if stored.get(key) != record:
                    raise StoreError(f"the record of {key.decode(errors='replace')!r} was not read back as written")
            if store.url.startswith("lmdb://") if whole is None else whole:
                _verify_digests(stored)
    except StoreError as error:
        store.delete(manifest.version)
        raise StoreError(
            f"{manifest.version} failed its verification and was removed: {error}; publish again"
        ) from error


def _verify_digests(stored: StoredVersion) -> None:
    for shard, report in enumerate(stored.manifest.shards):
        digest = RecordDigest()
        for keys, records in _chunks(stored.scan(shard)):
            digest.update(keys, records)
        if digest.hexdigest() != report.sha256:
            raise StoreError(f"shard {shard} holds {digest.count} records of {report.records}, or altered ones")


def _chunks(pairs: Iterator[tuple[bytes, bytes]], size: int = 10_000) -> Iterator[tuple[list[bytes], list[bytes]]]:
    keys: list[bytes] = []
    records: list[bytes] = []
    for key, record in pairs:
        keys.append(key)
        records.append(record)
        if len(keys) == size:
            yield keys, records
            keys, records = [], []
    if keys:
        yield keys, records


# Gates ----------------------------------------------------------------------------------------------------


def earlier_snapshot(store: Store, day: str) -> Manifest | None:
    """The newest published snapshot of an earlier day; one that its gates held back is no measure."""
    good = [m for m in store.versions() if m.day < day and (m.forced or all(g.outcome != "failed" for g in m.gates))]
    return max(good, key=lambda m: (m.day, m.published_at, m.version), default=None)


def gates(
    store: Store, new: Manifest, sample: Mapping[bytes, bytes], item_ids: Sequence[str], *, limits: GateLimits
) -> list[Gate]:
    """Judge a loaded snapshot before it is sealed, against the newest of an earlier day where there is one."""
    budget = limits.record_bytes + 7 * max(0, new.top_n - 100)
    largest = max((shard.max_record_bytes for shard in new.shards), default=0)
    global_items = int(new.metrics.get("global_shelf_items", 0))
    wanted = min(limits.min_fallback, new.items)
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
            *(Gate(name, "skipped", why) for name in ("users", "items", "overlap", "coverage", "evaluation")),
        ]
    results.append(_fall("users", old.version, old.users, new.users, limits.max_users_fall))
    results.append(_fall("items", old.version, old.items, new.items, limits.max_items_fall))
    results.append(_overlap_gate(store, old, sample, item_ids, limits))
    for name, metric, most in (
        ("coverage", "coverage", limits.max_coverage_fall),
        ("evaluation", limits.evaluation_metric, limits.max_evaluation_fall),
    ):
        before, now = _metric(old.metrics, metric), _metric(new.metrics, metric)
        if before is None or now is None:
            results.append(Gate(name, "skipped", f"{metric} is not known of both {old.version} and this night"))
        else:
            results.append(_fall(name, old.version, before, now, most))
    return results


def _judge(name: str, passed: bool, reason: str) -> Gate:
    return Gate(name, "passed" if passed else "failed", reason)


def _fall(name: str, against: str, before: float, now: float, most: float) -> Gate:
    fall = 1 - now / before if before else 0.0
    return _judge(name, fall <= most, f"{before:,.6g} in {against}, {now:,.6g} now; a fall of {most:.0%} is allowed")


def _metric(metrics: Mapping[str, Any], name: str) -> float | None:
    value: Any = metrics
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _overlap_gate(
    store: Store, old: Manifest, sample: Mapping[bytes, bytes], item_ids: Sequence[str], limits: GateLimits
) -> Gate:
    low, high = limits.overlap_at_10
    with closing(store.open(old.version)) as stored:
        old_ids = item_ids_of(stored)
        shares = []
        for key, record in sample.items():
            before = stored.get(key)
            if before is not None:
                shares.append(overlap(_ids(before, old_ids, 10), _ids(record, item_ids, 10)))
    if not shares:
        return Gate("overlap", "skipped", f"no sampled user is in {old.version} as well")
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
