"""Shoppers' own lists in a snapshot: as the mart has them, beside the shelves, and never counted as those."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.publishing import shard_loader
from jobs.publishing.diff import difference
from jobs.publishing.export import export
from jobs.publishing.night_contents import NightContents
from jobs.publishing.publish import PublishOutcome, publish
from jobs.publishing.snapshot_columns import PublishError
from serving.client import lists_of, open_snapshot
from serving.shelf.snapshot import Snapshot
from serving.snapshot.own_lists import LISTS, OwnLists
from serving.snapshot.tombstones import Tombstones, tombstone_line
from serving.stores import open_store
from serving.stores.protocols import Store
from tests.serving.small_shop import item_ids, night, version

D1, D2 = "2026-01-01", "2026-01-02"
NEWCOMERS = [(f"newcomer-{number}", "DE", None, None) for number in range(9)]
IDS = item_ids(100)


def rows_of(tonight: NightContents) -> list[dict[str, Any]]:
    return [row for shard in range(tonight.n_shards) for row in tonight.own_lists(shard).to_pylist()]


def named(lists: OwnLists) -> dict[str, list[tuple[str, float]]]:
    return {
        name: [(IDS[p], pytest.approx(s, rel=1e-3)) for p, s in zip(*map(list, of), strict=True)]
        for name, of in lists._asdict().items()
    }


def with_rows(tonight: NightContents, **columns: str) -> NightContents:
    """Return a night in whose lists one row of shard 1 is another one."""
    table = tonight.own_lists(1)
    for name, value in columns.items():
        values = table[name].to_pylist()
        table = table.set_column(table.column_names.index(name), name, pa.array([value, *values[1:]]))
    return replace(tonight, own_lists=lambda shard: table if shard == 1 else tonight.own_lists(shard))


@pytest.fixture(params=[4000, 7])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_loader, "_BATCH", request.param)


@pytest.mark.usefixtures("batch")
def test_every_shopper_has_the_lists_of_the_mart_beside_an_unchanged_shelf(store: Store) -> None:
    tonight = night(D1, newcomers=NEWCOMERS, lists=True)
    publish(tonight, store)
    publish(replace(tonight, run_id="without", own_lists=night(D1).own_lists), store)
    snapshot, without = Snapshot(store.open(tonight.version)), Snapshot(store.open(f"{D1}-without"))
    rows = rows_of(tonight)
    users = [user for shard in range(tonight.n_shards) for user in tonight.users(shard)["user_id"].to_pylist()]
    assert {row["list"] for row in rows} == set(LISTS)
    assert 0 < len({row["user_id"] for row in rows}) < len(users)
    for user in users:
        wanted = {name: [] for name in LISTS}
        for row in rows:
            if row["user_id"] == user:
                wanted[row["list"]].append((row["item_id"], row["score"]))
        assert named(snapshot.own_lists(user)) == wanted
        assert named(without.own_lists(user)) == {name: [] for name in LISTS}
        shelf, same = snapshot.packed(user), without.packed(user)
        assert shelf is not None
        assert same is not None
        assert bytes(shelf.record) == bytes(same.record)


def facts(done: PublishOutcome) -> tuple[Any, ...]:
    manifest = done.manifest
    gates = [gate for gate in manifest.gates if gate.name != "record_budget"]
    metrics = {name: value for name, value in manifest.metrics.items() if name != "users_with_lists"}
    return manifest.users, manifest.items, metrics, gates


def test_lists_are_counted_by_themselves_and_change_no_other_count_and_no_gate(tmp_path: Path) -> None:
    told = []
    for lists in (False, True):
        with closing(open_store(f"lmdb://{tmp_path}/{lists}")) as store:
            publish(night(D1, lists=lists), store)
            done = publish(night(D2, top_n=5, newcomers=NEWCOMERS, lists=lists), store)
            told.append(facts(done))
            users = {row["user_id"] for row in rows_of(night(D2, top_n=5, newcomers=NEWCOMERS, lists=lists))}
            assert done.manifest.metrics["users_with_lists"] == len(users)
            assert sum(shard.records for shard in done.manifest.shards) == done.manifest.users + len(users)
            different = difference(store, version(D1), version(D2))
            assert (different.users_of_both, different.users_changed) == (60, 60)
    assert told[0] == told[1]


def test_a_publish_that_died_after_its_shards_goes_on_to_the_same_snapshot(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tonight = night(D1, lists=True)
    with monkeypatch.context() as broken:
        broken.setattr("jobs.publishing.publish.judge", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish(tonight, store)
    with closing(open_store(f"lmdb://{tmp_path}/other")) as other:
        assert publish(tonight, store).manifest.hash == publish(tonight, other).manifest.hash


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"item_id": "ghost"}, "shopper_lists names item 'ghost', which features/item does not have"),
        ({"list": "wishes"}, "has a list 'wishes'; serving.snapshot knows buy_again, recently_viewed"),
    ],
)
def test_an_item_or_a_list_that_nobody_knows_makes_no_snapshot(
    store: Store, columns: dict[str, str], said: str
) -> None:
    with pytest.raises(PublishError, match=said):
        publish(with_rows(night(D1, lists=True), **columns), store)
    assert store.pointer().live is None


@pytest.mark.parametrize("name", ["shelves.parquet", "shelves.jsonl"])
def test_an_export_has_each_list_as_a_variant_and_leaves_erased_users_out(
    store: Store, tmp_path: Path, name: str
) -> None:
    tonight = night(D1, lists=True)
    publish(tonight, store)
    tombstones = Tombstones()
    tombstones.take([tombstone_line("user-1", 1.8e9)])
    assert export(store, tmp_path / name, tombstones) == 59
    if name.endswith("parquet"):
        rows = pq.read_table(tmp_path / name).to_pylist()
    else:
        lines = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        rows = [line | {"rank": rank, **item} for line in lines for rank, item in enumerate(line["items"], 1)]
    key = ("variant", "user_id", "rank", "item_id")
    found = {tuple(row[column] for column in key) for row in rows if row["variant"] in LISTS}
    wanted = {(row["list"], *(row[column] for column in key[1:])) for row in rows_of(tonight)}
    assert found == {row for row in wanted if row[1] != "user-1"}
    assert len([row for row in rows if row["variant"] == "base"]) == 59 * 20


@pytest.fixture
def owner(store: Store) -> Iterator[str]:
    """A shopper with both lists in the live snapshot."""
    tonight = night(D1, lists=True)
    publish(tonight, store)
    lists: dict[str, set[str]] = {}
    for row in rows_of(tonight):
        lists.setdefault(row["user_id"], set()).add(row["list"])
    yield next(user for user, of in lists.items() if len(of) == 2)


def test_show_prints_a_shelf_and_each_list(
    store: Store, owner: str, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = ["show", owner, "--store", store.url, "--landing", str(landing)]
    told = CliRunner().invoke(app, words).output
    assert f"{owner}, {version(D1)}: 20 items" in told
    assert f"{owner}, to buy again: " in told
    assert f"{owner}, recently viewed: " in told
    assert "Buy again" in told


def test_the_client_ranks_each_list_from_one_and_gives_none_of_an_erased_user(
    store: Store, owner: str, landing: Path
) -> None:
    with open_snapshot(store.url, landing=landing) as snapshot:
        lists = lists_of(snapshot, owner)
        assert list(lists) == list(LISTS)
        assert all([row.rank for row in of] == [*range(1, len(of) + 1)] for of in lists.values())
        assert all(lists.values())
        assert lists_of(snapshot, "stranger") == {name: [] for name in LISTS}
    (landing / "tombstones").mkdir()
    (landing / "tombstones" / "host.jsonl").write_bytes(tombstone_line(owner, 1.8e9))
    with open_snapshot(store.url, landing=landing) as snapshot:
        assert lists_of(snapshot, owner) == {name: [] for name in LISTS}
        assert [len(of[0]) for of in snapshot.own_lists(owner)] == [0, 0]
    words = ["show", owner, "--store", store.url, "--landing", str(landing)]
    assert "holds no shelf of" in str(CliRunner().invoke(app, words).exception)
