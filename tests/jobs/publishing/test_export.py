import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.publishing.export import export
from jobs.publishing.publish import publish
from serving.snapshot.manifest import StoreError
from serving.snapshot.tombstones import Tombstones, tombstone_line
from serving.stores.protocols import Store
from tests.serving.disks import fill, small_disk
from tests.serving.small_shop import night

D1 = "2026-01-01"


@pytest.mark.parametrize("name", ["shelves.parquet", "shelves.jsonl"])
def test_an_export_holds_every_shelf_with_item_ids(store: Store, tmp_path: Path, name: str) -> None:
    tonight = night(D1, newcomers=[("new", "DE", None, None)])  # who has none
    publish(tonight, store)
    users = export(store, tmp_path / name, Tombstones())
    if name.endswith("parquet"):
        rows = pq.read_table(tmp_path / name).to_pylist()
    else:
        shelves = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        rows = [
            {"user_id": shelf["user_id"], "variant": shelf["variant"], "rank": rank, **item}
            for shelf in shelves
            for rank, item in enumerate(shelf["items"], 1)
        ]
    mart = [row for shard in range(tonight.n_shards) for row in tonight.shelves(shard).to_pylist()]
    assert users == 60
    assert len(rows) == len(mart)
    for got, want in zip(rows, mart, strict=True):
        assert got["score"] == pytest.approx(want["score"], rel=1e-3)
        assert {key: got[key] for key in want if key != "score"} == {k: v for k, v in want.items() if k != "score"}


def test_an_export_is_cut_where_asked_and_refuses_an_unknown_format(store: Store, tmp_path: Path) -> None:
    publish(night(D1), store)
    export(store, tmp_path / "a.parquet", Tombstones(), first=3)
    assert pq.read_table(tmp_path / "a.parquet")["rank"].to_numpy().max() == 3
    with pytest.raises(StoreError, match=r"parquet or \.jsonl"):
        export(store, tmp_path / "a.xlsx", Tombstones())
    assert {path.name for path in tmp_path.iterdir()} == {"store", "a.parquet"}


@pytest.mark.parametrize("name", ["shelves.parquet", "shelves.jsonl"])
def test_an_export_that_cannot_be_written_says_where_and_leaves_what_was_there(
    store: Store, tmp_path: Path, name: str
) -> None:
    publish(night(D1), store)
    (tmp_path / "file").touch()
    for folder in ("nowhere", "file"):
        with pytest.raises(StoreError, match=rf"{tmp_path}/{folder} is no folder; make it, or name"):
            export(store, tmp_path / folder / name, Tombstones())
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError, match=rf"{name} cannot be written: .*Is a directory.*; free disk space, or name"):
        export(store, tmp_path / name, Tombstones())
    with small_disk(tmp_path / "disk", 1) as disk:
        (disk / name).write_bytes(b"yesterday's")
        filler = fill(disk)
        with pytest.raises(StoreError, match=rf"{disk}/{name} cannot be written: .*No space left on device"):
            export(store, disk / name, Tombstones())
        assert set(disk.iterdir()) == {filler, disk / name}
        assert (disk / name).read_bytes() == b"yesterday's"


@pytest.mark.parametrize("name", ["shelves.parquet", "shelves.jsonl"])
def test_an_export_leaves_erased_users_out(store: Store, tmp_path: Path, name: str) -> None:
    publish(night(D1), store)
    tombstones = Tombstones()
    tombstones.take([tombstone_line("user-1", 1.8e9), tombstone_line("user 9 ✓", 1.8e9)])
    assert export(store, tmp_path / name, tombstones) == 58
    if name.endswith("parquet"):
        users = set(pq.read_table(tmp_path / name)["user_id"].to_pylist())
    else:
        users = {json.loads(line)["user_id"] for line in (tmp_path / name).read_text().splitlines()}
    assert len(users) == 58
    assert not users & {"user-1", "user 9 ✓"}
