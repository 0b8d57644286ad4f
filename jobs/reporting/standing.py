"""Say where a night's snapshot stands, and why one is not live.

>>> standing(store, date(2026, 1, 31)).why
['gate overlap: 1% of the first 10 items are those of 2026-01-30-abc; 2% to 100% is allowed']
"""

from contextlib import closing
from dataclasses import dataclass, field
from datetime import date

from serving.snapshot.manifest import SnapshotManifest
from serving.snapshot.pointer import Pointer
from serving.stores import open_store


@dataclass(frozen=True)
class Standing:
    """The day's newest snapshot in the store, and whether it is live."""

    snapshot: SnapshotManifest | None = None
    """None if it was never published, or is there no more."""
    live: bool = False
    why: list[str] = field(default_factory=list)
    """Of a snapshot that is not live: the reasons, a sentence each."""

    @property
    def refused(self) -> bool:
        """Whether a gate held it back."""
        return bool(self.snapshot and not self.live and _failed(self.snapshot))


def standing(store_url: str, ds: date) -> Standing:
    """Return where the snapshot of a day stands."""
    with closing(open_store(store_url)) as store:
        snapshots = [manifest for manifest in store.versions() if manifest.day == str(ds)]
        newest = max(snapshots, key=lambda manifest: (manifest.published_at, manifest.version), default=None)
        pointer = store.pointer()
    if newest is None:
        return Standing()
    live = pointer.live == newest.version
    return Standing(newest, live, [] if live else why_not_live(newest, pointer))


def why_not_live(snapshot: SnapshotManifest, pointer: Pointer) -> list[str]:
    """Return why a stored snapshot is not the live one."""
    if failed := _failed(snapshot):
        return failed
    if pointer.pinned:
        return [f"{pointer.pinned} is pinned"]
    if pointer.live is None:
        return ["nothing is live"]
    return [f"{pointer.live} is live instead"]


def _failed(snapshot: SnapshotManifest) -> list[str]:
    if snapshot.forced:
        return []
    return [f"gate {gate.name}: {gate.reason}" for gate in snapshot.failed_gates]
