"""What every store does: load versions, open them, move one pointer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, Self

from serving.snapshot.manifest import (
    ShardReport,
    SnapshotManifest,
)
from serving.snapshot.pointer import Pointer

Batch = tuple[Sequence[bytes], Sequence[bytes]]  # keys and their records, keys ascending over a whole shard


class Loading(Protocol):
    """One version, held: no other process loads, promotes or removes it until the block is left.

    Leaving the block without `seal` keeps what is there, so that the next `begin` goes on from it.
    """

    @property
    def sealed(self) -> bool:
        """Whether the version is complete; then nothing of it can be written."""

    @property
    def finished(self) -> Mapping[int, ShardReport]:
        """Shards that an earlier attempt already loaded whole."""

    def write_shard(self, shard: int, batches: Iterable[Batch]) -> ShardReport:
        """Load one shard whole, in place of what was there. Raises StoreError."""

    def write_blob(self, name: str, data: bytes) -> str:
        """Load one blob, in place of what was there: its SHA-256."""

    def seal(self, manifest: SnapshotManifest) -> None:
        """Make the version complete: from now on it can be opened, and nothing of it changes."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class StoredVersion(Protocol):
    """One sealed version, open for reading by any number of threads."""

    @property
    def manifest(self) -> SnapshotManifest: ...

    def get(self, key: bytes) -> bytes | None:
        """The record under a key (`serving.snapshot.record.record_key`), or None."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The record under each key, or None, in the order of the keys."""

    def look_up(self, key: bytes) -> bytes | None:
        """What `get` does, for an answer that waits: within a short time, or a StoreError."""

    def scan(self, shard: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key of a shard and its record, keys ascending."""

    def blob(self, name: str) -> bytes | memoryview:
        """One blob whole. Raises StoreError where it is missing."""

    def close(self) -> None: ...


class Store(Protocol):
    """Versions and a pointer. Every method raises StoreError where the store cannot do it."""

    url: str

    def begin(self, version: str, n_shards: int) -> Loading:
        """Hold a version: to load it, to go on loading it, or, once sealed, to promote or remove it.

        Raises BusyVersionError while another process holds it.
        """

    def join(self, version: str, n_shards: int) -> Loading:
        """Help to load a version that another process holds: for `finished` and `write_shard` of shards of one's own.

        Raises StoreError where no process holds it.
        """

    def versions(self) -> list[SnapshotManifest]:
        """The manifests of all sealed versions, by day and version."""

    def open(self, version: str) -> StoredVersion:
        """Raises UnknownVersionError where it is not sealed."""

    def delete(self, version: str) -> None:
        """Remove a version, sealed or not; none is no error. The caller holds it and keeps to retention."""

    def unfinished(self) -> list[str]:
        """Versions that were begun, not sealed, and which no process holds now."""

    def pointer(self) -> Pointer: ...

    def swap_pointer(self, old: Pointer, new: Pointer) -> bool:
        """Put `new` in place of `old` if that still stands, by `seq`: whether it did."""

    def close(self) -> None: ...
