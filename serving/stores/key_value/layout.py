"""How versions lie in a flat key-value store: the keys, the journal, and what a driver does.

Every key begins with the namespace. `N` is a short number that a version gets when it is begun.

| key | value |
| --- | --- |
| `pointer` | the pointer, JSON |
| `versions` | for each version its number, shard count and holder's token; the next free number; JSON |
| `N:m` | the manifest; its presence is the seal |
| `N:f:SHARD` | the report of a shard that was loaded whole |
| `N:k:SHARD:CHUNK` | the journal: the keys of a chunk of users, written before their records |
| `N:b`, `N:b:NAME:CHUNK` | the blobs' sizes, JSON; their bytes |
| `N:` and 16 bytes | one record, under the BLAKE2b hash of its key |

Keys spread over all slots and partitions: no part of a key keeps it beside others.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

import msgspec

from serving.snapshot.manifest import StoreError, read_json

LEASE_S = 10.0
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class KeyValueDriver(Protocol):
    """What a driver does. Reads see every write acknowledged before them. Every method raises StoreError."""

    chunk_bytes: int  # the size of the largest value

    def get(self, key: bytes) -> bytes | None:
        """Return a value, or None. Waits and retries for as long as a batch job may."""

    def look_up(self, key: bytes) -> bytes | None:
        """Return what `get` returns, within milliseconds: for an answer that waits. Raises StoreError after that."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, or None, in the order of the keys."""

    def put_many(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Write pairs of key and value, in any order; when it fails, some of them may be written."""

    def put_if(self, key: bytes, old: bytes | None, new: bytes | None) -> bool:
        """Replace `old` (None: no value) by `new` (None: remove) in one step. Return whether `old` was there."""

    def remove_many(self, keys: Sequence[bytes], *, retired: bool = False) -> None:
        """Remove keys, missing ones too. `retired` keys may last a while for readers still on their version."""

    def close(self) -> None: ...


class VersionEntry(msgspec.Struct, frozen=True, array_like=True):
    """A version's number and shard count, and its holder's token; empty for no holder."""

    number: int
    n_shards: int = 0
    token: str = ""


class VersionEntries(msgspec.Struct, frozen=True):
    """The value of `versions`. It changes whole, by compare-and-set, so no version ever lacks its entry."""

    next: int = 1
    by_version: dict[str, VersionEntry] = msgspec.field(default_factory=dict, name="of")

    def put(self, version: str, entry: VersionEntry) -> "VersionEntries":
        return VersionEntries(max(self.next, entry.number + 1), self.by_version | {version: entry})

    def drop(self, version: str) -> "VersionEntries":
        return VersionEntries(self.next, {name: entry for name, entry in self.by_version.items() if name != version})


class Layout:
    """The keys of one namespace, over a driver. Methods that read or write raise StoreError."""

    def __init__(self, url: str, driver: KeyValueDriver, namespace: str, lease_s: float = LEASE_S) -> None:
        """Raises StoreError for an invalid namespace."""
        self.url, self.driver, self.lease_s = url, driver, lease_s
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", namespace):
            raise StoreError(f"namespace {namespace!r} in {url}: use 1 to 32 letters, digits, - and _")
        self._prefix = namespace.encode() + b":"
        self.emptied: set[str] = set()  # versions without content: their holder removes the entry as it releases them

    def key(self, *parts: bytes) -> bytes:
        return self._prefix + b":".join(parts)

    def entries(self) -> VersionEntries:
        """Return the entries of all versions."""
        return _entries(self.driver.get(self.key(b"versions")), self.url)

    def change_entries(self, change: Callable[[VersionEntries], VersionEntries | None]) -> bool:
        """Apply a change in one step, repeated where another process was faster. Return whether it was applied.

        `change` returns None to change nothing.
        """
        while True:
            data = self.driver.get(self.key(b"versions"))
            changed = change(_entries(data, self.url))
            if changed is None:
                return False
            if self.driver.put_if(self.key(b"versions"), data, msgspec.json.encode(changed)):
                return True

    def number(self, version: str) -> bytes:
        """Return a version's number as its keys hold it; empty for a version that was never begun."""
        return base36(self.entries().by_version.get(version, VersionEntry(0)).number)

    def remove_shard(self, number: bytes, shard: int, *, retired: bool = False) -> None:
        """Remove every record that the journal lists for a shard, and each part of the journal after its records."""
        name = str(shard).encode()
        for chunk in count():
            key = self.key(number, b"k", name, str(chunk).encode())
            data = self.driver.get(key)
            if data is None:
                break
            keys = msgspec.msgpack.decode(data, type=list[bytes])
            self.driver.remove_many([self.key(number, hashed(record_key)) for record_key in keys], retired=retired)
            self.driver.remove_many([key], retired=retired)
        self.driver.remove_many([self.key(number, b"f", name)])

    def blob_sizes(self, number: bytes) -> dict[str, int]:
        """Return the size in bytes of every blob of a version."""
        data = self.driver.get(self.key(number, b"b"))
        return {} if data is None else read_json(data, dict[str, int], f"the blobs' sizes in {self.url}")

    def blob_keys(self, number: bytes, name: str, size: int) -> list[bytes]:
        """Return the keys of a blob's chunks, in order."""
        chunks = range(-(-size // self.driver.chunk_bytes))
        return [self.key(number, b"b", name.encode(), str(chunk).encode()) for chunk in chunks]


def hashed(key: bytes) -> bytes:
    """Return the 16 bytes that a record is stored under."""
    return hashlib.blake2b(key, digest_size=16).digest()


def base36(number: int) -> bytes:
    """Return a number in base 36; empty for 0."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.encode()


def _entries(data: bytes | None, where: str) -> VersionEntries:
    return VersionEntries() if data is None else read_json(data, VersionEntries, f"the versions in {where}")
