"""A version's manifest: what it holds, with checksums. It is written last; a version without it is unfinished.

Here too are the errors of stores, which are the format's: every reader and writer of a snapshot meets them. And here
is how JSON is read that the project stored itself, and that may have been damaged since.
"""

import hashlib
import re
from datetime import date
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

FORMAT = 1
_VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
Count = Annotated[int, Meta(ge=0)]
T = TypeVar("T")

# All that decoding any bytes as JSON may raise: text that is not UTF-8 and deep nesting are no MsgspecError.
NOT_JSON = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)


class StoreError(Exception):
    """A store failed or refused; the message says what, where and the remedy."""


class UnknownVersionError(StoreError):
    """The store holds no version of that name."""


class BusyVersionError(StoreError):
    """Another process holds the version."""


class NewerSnapshotError(StoreError):
    """The snapshot has a later format than this reader knows."""


def read_json(data: bytes | memoryview, kind: type[T], where: str, remedy: str = "publish the night again") -> T:
    """Return JSON as `kind`. Raises StoreError, naming `where`, for damage and for another kind."""
    try:
        return msgspec.json.decode(data, type=kind)
    except NOT_JSON as error:
        raise StoreError(f"{where} is damaged ({error}); {remedy}") from error


def check_version_name(version: str) -> None:
    """Raise UnknownVersionError for a name that no version can have."""
    if not _VERSION_NAME.fullmatch(version):
        raise UnknownVersionError(f"{version!r} is no version name; see topshelf snapshots")


class ShardReport(msgspec.Struct, frozen=True):
    """What one shard holds."""

    records: int
    bytes: int  # of the records, without their keys
    sha256: str  # of `serving.snapshot.digest.RecordDigest`
    max_record_bytes: int = 0


class GateResult(msgspec.Struct, frozen=True):
    """The outcome of one publish gate."""

    name: str
    outcome: str  # passed, failed or skipped
    reason: str  # a sentence


class SnapshotManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable snapshot. Field names and their order are those of `manifest.json`."""

    format: int = FORMAT
    version: str
    day: str  # the UTC day of its night, YYYY-MM-DD
    run_id: str
    published_at: str = ""  # UTC, ISO 8601
    model_version: str = ""
    policy_version: str = ""
    users: Count
    items: Count
    top_n: Count
    n_shards: int
    shard_by: str = "crc32(user_id) % n_shards"
    record_version: int = 1
    shards: list[ShardReport]
    blobs: dict[str, str] = {}  # name -> sha256
    blob_bytes: int = 0
    gates: list[GateResult] = []
    forced: str = ""  # the operator's reason, where a failed gate was overruled
    metrics: dict[str, Any] = {}

    @property
    def failed_gates(self) -> list[GateResult]:
        """The gates that it did not pass, overruled or not."""
        return [gate for gate in self.gates if gate.outcome == "failed"]

    @property
    def is_held_back(self) -> bool:
        """Whether a gate failed and nobody overruled it."""
        return bool(self.failed_gates) and not self.forced

    @property
    def record_bytes(self) -> int:
        """The bytes of all records, without their keys."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def hash(self) -> str:
        """The SHA-256 over the digests of all records and blobs; run id and times do not change it."""
        parts = [f"{number}={shard.sha256}" for number, shard in enumerate(self.shards)]
        parts += [f"{name}={digest}" for name, digest in sorted(self.blobs.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def to_json(self) -> bytes:
        """Return `manifest.json`, the hash included."""
        body = msgspec.to_builtins(self) | {"hash": self.hash}
        return msgspec.json.format(msgspec.json.encode(body), indent=1)

    @classmethod
    def from_json(cls, data: bytes, where: str) -> "SnapshotManifest":
        """Read `manifest.json`. Raises StoreError for damage, NewerSnapshotError for a later format."""
        head = read_json(data, _Head, where)
        if head.format > FORMAT:
            raise NewerSnapshotError(f"{where} has format {head.format}, this reader knows {FORMAT}; upgrade serving")
        manifest = read_json(data, cls, where)
        if head.hash != manifest.hash:
            raise StoreError(f"{where} does not match its own hash; publish the night again")
        try:
            date.fromisoformat(manifest.day)
        except ValueError as error:
            raise StoreError(f"{where} is damaged (its day: {error}); publish the night again") from error
        if len(manifest.shards) != manifest.n_shards:
            raise StoreError(
                f"{where} is damaged (reports of {len(manifest.shards)} shards, not of {manifest.n_shards}); "
                "publish the night again"
            )
        return manifest


class _Head(msgspec.Struct, frozen=True):
    format: int
    hash: str = ""
