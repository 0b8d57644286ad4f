"""The JSON of an overlay, laid over a small snapshot."""

import hashlib
import json
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from serving.shelf.overlaid import with_overlay
from serving.shelf.snapshot import Snapshot
from serving.snapshot.blobs import pack
from serving.snapshot.manifest import ShardReport, SnapshotManifest
from serving.stores.lmdb.store import LmdbStore
from tests.serving.running import publish_night

SEEDS = (
    b'[["item-00001",2.5]]\0[{"item_id":"new","title":"New","category":"toys","price_minor":5,"stock":2,'
    b'"neighbours":[["item-00001",0.5]]}]',
    b"null\0[]",
)


class _Version:
    """A version in memory (`serving.stores.protocols.StoredVersion`), without records."""

    def __init__(self, version: str, blobs: dict[str, bytes]) -> None:
        self.blobs = blobs
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in blobs.items()}
        self.manifest = SnapshotManifest(
            version=version, day="2026-01-01", run_id="r", users=0, items=100, top_n=20, n_shards=1,
            shards=[ShardReport(0, 0, "")], blobs=digests,
        )  # fmt: skip

    def blob(self, name: str) -> bytes:
        return self.blobs[name]

    def close(self) -> None: ...


@lru_cache
def _base() -> Snapshot:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        version = publish_night(folder, "2026-01-01", explores=True)
        return Snapshot(LmdbStore(f"lmdb://{folder}/store").open(version))  # its files stay mapped
    finally:
        shutil.rmtree(folder)


def read(data: bytes) -> None:
    """Lay an overlay over the base, and read of it what answers read."""
    trending, _, new_items = data.partition(b"\0")
    blobs = {"trending": trending, "new_items": new_items}
    images = {name: pack(np.frombuffer(text, np.uint8)) for name, text in blobs.items()}
    merged = with_overlay(_base(), _Version(f"{_base().version}.0", images))
    merged.fallback("trending")
    for row in range(len(merged.base), len(merged)):
        merged.similar(row)
        json.dumps([merged.item_id(row), merged.titles[row], merged.category(row)])
