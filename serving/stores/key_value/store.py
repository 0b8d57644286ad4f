"""Versions and a pointer over any flat key-value store: what Redis and DynamoDB share.

The keys stand in `serving.stores.key_value.layout`.
"""

import re
import time

import msgspec

from serving.snapshot.manifest import SnapshotManifest, UnknownVersionError
from serving.snapshot.pointer import Pointer
from serving.stores.key_value.layout import Layout, base36
from serving.stores.key_value.version import KeyValueLoading, KeyValueVersion

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class KeyValueStore(Layout):
    """Versions and a pointer over a driver."""

    def begin(self, version: str, n_shards: int) -> "KeyValueLoading":
        if not _VERSION.fullmatch(version):
            raise UnknownVersionError(f"{version!r} is no version name; see topshelf snapshots")
        return KeyValueLoading(self, version, n_shards)

    def join(self, version: str, n_shards: int) -> "KeyValueLoading":
        return KeyValueLoading(self, version, n_shards, joins=True)

    def versions(self) -> list[SnapshotManifest]:
        entries = self.entries().of
        keys = [self.key(base36(entry.number), b"m") for entry in entries.values()]
        found = zip(entries, self.driver.get_many(keys), strict=True)
        manifests = [
            SnapshotManifest.from_json(data, f"{name} in {self.url}") for name, data in found if data is not None
        ]
        return sorted(manifests, key=lambda m: (m.day, m.version))

    def open(self, version: str) -> "KeyValueVersion":
        number = self.number(version)
        data = self.driver.get(self.key(number, b"m")) if number else None
        if data is None:
            raise UnknownVersionError(f"{self.url} holds no version {version}; see topshelf snapshots")
        return KeyValueVersion(self, number, SnapshotManifest.from_json(data, f"{version} in {self.url}"))

    def delete(self, version: str) -> None:
        entry = self.entries().of.get(version)
        if entry is None:
            return
        number = base36(entry.number)
        sealed = self.driver.get(self.key(number, b"m"))
        if sealed is not None:  # out of sight first
            self.driver.put_if(self.key(number, b"m"), sealed, None)
        for shard in range(entry.n_shards):
            self.remove_shard(number, shard, retired=sealed is not None)
        blobs = self.blob_sizes(number)
        chunks = [key for name, size in blobs.items() for key in self.blob_keys(number, name, size)]
        self.driver.remove_many([*chunks, self.key(number, b"b")], retired=sealed is not None)
        self.emptied.add(version)  # its holder takes the entry away as it lets go

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
