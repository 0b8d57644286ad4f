"""Erased users. Tombstones are kept outside all snapshots, so they outlast restarts, rollbacks and rebuilds.

    landing/tombstones/*.jsonl     {"user_sha256": "<hex of the id's UTF-8>", "erased_at": "2026-01-31T10:00:00.000Z"}

The id itself is not kept, only its hash. From `erased_at` on, nothing personal from before that moment is served for
the user. Every publish leaves the user out whole, until `jobs.upkeep.maintenance` has removed the user's earlier rows
from landing: `redacted_before` in `runs/maintenance/<day>.json` is the day up to which it has. A publish writes the
newest erasure that it knew of into the manifest's metrics, as `erasures_until`. Later rows belong to a new user. Of
several lines of one user the newest counts.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from serving.snapshot.manifest import NOT_JSON, SnapshotManifest, StoreError

FOLDER = "tombstones"


class UnknownErasuresError(StoreError):
    """Nobody knows who was erased, so no stored shelf may be read."""

    def __init__(self, landing: str | Path) -> None:
        super().__init__(
            f"{landing} is not there, so it is not known who was erased; name the place that the endpoint lands in: "
            "--landing or TOPSHELF_LANDING"
        )


class Tombstone(msgspec.Struct, frozen=True):
    """One erasure."""

    user_sha256: str
    erased_at: str

    @property
    def at_s(self) -> float:
        """The moment of erasure, in UTC seconds. Raises ValueError for a text that is no time."""
        return datetime.fromisoformat(self.erased_at).timestamp()


_DECODER = msgspec.json.Decoder(Tombstone)


def tombstone_line(user_id: str, now_s: float) -> bytes:
    """Return the line, with its line end, that erases a user at `now_s` (UTC seconds)."""
    at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode(Tombstone(_digest(user_id), at)) + b"\n"


def _digest(user_id: str) -> str:
    return hashlib.sha256(user_id.encode()).hexdigest()


class Tombstones:
    """A set of erasures: for each erased user the newest."""

    def __init__(self) -> None:
        self._erased_at: dict[str, float] = {}  # by the hash of the user id, in UTC seconds

    def __len__(self) -> int:
        return len(self._erased_at)

    def take(self, lines: Sequence[bytes]) -> None:
        """Take in lines of the log, or of the files under landing."""
        for line in lines:
            try:
                tombstone = _DECODER.decode(line)
                at_s = tombstone.at_s
            except NOT_JSON:
                continue  # a crash cut this line off; it was never acknowledged
            self._erased_at[tombstone.user_sha256] = max(at_s, self._erased_at.get(tombstone.user_sha256, 0.0))

    def after(self, at_s: float) -> "Tombstones":
        """Return the erasures at or after a moment in UTC seconds."""
        later = Tombstones()
        later._erased_at = {user: erased_at for user, erased_at in self._erased_at.items() if erased_at >= at_s}
        return later

    def newest(self) -> float:
        """Return the moment of the newest erasure in UTC seconds; 0 where there is none."""
        return max(self._erased_at.values(), default=0.0)

    def digest(self) -> str:
        """Return the SHA-256 over all erasures as hex; empty where there are none."""
        lines = [f"{user} {erased_at}" for user, erased_at in sorted(self._erased_at.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""

    def erased_at(self, user_id: str) -> float | None:
        """Return the moment of a user's newest erasure in UTC seconds, or None."""
        return self._erased_at.get(_digest(user_id)) if self._erased_at else None

    def hide(self, user_id: str, manifest: SnapshotManifest) -> bool:
        """Return whether the user was erased and the snapshot may still hold their data from before.

        Every reader of stored shelves asks this first, and reads none that is hidden.
        """
        erased_at = self.erased_at(user_id)
        if erased_at is None:
            return False
        until = manifest.metrics.get("erasures_until")
        try:
            return not isinstance(until, str) or datetime.fromisoformat(until).timestamp() < erased_at
        except (ValueError, OverflowError):  # not known, so nothing stored is shown
            return True
