"""One version of a key-value store: being loaded, or sealed and open for reading."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Self

import msgspec

from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import ShardReport, SnapshotManifest, StoreError
from serving.stores.key_value.holds import Hold, Joined
from serving.stores.key_value.layout import Layout, hashed

_BLOB_BYTES_AT_ONCE = 4 << 20


class KeyValueLoading:
    """A version held: being loaded, or sealed already."""

    def __init__(self, store: Layout, version: str, n_shards: int, *, joins: bool = False) -> None:
        self._store, self._version, self._n_shards = store, version, n_shards
        self._sizes: dict[str, int] | None = None  # the blobs', once they were read
        known = version in store.entries().of
        self._hold: Hold | Joined = Joined(store, version) if joins else Hold(store, version, n_shards)
        if not known:
            store.emptied.add(version)
        try:
            self._number = store.number(version)
            self.sealed = store.driver.get(store.key(self._number, b"m")) is not None
            self.finished = {} if self.sealed else self._read_finished(self._number)
        except BaseException:
            self._hold.release(drop=False)
            raise

    def _read_finished(self, number: bytes) -> dict[int, ShardReport]:
        keys = [self._store.key(number, b"f", str(shard).encode()) for shard in range(self._n_shards)]
        found = {}
        for shard, data in enumerate(self._store.driver.get_many(keys)):
            total, report = msgspec.json.decode(data, type=tuple[int, ShardReport]) if data else (0, None)
            if report is not None and total == self._n_shards:
                found[shard] = report
        return found

    def _writable(self) -> bytes:
        if self.sealed:
            raise StoreError(f"{self._version} is sealed; a sealed version never changes")
        self._hold.check()
        self._store.emptied.discard(self._version)
        return self._number

    def write_shard(self, shard: int, batches: Iterable[tuple[Sequence[bytes], Sequence[bytes]]]) -> ShardReport:
        """Write the names of a chunk of users, then their records, then the next; the report comes last."""
        store, number, name = self._store, self._writable(), str(shard).encode()
        store.remove_shard(number, shard)
        prefix, digest, largest = store.key(number, b""), RecordDigest(), 0
        for chunk, (keys, records) in enumerate(_sorted_chunks(batches, store.driver.chunk_bytes)):
            self._hold.check()
            journal = store.key(number, b"k", name, str(chunk).encode())
            store.driver.put_many([(journal, msgspec.msgpack.encode(keys))])
            store.driver.put_many([(prefix + hashed(k), record) for k, record in zip(keys, records, strict=True)])
            digest.update(keys, records)
            largest = max(largest, *map(len, records))
        report = ShardReport(digest.count, digest.bytes, digest.hexdigest(), largest)
        store.driver.put_many([(store.key(number, b"f", name), msgspec.json.encode((self._n_shards, report)))])
        return report

    def write_blob(self, name: str, data: bytes) -> str:
        store, number = self._store, self._writable()
        if self._sizes is None:
            self._sizes = store.blob_sizes(number)
        if self._sizes.get(name, 0) < len(data):  # the larger one, so that no chunk is lost sight of
            self._note_size(number, name, len(data))
        step = store.driver.chunk_bytes
        keys = store.blob_keys(number, name, len(data))
        chunks = [(key, at * step) for at, key in enumerate(keys)]
        together = max(1, _BLOB_BYTES_AT_ONCE // step)
        for first in range(0, len(chunks), together):
            part = chunks[first : first + together]
            store.driver.put_many([(key, data[at : at + step]) for key, at in part])
        if self._sizes.get(name) != len(data):
            self._note_size(number, name, len(data))
        return hashlib.sha256(data).hexdigest()

    def _note_size(self, number: bytes, name: str, size: int) -> None:
        self._sizes = (self._sizes or {}) | {name: size}
        self._store.driver.put_many([(self._store.key(number, b"b"), msgspec.json.encode(self._sizes))])

    def seal(self, manifest: SnapshotManifest) -> None:
        number = self._writable()
        self._store.driver.put_many([(self._store.key(number, b"m"), manifest.to_json())])
        self.sealed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._hold.release(drop=self._version in self._store.emptied)
        self._store.emptied.discard(self._version)


def _sorted_chunks(batches: Iterable[Any], chunk_bytes: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Batches cut so that a chunk's keys fit into one value. Raises StoreError for keys that do not rise."""
    last = b""
    for keys, records in batches:
        step = max(1, min(2_000, chunk_bytes // 300))
        for first in range(0, len(keys), step):
            part = list(keys[first : first + step])
            if any(later <= earlier for earlier, later in zip([last, *part], part, strict=False) if earlier):
                raise StoreError("keys of a shard must rise, each once; sort them by their bytes")
            last = part[-1]
            yield part, list(records[first : first + step])


class KeyValueVersion:
    """A sealed version, open for reading."""

    def __init__(self, store: Layout, number: bytes, manifest: SnapshotManifest) -> None:
        self._store, self._number, self.manifest = store, number, manifest
        self._prefix = store.key(number, b"")
        self._sizes: dict[str, int] | None = None  # the blobs', once they were read

    def get(self, key: bytes) -> bytes | None:
        return self._store.driver.get(self._prefix + hashed(key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._store.driver.get_many([self._prefix + hashed(key) for key in keys])

    def look_up(self, key: bytes) -> bytes | None:
        return self._store.driver.look_up(self._prefix + hashed(key))

    def scan(self, shard: int) -> Iterator[tuple[bytes, bytes]]:
        for chunk in count():
            name = self._store.key(self._number, b"k", str(shard).encode(), str(chunk).encode())
            data = self._store.driver.get(name)
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
            self._sizes = self._store.blob_sizes(self._number)
        sizes = self._sizes
        where = f"blob {name} of {self.manifest.version} in {self._store.url}"
        if name not in sizes:
            raise StoreError(f"{where} is not there; publish the night again")
        keys = self._store.blob_keys(self._number, name, sizes[name])
        parts = [self._store.driver.get(key) for key in keys]
        data = b"".join(part for part in parts if part is not None)
        if len(data) != sizes[name]:
            raise StoreError(f"{where} has {len(data)} bytes of {sizes[name]}; publish the night again")
        return data

    def close(self) -> None:
        """The connection belongs to the store."""
