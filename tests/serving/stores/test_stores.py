"""What every store must do. A new store is added to conftest.py and passes all of this, or is not done."""

import threading
from collections.abc import Callable, Iterator

import pytest

from serving.snapshot import pointer as steps
from serving.snapshot.blobs import pack_json, unpack_json
from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import BusyVersionError, ShardReport, SnapshotManifest, StoreError, UnknownVersionError
from serving.snapshot.pointer import Pointer
from serving.snapshot.record import record_key, shard_of
from serving.stores.protocols import Loading, Store

OpenStore = Callable[[], Store]
N_SHARDS = 3


def records_of(version: str, users: int = 50) -> dict[bytes, bytes]:
    """Keys and records whose bytes say whose and of which version they are."""
    names = [f"user-{n}" for n in range(users)] + ["ü ñ'\"\n", "x" * 256]
    keys = [record_key(name) for name in names] + [record_key("user-1", "arm-b")]
    return {key: b"\1" + key + version.encode() * 3 for key in keys}


def batches(records: dict[bytes, bytes], shard: int, size: int = 7) -> Iterator[tuple[list[bytes], list[bytes]]]:
    owners = sorted(key for key in records if shard_of(key.partition(b"\xff")[0], N_SHARDS) == shard)
    for first in range(0, len(owners), size):
        keys = owners[first : first + size]
        yield keys, [records[key] for key in keys]


def manifest_for(version: str, shards: list[ShardReport], blobs: dict[str, str], day: str = "") -> SnapshotManifest:
    return SnapshotManifest(
        version=version, day=day or version[:10], run_id=version[11:], users=sum(s.records for s in shards),
        items=1, top_n=1, n_shards=N_SHARDS, shards=shards, blobs=blobs,
    )  # fmt: skip


def load(loading: Loading, version: str, records: dict[bytes, bytes] | None = None) -> SnapshotManifest:
    records = records_of(version) if records is None else records
    shards = [loading.write_shard(shard, batches(records, shard)) for shard in range(N_SHARDS)]
    blobs = {"hello": loading.write_blob("hello", pack_json({"version": version}))}
    return manifest_for(version, shards, blobs)


def publish(store: Store, version: str) -> SnapshotManifest:
    with store.begin(version, N_SHARDS) as loading:
        manifest = load(loading, version)
        loading.seal(manifest)
    return manifest


V1, V2, V3 = "2026-01-01-aaaaaaaaaaaa", "2026-01-02-bbbbbbbbbbbb", "2026-01-03-cccccccccccc"


def test_a_fresh_store_holds_nothing_and_points_nowhere(open_any: OpenStore) -> None:
    store = open_any()
    assert store.versions() == []
    assert store.unfinished() == []
    assert store.pointer() == Pointer()


def test_every_record_of_a_sealed_version_is_read_back(open_any: OpenStore) -> None:
    manifest = publish(open_any(), V1)
    store = open_any()
    assert store.versions() == [manifest]
    stored = store.open(V1)
    assert stored.manifest == manifest
    for key, record in records_of(V1).items():
        assert stored.get(key) == record
    stored.close()


@pytest.mark.parametrize("key", [b"nobody", b"", b"u" * 600, record_key("user-2", "arm-b"), b"\xff\xfe"])
def test_a_user_without_a_record_is_none_and_no_error(open_any: OpenStore, key: bytes) -> None:
    store = open_any()
    publish(store, V1)
    assert store.open(V1).get(key) is None


def test_scanning_the_shards_gives_every_key_once_ascending_and_the_manifests_digest(open_any: OpenStore) -> None:
    store = open_any()
    manifest = publish(store, V1)
    stored = store.open(V1)
    found: dict[bytes, bytes] = {}
    for shard, report in enumerate(manifest.shards):
        pairs = list(stored.scan(shard))
        assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
        digest = RecordDigest()
        digest.update([key for key, _ in pairs], [record for _, record in pairs])
        assert (digest.hexdigest(), digest.count, digest.bytes) == (report.sha256, report.records, report.bytes)
        found.update(pairs)
    assert found == records_of(V1)


def test_a_blob_is_read_back_and_a_missing_one_is_an_error_that_names_it(open_any: OpenStore) -> None:
    store = open_any()
    publish(store, V1)
    stored = store.open(V1)
    assert unpack_json(stored.blob("hello"), dict[str, str]) == {"version": V1}
    with pytest.raises(StoreError, match="nothere"):
        stored.blob("nothere")


def test_a_large_blob_is_read_back_whole(open_any: OpenStore) -> None:
    store = open_any()
    data = bytes(range(256)) * 40_000  # 10 MB: more than any store takes in one value
    with store.begin(V1, N_SHARDS) as loading:
        digest = loading.write_blob("large", data)
        shards = [loading.write_shard(shard, []) for shard in range(N_SHARDS)]
        loading.seal(manifest_for(V1, shards, {"large": digest}))
    assert bytes(open_any().open(V1).blob("large")) == data


def test_an_unsealed_version_cannot_be_opened_and_is_listed_as_unfinished(open_any: OpenStore) -> None:
    store = open_any()
    with store.begin(V1, N_SHARDS) as loading:
        load(loading, V1)
        assert store.unfinished() == []  # its loader is alive
    with pytest.raises(UnknownVersionError, match=V1):
        store.open(V1)
    assert store.versions() == []
    assert store.unfinished() == [V1]


def test_a_version_that_is_held_cannot_be_begun_by_another(open_any: OpenStore) -> None:
    with open_any().begin(V1, N_SHARDS), pytest.raises(BusyVersionError, match=V1):
        open_any().begin(V1, N_SHARDS)
    with open_any().begin(V1, N_SHARDS) as loading:
        assert not loading.sealed


def test_others_load_shards_of_a_version_that_one_holds(open_any: OpenStore) -> None:
    with open_any().begin(V1, N_SHARDS) as loading:
        blobs = {"hello": loading.write_blob("hello", pack_json({}))}
        reports = [
            open_any().join(V1, N_SHARDS).write_shard(shard, batches(records_of(V1), shard)) for shard in (2, 0, 1)
        ]
        loading.seal(manifest_for(V1, [reports[1], reports[2], reports[0]], blobs))
    stored = open_any().open(V1)
    assert {key: value for shard in range(N_SHARDS) for key, value in stored.scan(shard)} == records_of(V1)


def test_a_version_that_nobody_holds_cannot_be_joined(open_any: OpenStore) -> None:
    with pytest.raises(StoreError, match="no process holds"):
        open_any().join(V1, N_SHARDS)
    with open_any().begin(V1, N_SHARDS) as loading:
        loading.write_shard(0, [])
        joined = open_any().join(V1, N_SHARDS)
        assert set(joined.finished) == {0}
    with pytest.raises(StoreError, match="no process holds"):
        open_any().join(V1, N_SHARDS)
    assert open_any().unfinished() == [V1]


def test_loading_goes_on_with_the_shards_that_an_earlier_attempt_finished(open_any: OpenStore) -> None:
    with open_any().begin(V1, N_SHARDS) as loading:
        first = loading.write_shard(0, batches(records_of(V1), 0))
    with open_any().begin(V1, N_SHARDS) as loading:
        assert dict(loading.finished) == {0: first}
        rest = [loading.write_shard(shard, batches(records_of(V1), shard)) for shard in (1, 2)]
        loading.seal(manifest_for(V1, [first, *rest], {}))
    stored = open_any().open(V1)
    assert all(stored.get(key) == record for key, record in records_of(V1).items())


def test_a_shard_that_died_half_way_does_not_count_as_finished_and_leaves_no_stale_record(
    open_any: OpenStore,
) -> None:
    def dying() -> Iterator[tuple[list[bytes], list[bytes]]]:
        yield next(batches(dict.fromkeys(records_of(V1), b"stale"), 0, size=3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_any().begin(V1, N_SHARDS) as loading:
        loading.write_shard(0, dying())
    few = dict(list(records_of(V1).items())[-8:])
    with open_any().begin(V1, N_SHARDS) as loading:
        assert loading.finished == {}
        manifest = load(loading, V1, few)
        loading.seal(manifest)
    stored = open_any().open(V1)
    assert {key: value for shard in range(N_SHARDS) for key, value in stored.scan(shard)} == few
    assert all(stored.get(key) == few.get(key) for key in records_of(V1))


def test_keys_that_do_not_ascend_are_refused(open_any: OpenStore) -> None:
    (first, *_) = batches(records_of(V1), 0)
    with open_any().begin(V1, N_SHARDS) as loading, pytest.raises(StoreError, match="sort"):
        loading.write_shard(0, [first, first])


def test_a_sealed_version_refuses_every_write(open_any: OpenStore) -> None:
    store = open_any()
    manifest = publish(store, V1)
    with store.begin(V1, N_SHARDS) as held:
        assert held.sealed
        for write in (
            lambda: held.write_shard(0, []),
            lambda: held.write_blob("hello", b"x"),
            lambda: held.seal(manifest),
        ):
            with pytest.raises(StoreError, match="sealed"):
                write()
    assert all(store.open(V1).get(key) == record for key, record in records_of(V1).items())


def test_versions_stand_beside_each_other_and_are_listed_by_day(open_any: OpenStore) -> None:
    store = open_any()
    for version in (V2, V1):
        publish(store, version)
    assert [m.version for m in store.versions()] == [V1, V2]
    one, two = store.open(V1), store.open(V2)
    key = record_key("user-1")
    assert (one.get(key), two.get(key)) == (records_of(V1)[key], records_of(V2)[key])


def test_a_deleted_version_is_gone_and_the_others_stay(open_any: OpenStore) -> None:
    store = open_any()
    publish(store, V1)
    publish(store, V2)
    with store.begin(V1, N_SHARDS):
        store.delete(V1)
    store.delete("2026-01-09-never")
    assert [m.version for m in store.versions()] == [V2]
    assert store.unfinished() == []
    with pytest.raises(UnknownVersionError):
        open_any().open(V1)
    assert all(open_any().open(V2).get(key) == record for key, record in records_of(V2).items())


def test_a_deleted_version_can_be_published_again(open_any: OpenStore) -> None:
    store = open_any()
    publish(store, V1)
    with store.begin(V1, N_SHARDS):
        store.delete(V1)
    publish(store, V1)
    assert open_any().open(V1).get(record_key("user-3")) == records_of(V1)[record_key("user-3")]


def test_an_unfinished_version_is_removed_whole(open_any: OpenStore) -> None:
    store = open_any()
    with store.begin(V1, N_SHARDS) as loading:
        load(loading, V1)
    with store.begin(V1, N_SHARDS):
        store.delete(V1)
    assert store.unfinished() == []
    with store.begin(V1, N_SHARDS) as loading:
        assert loading.finished == {}


def test_the_pointer_moves_by_compare_and_set(open_any: OpenStore) -> None:
    store, other = open_any(), open_any()
    old = store.pointer()
    first = steps.promoted(old, V1, "2026-01-01")
    assert store.swap_pointer(old, first)
    assert other.pointer() == first
    assert not other.swap_pointer(old, steps.promoted(old, V2, "2026-01-02"))
    assert store.pointer() == first
    second = steps.promoted(first, V2, "2026-01-02")
    assert other.swap_pointer(first, second)
    assert store.pointer() == second


def test_of_many_writers_at_once_none_loses_its_step(open_any: OpenStore) -> None:
    def note(number: int) -> None:
        store = open_any()
        for step in range(5):
            steps.move(
                store, lambda old, name=f"2026-01-01-{number}-{step}": steps.published(old, name), attempts=500
            )

    threads = [threading.Thread(target=note, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pointer = open_any().pointer()
    assert pointer.seq == 30
    assert len(set(pointer.published)) == 30


def test_an_open_version_is_read_by_many_threads(open_any: OpenStore) -> None:
    publish(open_any(), V1)
    stored, wrong = open_any().open(V1), list[bytes]()

    def read() -> None:
        wrong.extend(key for key, record in records_of(V1).items() if stored.get(key) != record)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("version", ["", "../x", "a/b", ".hidden", "a b", "x" * 200, "v\n"])
def test_a_name_that_is_no_version_is_refused(open_any: OpenStore, version: str) -> None:
    with pytest.raises(StoreError):
        open_any().begin(version, 1)
