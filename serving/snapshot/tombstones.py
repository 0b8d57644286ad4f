"""Erased users. A tombstone stands outside all snapshots, so it outlasts restarts, rollbacks and rebuilds.

    landing/tombstones/*.jsonl     {"user_sha256": "<hex of the id's UTF-8>", "erased_at": "2026-01-31T10:00:00.000Z"}

The id itself is not kept. From `erased_at` on nothing personal from before is served for the user. Every publish
leaves the user out whole and writes into the manifest's metrics `erasures_until`, the newest erasure that it knew of,
until `jobs.upkeep.maintenance` has rid landing of the rows from before: `redacted_before` in
`runs/maintenance/<day>.json` says up to which day it has. What comes later is a new user's. The newest line of a
user counts.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

FOLDER = "tombstones"


class Tombstone(msgspec.Struct, frozen=True):
    """One erasure."""

    user_sha256: str
    erased_at: str

    @property
    def at_s(self) -> float:
        """When, in UTC seconds."""
        return datetime.fromisoformat(self.erased_at).timestamp()


_DECODER = msgspec.json.Decoder(Tombstone)


def tombstone_line(user_id: str, now_s: float) -> bytes:
    """The line that erases a user as of now."""
    at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode(Tombstone(_digest(user_id), at)) + b"\n"


def _digest(user_id: str) -> str:
    return hashlib.sha256(user_id.encode()).hexdigest()


class Tombstones:
    """The erasures that a worker knows of."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._at)

    def take(self, lines: Sequence[bytes]) -> None:
        """Take in lines of the log, or of the files under landing."""
        for line in lines:
            try:
                tombstone = _DECODER.decode(line)
                at = tombstone.at_s
            except (msgspec.MsgspecError, ValueError):
                continue  # not acknowledged: a crash tore it
            self._at[tombstone.user_sha256] = max(at, self._at.get(tombstone.user_sha256, 0.0))

    def after(self, at_s: float) -> "Tombstones":
        """The erasures from a moment on, in UTC seconds."""
        later = Tombstones()
        later._at = {user: at for user, at in self._at.items() if at >= at_s}
        return later

    def newest(self) -> float:
        """When the last user was erased, in UTC seconds; 0 where none was."""
        return max(self._at.values(), default=0.0)

    def digest(self) -> str:
        """The SHA-256 of all erasures; empty where there are none."""
        lines = [f"{user} {at}" for user, at in sorted(self._at.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""

    def erased_at(self, user_id: str) -> float | None:
        """When a user was erased, in UTC seconds, or None."""
        return self._at.get(_digest(user_id)) if self._at else None


def landed_lines(landing: Path) -> list[bytes]:
    """Every tombstone under a landing folder."""
    return [line for path in sorted((landing / FOLDER).glob("*.jsonl")) for line in path.read_bytes().splitlines()]
