"""JSON of a snapshot that was damaged: its readers are told so by a StoreError, whatever the damage is."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from serving.snapshot.blobs import pack
from serving.snapshot.manifest import ShardReport, SnapshotManifest, StoreError
from serving.snapshot.overlay import read_overlay
from serving.snapshot.tombstones import Tombstones, tombstone_line
from serving.stores.archive import Archive
from serving.stores.key_value.layout import Layout
from serving.stores.key_value.store import KeyValueStore
from serving.stores.lmdb.store import LmdbStore
from serving.stores.lmdb.version import LmdbVersion

DAMAGED = {
    "cut": b'{"seq":',
    "no text": b'{"live":"\xff","of":{"\xff":[1]}}',
    "nested": b'{"x":' + b"[" * 50_000,
    "another kind": b'"x"',
}


@pytest.fixture(params=DAMAGED)
def damaged(request: pytest.FixtureRequest) -> bytes:
    return DAMAGED[request.param]


def manifest(**fields: Any) -> SnapshotManifest:
    known = {"day": "2026-01-01", "n_shards": 1, "shards": [ShardReport(1, 2, "00", 2)]}
    return SnapshotManifest(version="v", run_id="r", users=1, items=1, top_n=20, **{**known, **fields})


def test_a_manifest(damaged: bytes) -> None:
    with pytest.raises(StoreError, match="m is damaged"):
        SnapshotManifest.from_json(damaged, "m")


@pytest.mark.parametrize("fields", [{"day": "2026-13-01"}, {"day": ""}, {"n_shards": 0}, {"n_shards": 2}], ids=str)
def test_a_manifest_whose_day_or_shards_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="m is damaged"):
        SnapshotManifest.from_json(manifest(**fields).to_json(), "m")


def test_a_pointer_in_files(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "pointer.json").write_bytes(damaged)
    with pytest.raises(StoreError, match=r"pointer\.json is damaged"):
        LmdbStore(f"lmdb://{tmp_path}").pointer()


def test_a_pointer_and_the_versions_of_a_key_value_store(damaged: bytes) -> None:
    class Values:
        def get(self, _: bytes) -> bytes:
            return damaged

    layout = Layout("redis://host", cast("Any", Values()), "ns")
    with pytest.raises(StoreError, match="the pointer in redis://host is damaged"):
        KeyValueStore(layout).pointer()
    with pytest.raises(StoreError, match="redis://host is damaged"):
        layout.entries()


def test_a_pointer_of_an_archive(damaged: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "read", lambda *_: (damaged, "etag"))
    with pytest.raises(StoreError, match=r"pointer\.json in bucket is damaged"):
        Archive("s3://bucket/shop").pointer()


def test_the_sizes_of_a_versions_files(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest().to_json())
    (tmp_path / "files.json").write_bytes(damaged)
    with pytest.raises(StoreError, match=r"files\.json is damaged"):
        LmdbVersion(tmp_path)


@pytest.mark.parametrize(
    "item",
    [
        {"item_id": "a", "price_minor": 1 << 63},
        {"item_id": "a", "stock": 1 << 31},
        {"item_id": "a", "neighbours": [["b", 1e39]]},
        {"item_id": "\ud800"},
    ],
    ids=str,
)
def test_an_overlay_whose_values_no_column_holds(item: dict[str, object]) -> None:
    rows = pack(np.frombuffer(json.dumps([item]).encode(), np.uint8))
    with pytest.raises(StoreError, match="the overlay is damaged"):
        read_overlay(pack(np.frombuffer(b"null", np.uint8)), rows, "the overlay")


def test_an_erased_shopper_is_hidden_where_it_is_not_known_what_the_night_left_out() -> None:
    tombstones = Tombstones()
    tombstones.take([tombstone_line("anna", 0.0)])
    assert tombstones.hide("anna", manifest(metrics={"erasures_until": "yesterday"}))
    assert not tombstones.hide("ben", manifest(metrics={"erasures_until": "yesterday"}))
