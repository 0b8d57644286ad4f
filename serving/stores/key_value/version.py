"""One version of a key-value store: being loaded, or sealed and open for reading."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Self

import msgspec

from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import ShardReport, SnapshotManifest, StoreError, read_json
from serving.stores.key_value.holds import Hold, JoinedHold
from serving.stores.key_value.layout import Layout, hashed
from serving.stores.protocols import Batch

_BLOB_BYTES_AT_ONCE = 4 << 20


class KeyValueLoading:
    """A held version (`serving.stores.protocols.Loading`): being loaded, or sealed already."""

    def __init__(self, layout: Layout, version: str, n_shards: int, *, joins: bool = False) -> None:
        self._layout, self._version, self._n_shards = layout, version, n_shards
        self._sizes: dict[str, int] | None = None  # of the blobs, once read
        known = version in layout.entries().by_version
        self._hold: Hold | JoinedHold = JoinedHold(layout, version) if joins else Hold(layout, version, n_shards)
        if not known:
            layout.emptied.add(version)
        try:
            self._number = layout.number(version)
            self.sealed = layout.driver.get(layout.key(self._number, b"m")) is not None
            self.finished = {} if self.sealed else self._read_finished(self._number)
        except BaseException:
            self._hold.release(drop=False)
            raise

    def _read_finished(self, number: bytes) -> dict[int, ShardReport]:
        keys = [self._layout.key(number, b"f", str(shard).encode()) for shard in range(self._n_shards)]
        reports = {}
        for shard, data in enumerate(self._layout.driver.get_many(keys)):
            if data is not None:
                where = f"the report of shard {shard} of {self._version}"
                n_shards, report = read_json(data, tuple[int, ShardReport], where)
                if n_shards == self._n_shards:
                    reports[shard] = report
        return reports

    def _writable_number(self) -> bytes:
        """Return the version's number. Raises StoreError where it is sealed or the hold was lost."""
        if self.sealed:
            raise StoreError(f"{self._version} is sealed; a sealed version never changes")
        self._hold.check()
        self._layout.emptied.discard(self._version)
        return self._number

    def write_shard(self, shard: int, batches: Iterable[Batch]) -> ShardReport:
        """Write each chunk's keys to the journal before its records, and the report after all chunks."""
        layout, number, name = self._layout, self._writable_number(), str(shard).encode()
        layout.remove_shard(number, shard)
        prefix, digest, largest = layout.key(number, b""), RecordDigest(), 0
        for chunk, (keys, records) in enumerate(_sorted_chunks(batches, layout.driver.chunk_bytes)):
            self._hold.check()
            journal = layout.key(number, b"k", name, str(chunk).encode())
            layout.driver.put_many([(journal, msgspec.msgpack.encode(keys))])
            layout.driver.put_many([(prefix + hashed(k), record) for k, record in zip(keys, records, strict=True)])
            digest.update(keys, records)
            largest = max(largest, *map(len, records))
        report = ShardReport(digest.count, digest.bytes, digest.hexdigest(), largest)
        layout.driver.put_many([(layout.key(number, b"f", name), msgspec.json.encode((self._n_shards, report)))])
        return report

    def write_blob(self, name: str, data: bytes) -> str:
        layout, number = self._layout, self._writable_number()
        if self._sizes is None:
            self._sizes = layout.blob_sizes(number)
        if self._sizes.get(name, 0) < len(data):  # before writing, so that `delete` knows of every chunk
            self._note_size(number, name, len(data))
        size = layout.driver.chunk_bytes
        keys = layout.blob_keys(number, name, len(data))
        chunks_at_once = max(1, _BLOB_BYTES_AT_ONCE // size)
        for first in range(0, len(keys), chunks_at_once):  # few at a time: each slice is a copy
            some_keys = enumerate(keys[first : first + chunks_at_once], first)
            layout.driver.put_many([(key, data[chunk * size : (chunk + 1) * size]) for chunk, key in some_keys])
        if self._sizes.get(name) != len(data):
            self._note_size(number, name, len(data))
        return hashlib.sha256(data).hexdigest()

    def _note_size(self, number: bytes, name: str, size: int) -> None:
        self._sizes = (self._sizes or {}) | {name: size}
        self._layout.driver.put_many([(self._layout.key(number, b"b"), msgspec.json.encode(self._sizes))])

    def seal(self, manifest: SnapshotManifest) -> None:
        number = self._writable_number()
        self._layout.driver.put_many([(self._layout.key(number, b"m"), manifest.to_json())])
        self.sealed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._hold.release(drop=self._version in self._layout.emptied)
        self._layout.emptied.discard(self._version)


def _sorted_chunks(batches: Iterable[Batch], chunk_bytes: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Cut batches so that a chunk's keys fit into one value. Raises StoreError for keys that do not ascend."""
    last = b""
    step = max(1, min(2_000, chunk_bytes // 300))
    for keys, records in batches:
        for first in range(0, len(keys), step):
            part = list(keys[first : first + step])
            if any(later <= earlier for earlier, later in zip([last, *part], part, strict=False) if earlier):
                raise StoreError("keys of a shard must ascend, each once; sort them by their bytes")
            last = part[-1]
            yield part, list(records[first : first + step])


class KeyValueVersion:
    """A sealed version (`serving.stores.protocols.StoredVersion`), open for reading."""

    def __init__(self, layout: Layout, number: bytes, manifest: SnapshotManifest) -> None:
        self._layout, self._number, self.manifest = layout, number, manifest
        self._prefix = layout.key(number, b"")
        self._sizes: dict[str, int] | None = None  # of the blobs, once read

    def get(self, key: bytes) -> bytes | None:
        return self._layout.driver.get(self._prefix + hashed(key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._layout.driver.get_many([self._prefix + hashed(key) for key in keys])

    def look_up(self, key: bytes) -> bytes | None:
        return self._layout.driver.look_up(self._prefix + hashed(key))

    def scan(self, shard: int) -> Iterator[tuple[bytes, bytes]]:
        for chunk in count():
            name = self._layout.key(self._number, b"k", str(shard).encode(), str(chunk).encode())
            data = self._layout.driver.get(name)
            if data is None:
                return
            keys = msgspec.msgpack.decode(data, type=list[bytes])
            records = self.get_many(keys)
            for key, record in zip(keys, records, strict=True):
                if record is None:
                    raise StoreError(f"{self.manifest.version} lost the record of {key!r}; publish the night again")
                yield key, record

    def blob(self, name: str) -> bytes:
        if self._sizes is None:
            self._sizes = self._layout.blob_sizes(self._number)
        sizes = self._sizes
        where = f"blob {name} of {self.manifest.version} in {self._layout.url}"
        if name not in sizes:
            raise StoreError(f"{where} is not there; publish the night again")
        keys = self._layout.blob_keys(self._number, name, sizes[name])
        parts = [self._layout.driver.get(key) for key in keys]
        data = b"".join(part for part in parts if part is not None)
        if len(data) != sizes[name]:
            raise StoreError(f"{where} has {len(data)} bytes of {sizes[name]}; publish the night again")
        return data

    def close(self) -> None:
        """The connection belongs to the layout."""
