"""Versions over any flat key-value store: the layout, the journal and the lease that Redis and DynamoDB share.

Every key begins with the namespace. `N` is a short number given to a version when it is begun.

| key | value |
| --- | --- |
| `pointer` | the pointer, JSON |
| `versions` | of each version its number, its count of shards and the token of its holder; the next number; JSON |
| `N:m` | the manifest; its presence is the seal |
| `N:f:SHARD` | the report of a shard that was loaded whole |
| `N:k:SHARD:CHUNK` | the keys of a chunk of users, written before their records: the journal |
| `N:b`, `N:b:NAME:CHUNK` | the blobs' sizes, JSON; their bytes |
| `N:` and 16 bytes | one record, under the BLAKE2b hash of its key |

Keys spread over all slots and partitions: none has a part that binds it to others.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Protocol, Self

import msgspec

from serving.record import RecordDigest
from serving.stores.holds import Entries, Entry, Hold, Joined
from serving.stores.manifest import Manifest, ShardReport, StoreError, UnknownVersionError
from serving.stores.pointer import Pointer

LEASE_S = 10.0
_BLOB_BYTES_AT_ONCE = 4 << 20
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class KeyValues(Protocol):
    """What a driver does. Reads see every write acknowledged before them; failures are StoreErrors."""

    chunk_bytes: int  # the largest value

    def get(self, key: bytes) -> bytes | None: ...
    def look_up(self, key: bytes) -> bytes | None:
        """What `get` does, for an answer that waits: within a short time, or a StoreError."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]: ...
    def put_many(self, pairs: Sequence[tuple[bytes, bytes]]) -> None: ...

    def put_if(self, key: bytes, old: bytes | None, new: bytes | None) -> bool:
        """Replace `old` (None: no value) by `new` (None: remove) in one step: whether it still stood."""

    def remove_many(self, keys: Sequence[bytes], *, retired: bool = False) -> None:
        """Remove keys at once; those of a version that left retention may last a little, for readers still on it."""

    def close(self) -> None: ...


def _base36(number: int) -> bytes:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.encode()


def hashed(key: bytes) -> bytes:
    """The 16 bytes that a record is stored under."""
    return hashlib.blake2b(key, digest_size=16).digest()


class KeyValueStore:
    """Versions and a pointer over `KeyValues`."""

    def __init__(self, url: str, driver: KeyValues, namespace: str, lease_s: float = LEASE_S) -> None:
        self.url, self.driver, self.lease_s = url, driver, lease_s
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", namespace):
            raise StoreError(f"namespace {namespace!r} in {url}: use 1 to 32 letters, digits, - and _")
        self._prefix = namespace.encode() + b":"
        self.emptied: set[str] = set()

    def key(self, *parts: bytes) -> bytes:
        return self._prefix + b":".join(parts)

    def entries(self) -> Entries:
        data = self.driver.get(self.key(b"versions"))
        return Entries() if data is None else msgspec.json.decode(data, type=Entries)

    def change_entries(self, change: Callable[[Entries], Entries | None]) -> bool:
        """Apply a change in one step; where it gives None, nothing is changed: whether it was."""
        while True:
            data = self.driver.get(self.key(b"versions"))
            new = change(Entries() if data is None else msgspec.json.decode(data, type=Entries))
            if new is None:
                return False
            if self.driver.put_if(self.key(b"versions"), data, msgspec.json.encode(new)):
                return True

    def begin(self, version: str, n_shards: int) -> "KeyValueLoading":
        if not _VERSION.fullmatch(version):
            raise UnknownVersionError(f"{version!r} is no version name; see topshelf snapshots")
        return KeyValueLoading(self, version, n_shards)

    def join(self, version: str, n_shards: int) -> "KeyValueLoading":
        return KeyValueLoading(self, version, n_shards, joins=True)

    def number(self, version: str) -> bytes:
        """The number of a version, empty for one that was never begun."""
        return _base36(self.entries().of.get(version, Entry(0)).number)

    def versions(self) -> list[Manifest]:
        entries = self.entries().of
        keys = [self.key(_base36(entry.number), b"m") for entry in entries.values()]
        found = zip(entries, self.driver.get_many(keys), strict=True)
        manifests = [Manifest.from_json(data, f"{name} in {self.url}") for name, data in found if data is not None]
        return sorted(manifests, key=lambda m: (m.day, m.version))

    def open(self, version: str) -> "KeyValueVersion":
        number = self.number(version)
        data = self.driver.get(self.key(number, b"m")) if number else None
        if data is None:
            raise UnknownVersionError(f"{self.url} holds no version {version}; see topshelf snapshots")
        return KeyValueVersion(self, number, Manifest.from_json(data, f"{version} in {self.url}"))

    def delete(self, version: str) -> None:
        entry = self.entries().of.get(version)
        if entry is None:
            return
        number = _base36(entry.number)
        sealed = self.driver.get(self.key(number, b"m"))
        if sealed is not None:  # out of sight first
            self.driver.put_if(self.key(number, b"m"), sealed, None)
        for shard in range(entry.n_shards):
            self.remove_shard(number, shard, retired=sealed is not None)
        blobs = self.blob_sizes(number)
        chunks = [key for name, size in blobs.items() for key in self.blob_keys(number, name, size)]
        self.driver.remove_many([*chunks, self.key(number, b"b")], retired=sealed is not None)
        self.emptied.add(version)  # its holder takes the entry away as it lets go

    def remove_shard(self, number: bytes, shard: int, *, retired: bool = False) -> None:
        """Remove what its journal says was written of a shard, the journal after it."""
        name = str(shard).encode()
        for chunk in count():
            key = self.key(number, b"k", name, str(chunk).encode())
            data = self.driver.get(key)
            if data is None:
                break
            keys = msgspec.msgpack.decode(data, type=list[bytes])
            self.driver.remove_many([self.key(number, hashed(owner)) for owner in keys], retired=retired)
            self.driver.remove_many([key], retired=retired)
        self.driver.remove_many([self.key(number, b"f", name)])

    def blob_sizes(self, number: bytes) -> dict[str, int]:
        data = self.driver.get(self.key(number, b"b"))
        return {} if data is None else msgspec.json.decode(data, type=dict[str, int])

    def blob_keys(self, number: bytes, name: str, size: int) -> list[bytes]:
        chunks = range(-(-size // self.driver.chunk_bytes))
        return [self.key(number, b"b", name.encode(), str(chunk).encode()) for chunk in chunks]

    def unfinished(self) -> list[str]:
        sealed = {m.version for m in self.versions()}
        before = {name: entry.token for name, entry in self.entries().of.items() if name not in sealed}
        if any(before.values()):
            time.sleep(self.lease_s)  # a holder that lives changes its token meanwhile
        after = self.entries().of
        return sorted(name for name, token in before.items() if name in after and after[name].token in {"", token})

    def pointer(self) -> Pointer:
        data = self.driver.get(self.key(b"pointer"))
        return Pointer() if data is None else msgspec.json.decode(data, type=Pointer)

    def swap_pointer(self, old: Pointer, new: Pointer) -> bool:
        key = self.key(b"pointer")
        data = self.driver.get(key)
        if (Pointer() if data is None else msgspec.json.decode(data, type=Pointer)).seq != old.seq:
            return False
        return self.driver.put_if(key, data, msgspec.json.encode(new))

    def close(self) -> None:
        self.driver.close()


class KeyValueLoading:
    """A version held: being loaded, or sealed already."""

    def __init__(self, store: KeyValueStore, version: str, n_shards: int, *, joins: bool = False) -> None:
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

    def seal(self, manifest: Manifest) -> None:
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

    def __init__(self, store: KeyValueStore, number: bytes, manifest: Manifest) -> None:
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
