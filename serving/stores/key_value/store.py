"""Versions and a pointer over any flat key-value store: what Redis and DynamoDB share.

The keys are in `serving.stores.key_value.layout`.
"""

import time

import msgspec

from serving.snapshot.manifest import SnapshotManifest, UnknownVersionError, check_version_name, read_json
from serving.snapshot.pointer import Pointer
from serving.stores.key_value.layout import Layout, base36
from serving.stores.key_value.version import KeyValueLoading, KeyValueVersion


class KeyValueStore:
    """A store (`serving.stores.protocols.Store`) over a layout and its driver."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.url = layout, layout.url
        self._driver = layout.driver

    def begin(self, version: str, n_shards: int) -> KeyValueLoading:
        check_version_name(version)
        return KeyValueLoading(self.layout, version, n_shards)

    def join(self, version: str, n_shards: int) -> KeyValueLoading:
        return KeyValueLoading(self.layout, version, n_shards, joins=True)

    def versions(self) -> list[SnapshotManifest]:
        entries = self.layout.entries().by_version
        keys = [self.layout.key(base36(entry.number), b"m") for entry in entries.values()]
        stored = zip(entries, self._driver.get_many(keys), strict=True)
        manifests = [
            SnapshotManifest.from_json(data, f"{name} in {self.url}") for name, data in stored if data is not None
        ]
        return sorted(manifests, key=lambda manifest: (manifest.day, manifest.version))

    def open(self, version: str) -> KeyValueVersion:
        number = self.layout.number(version)
        data = self._driver.get(self.layout.key(number, b"m")) if number else None
        if data is None:
            raise UnknownVersionError(f"{self.url} holds no version {version}; see topshelf snapshots")
        return KeyValueVersion(self.layout, number, SnapshotManifest.from_json(data, f"{version} in {self.url}"))

    def delete(self, version: str) -> None:
        layout, driver = self.layout, self._driver
        entry = layout.entries().by_version.get(version)
        if entry is None:
            return
        number = base36(entry.number)
        manifest = driver.get(layout.key(number, b"m"))
        sealed = manifest is not None
        if sealed:  # without its manifest nobody can open it: from here on it is unfinished
            driver.put_if(layout.key(number, b"m"), manifest, None)
        for shard in range(entry.n_shards):
            layout.remove_shard(number, shard, retired=sealed)
        blobs = layout.blob_sizes(number)
        chunks = [key for name, size in blobs.items() for key in layout.blob_keys(number, name, size)]
        driver.remove_many([*chunks, layout.key(number, b"b")], retired=sealed)
        layout.emptied.add(version)

    def unfinished(self) -> list[str]:
        sealed = {manifest.version for manifest in self.versions()}
        entries = self.layout.entries().by_version
        tokens = {name: entry.token for name, entry in entries.items() if name not in sealed}
        if any(tokens.values()):
            time.sleep(self.layout.lease_s)  # a living holder changes its token meanwhile
        after = self.layout.entries().by_version
        return sorted(name for name, token in tokens.items() if name in after and after[name].token in {"", token})

    def pointer(self) -> Pointer:
        return _pointer(self._driver.get(self.layout.key(b"pointer")), self.url)

    def swap_pointer(self, old: Pointer, new: Pointer) -> bool:
        key = self.layout.key(b"pointer")
        data = self._driver.get(key)
        if _pointer(data, self.url).seq != old.seq:
            return False
        return self._driver.put_if(key, data, msgspec.json.encode(new))

    def close(self) -> None:
        """Close the driver's connections."""
        self._driver.close()


def _pointer(data: bytes | None, where: str) -> Pointer:
    return Pointer() if data is None else read_json(data, Pointer, f"the pointer in {where}")
