"""How versions lie in a flat key-value store: the keys, the journal, and what a driver has to do.

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
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

import msgspec

from serving.snapshot.manifest import StoreError
from serving.stores.key_value.holds import Entries, Entry

LEASE_S = 10.0


def hashed(key: bytes) -> bytes:
    """The 16 bytes that a record is stored under."""
    return hashlib.blake2b(key, digest_size=16).digest()


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


def base36(number: int) -> bytes:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.encode()


class Layout:
    """The keys of a namespace, and what of a version must be found by them."""

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

    def number(self, version: str) -> bytes:
        """The number of a version, empty for one that was never begun."""
        return base36(self.entries().of.get(version, Entry(0)).number)

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
