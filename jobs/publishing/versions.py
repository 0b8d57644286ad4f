"""Actions on the versions in a store: promote, roll back, pin, record a publish, verify, sweep.

Each action holds the version that it names, so that a publish at the same time cannot remove it.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import islice

from serving.snapshot import pointer as steps
from serving.snapshot.blobs import unpack
from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import BusyVersionError, SnapshotManifest, StoreError
from serving.snapshot.pointer import Pointer
from serving.stores.protocols import Store, StoredVersion

KEEP = 2
_AT_ONCE = 1000


def manifest_of(store: Store, version: str) -> SnapshotManifest:
    """Return the manifest of one version.

    Raises:
        StoreError: there is no such version; the message lists those that exist.
    """
    found = store.versions()
    for manifest in found:
        if manifest.version == version:
            return manifest
    names = ", ".join(m.version for m in found) or "none"
    raise StoreError(f"{store.url} holds no version {version}; it holds {names}")


def _step_to(store: Store, version: str, step: Callable[[Pointer, SnapshotManifest], Pointer]) -> Pointer:
    """Move the pointer to a version, which is held meanwhile so that nothing removes it."""
    manifest = manifest_of(store, version)
    with store.begin(version, manifest.n_shards) as held:
        if not held.sealed:
            raise StoreError(f"{version} was removed just now; see topshelf snapshots")
        return steps.move(store, lambda old: step(old, manifest))[1]


def promote(store: Store, version: str) -> Pointer:
    """Make a stored version live, whatever its day and gates. Raises StoreError if it does not exist."""
    return _step_to(store, version, lambda old, m: steps.promoted(old, m.version, m.day))


def pin(store: Store, version: str) -> Pointer:
    """Make a version live and keep it live until `unpin`. Nights still publish, but the pointer stays."""
    return _step_to(store, version, lambda old, m: steps.pinned(old, m.version, m.day))


def unpin(store: Store) -> Pointer:
    """Let the next night go live again. Until then the live version stays."""
    return steps.move(store, steps.unpinned)[1]


def rollback(store: Store) -> Pointer:
    """Make the version before the live one live again. Raises StoreError if there is none."""
    present = {m.version for m in store.versions()}
    target = steps.rolled_back(store.pointer(), present).live
    assert target is not None
    return _step_to(store, target, lambda old, _: steps.rolled_back(old, {target}))


def promote_published(store: Store, manifest: SnapshotManifest) -> tuple[bool, str]:
    """Record a sealed version; make it live if its gates and the publishing rule allow. Return whether, and why."""
    failed = [f"{gate.name}: {gate.reason}" for gate in manifest.failed_gates]
    outcome = (False, "")

    def step(old: Pointer) -> Pointer:
        nonlocal outcome
        noted = steps.published(old, manifest.version)
        if old.live == manifest.version:
            outcome = (True, "it is live already")
            return noted
        outcome = steps.may_promote(old, manifest.day)
        if outcome[0] and manifest.is_held_back:
            again = (
                f'topshelf stage publish --ds {manifest.day} --force "why", or topshelf promote {manifest.version}'
            )
            outcome = (False, f"{'; '.join(failed)} ({again})")
        return steps.promoted(noted, manifest.version, manifest.day) if outcome[0] else noted

    steps.move(store, step)
    return outcome


def make_way(store: Store, version: str) -> None:
    """Remove a version that its gates held back, so that it can be published again by force."""
    for manifest in store.versions():
        if manifest.version == version and manifest.is_held_back:
            with store.begin(version, manifest.n_shards):
                if version not in {store.pointer().live, store.pointer().pinned}:
                    store.delete(version)


def sweep(store: Store, keep: int = KEEP) -> list[str]:
    """Remove what retention does not keep and what crashed publishers left; return the removed versions."""
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


def verify(
    store: Store, manifest: SnapshotManifest, sample: Mapping[bytes, bytes], *, whole: bool | None = None
) -> None:
    """Read a sealed version back: a sample of records, every blob's header, and, if `whole`, every record's digest.

    By default `whole` is true for a local store.

    Raises:
        StoreError: something was not read back as written. The version is removed first.
    """
    try:
        with closing(store.open(manifest.version)) as stored:
            if stored.manifest.hash != manifest.hash:
                raise StoreError("the manifest that was read back is another one")
            for name in manifest.blobs:
                unpack(stored.blob(name), name)
            for key, found in zip(sample, stored.get_many(list(sample)), strict=True):
                if found != sample[key]:
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
        digest, pairs = RecordDigest(), stored.scan(shard)
        while chunk := list(islice(pairs, _AT_ONCE)):
            digest.update(*zip(*chunk, strict=True))
        if digest.hexdigest() != report.sha256:
            raise StoreError(f"shard {shard} holds {digest.count} records of {report.records}, or altered ones")
