"""What a snapshot says of itself: `manifest.json` of a version, written last; a version without it is unfinished."""

import hashlib
from typing import Any

import msgspec

FORMAT = 1


class StoreError(Exception):
    """A store that cannot do what was asked; the message says what, where and the remedy."""


class UnknownVersionError(StoreError):
    """A version that the store does not hold."""


class BusyVersionError(StoreError):
    """A version that another process holds."""


class NewerSnapshotError(StoreError):
    """A snapshot written by a later version than this reader knows."""


class ShardReport(msgspec.Struct, frozen=True):
    """What one shard holds: records, their bytes, and the digest of `serving.snapshot.digest.RecordDigest`."""

    records: int
    bytes: int
    sha256: str
    max_record_bytes: int = 0


class GateResult(msgspec.Struct, frozen=True):
    """One publish gate: `passed`, `failed` or `skipped`, and the reason in words."""

    name: str
    outcome: str
    reason: str


class SnapshotManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable snapshot. `hash` covers records and blobs, and neither run id nor times."""

    format: int = FORMAT
    version: str
    day: str  # the UTC day whose night made it, YYYY-MM-DD
    run_id: str
    published_at: str = ""  # UTC, ISO 8601
    model_version: str = ""
    policy_version: str = ""
    users: int
    items: int
    top_n: int
    n_shards: int
    shard_by: str = "crc32(user_id) % n_shards"
    record_version: int = 1
    shards: list[ShardReport]
    blobs: dict[str, str] = {}  # name -> sha256
    blob_bytes: int = 0
    gates: list[GateResult] = []
    forced: str = ""  # the written reason, where a failed gate was overruled
    metrics: dict[str, Any] = {}

    @property
    def record_bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    @property
    def hash(self) -> str:
        parts = [f"{number}={shard.sha256}" for number, shard in enumerate(self.shards)]
        parts += [f"{name}={digest}" for name, digest in sorted(self.blobs.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def to_json(self) -> bytes:
        body = msgspec.to_builtins(self) | {"hash": self.hash}
        return msgspec.json.format(msgspec.json.encode(body), indent=1)

    @classmethod
    def from_json(cls, data: bytes, where: str) -> "SnapshotManifest":
        """Read a manifest. Raises StoreError for damage, NewerSnapshotError for a later format."""
        try:
            head = msgspec.json.decode(data)
            newer = head["format"] > FORMAT
            manifest = None if newer else msgspec.convert(head, cls)
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            raise StoreError(f"{where} is damaged ({error}); publish the night again") from error
        if manifest is None:
            raise NewerSnapshotError(
                f"{where} has format {head['format']}, this reader knows {FORMAT}; upgrade serving"
            )
        if head.get("hash") != manifest.hash:
            raise StoreError(f"{where} does not match its own hash; publish the night again")
        return manifest
