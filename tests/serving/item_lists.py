"""A stored version with lists of items beside what the night of `tests.serving.small_shop` publishes."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from serving.snapshot.contents import item_list_blobs
from serving.snapshot.manifest import SnapshotManifest
from serving.stores.protocols import StoredVersion

Lists = Mapping[int, Sequence[tuple[int, float]]]  # by position: positions and scores, best first


class WithBlobs:
    """A version that has further blobs."""

    def __init__(self, stored: StoredVersion, blobs: Mapping[str, bytes]) -> None:
        self._stored, self._blobs = stored, blobs
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in blobs.items()}
        self.manifest: SnapshotManifest = msgspec.structs.replace(
            stored.manifest, blobs=stored.manifest.blobs | digests
        )

    def blob(self, name: str) -> bytes | memoryview:
        return self._blobs[name] if name in self._blobs else self._stored.blob(name)

    def get(self, key: bytes) -> bytes | None:
        return self._stored.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._stored.get_many(keys)

    def look_up(self, key: bytes) -> bytes | None:
        return self._stored.look_up(key)

    def scan(self, shard: int) -> Iterator[tuple[bytes, bytes]]:
        return self._stored.scan(shard)

    def close(self) -> None:
        self._stored.close()


def with_item_lists(stored: StoredVersion, lists: Mapping[str, Lists]) -> WithBlobs:
    """Return the version with lists of items, by their name and in each by an item's position."""
    n_items = stored.manifest.items
    return WithBlobs(stored, dict(blob for name, rows in lists.items() for blob in blobs_of(name, rows, n_items)))


def blobs_of(name: str, lists: Lists, n_items: int) -> Iterator[tuple[str, bytes]]:
    """Yield the blobs of one list of items."""
    rows = [lists.get(position, ()) for position in range(n_items)]
    indptr = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
    entries = [entry for row in rows for entry in row]
    positions = np.array([position for position, _ in entries], np.int64)
    return item_list_blobs(name, indptr, positions, np.array([score for _, score in entries]), n_items)
