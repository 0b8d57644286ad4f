"""What every store does: load versions, open them, move one pointer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, Self

from serving.snapshot.manifest import ShardReport, SnapshotManifest
from serving.snapshot.pointer import Pointer

Batch = tuple[Sequence[bytes], Sequence[bytes]]  # keys and their records, keys ascending over a whole shard


class Loading(Protocol):
    """One version that this process holds: until the block ends no other process loads, promotes or removes it.

    Leaving the block without `seal` keeps what was written; the next `begin` continues from there. Every method
    raises StoreError where the store fails, or where the version is sealed already.
    """

    @property
    def sealed(self) -> bool:
        """Whether the version is complete. A sealed version cannot be written to."""

    @property
    def finished(self) -> Mapping[int, ShardReport]:
        """The shards that an earlier attempt loaded whole, with their reports."""

    def write_shard(self, shard: int, batches: Iterable[Batch]) -> ShardReport:
        """Load one shard whole, in place of what was there. Raises StoreError for keys that do not ascend."""

    def write_blob(self, name: str, data: bytes) -> str:
        """Load one blob whole, in place of what was there. Return its SHA-256."""

    def seal(self, manifest: SnapshotManifest) -> None:
        """Complete the version in one step: from now on it can be opened, and it never changes again."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class StoredVersion(Protocol):
    """One sealed version, open for reading by any number of threads. Reads raise StoreError where the store fails."""

    @property
    def manifest(self) -> SnapshotManifest: ...

    def get(self, key: bytes) -> bytes | None:
        """Return the record under a key (`serving.snapshot.record.record_key`), or None."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the record under each key, or None, in the order of the keys."""

    def look_up(self, key: bytes) -> bytes | None:
        """Return what `get` returns, within milliseconds: for an answer that waits. Raises StoreError after that."""

    def scan(self, shard: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key of a shard and its record, keys ascending."""

    def blob(self, name: str) -> bytes | memoryview:
        """Return one blob whole. Raises StoreError where it is missing."""

    def close(self) -> None: ...


class Store(Protocol):
    """Versions and a pointer. Every method raises StoreError where the store fails."""

    url: str

    def begin(self, version: str, n_shards: int) -> Loading:
        """Hold a version: to load it, to continue loading it, or, once it is sealed, to promote or remove it.

        Raises BusyVersionError while another process holds it, UnknownVersionError for an invalid name.
        """

    def join(self, version: str, n_shards: int) -> Loading:
        """Help to load a version that another process holds: read `finished`, and write shards that no other writes.

        Raises StoreError where no process holds it.
        """

    def versions(self) -> list[SnapshotManifest]:
        """Return the manifests of all sealed versions, by day and version."""

    def open(self, version: str) -> StoredVersion:
        """Open a sealed version. Raises UnknownVersionError where there is none of that name."""

    def delete(self, version: str) -> None:
        """Remove a version, sealed or not; a missing one is no error.

        The caller holds the version and decides which ones to keep. Readers see the whole version or none. A removal
        that was interrupted leaves an unfinished version, which `unfinished` lists.
        """

    def unfinished(self) -> list[str]:
        """Return the versions that were begun, are not sealed, and are held by no process."""

    def pointer(self) -> Pointer:
        """Return the pointer; an empty one where nothing was ever published."""

    def swap_pointer(self, old: Pointer, new: Pointer) -> bool:
        """Replace the pointer in one step if its `seq` is still that of `old`. Return whether it was replaced."""

    def close(self) -> None: ...
