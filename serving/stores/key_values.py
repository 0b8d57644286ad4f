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

import re
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

import msgspec

from serving.stores.holds import Entries, Entry
from serving.stores.key_value_versions import KeyValueLoading, KeyValueVersion, hashed
from serving.stores.manifest import Manifest, StoreError, UnknownVersionError
from serving.stores.pointer import Pointer

LEASE_S = 10.0
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
