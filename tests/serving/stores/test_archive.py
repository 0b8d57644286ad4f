"""The archive on a real S3 server: what goes up comes down, into any store, whole or not at all."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from typer.testing import CliRunner as TyperRunner

from jobs.cli import app
from jobs.publishing import versions
from jobs.publishing.gates import GateLimits
from jobs.publishing.publish import publish
from serving.client import read_shelf
from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import SnapshotManifest, StoreError, UnknownVersionError
from serving.snapshot.pointer import Pointer
from serving.snapshot.record_stream import pack_stream, unpack_stream
from serving.stores import open_store
from serving.stores.archive import Archive
from serving.stores.mirror import main as mirror_command
from serving.stores.mirror import mirror
from serving.stores.protocols import Store
from tests.serving import servers
from tests.serving.publisher import whole
from tests.serving.small_shop import night

OpenStore = Callable[[], Store]
D1, D2, D3 = "2026-01-01", "2026-01-02", "2026-01-03"


@pytest.fixture
def archive(archive_url: str) -> Iterator[Archive]:
    with closing(Archive(archive_url)) as opened:
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"lmdb://{tmp_path}/own")) as opened:
        yield opened


def version(day: str) -> str:
    return night(day).version


def contents(store: Store, of: str) -> tuple[SnapshotManifest, list[dict[bytes, bytes]], dict[str, bytes]]:
    with closing(store.open(of)) as stored:
        manifest = stored.manifest
        records = [dict(stored.scan(shard)) for shard in range(manifest.n_shards)]
        return manifest, records, {name: bytes(stored.blob(name)) for name in manifest.blobs}


def test_a_version_of_any_store_is_restored_into_any_other_bit_for_bit(
    open_any: OpenStore, store: Store, archive: Archive
) -> None:
    publish(night(D1), open_any(), archive=archive)
    archive.restore(version(D1), store)
    assert contents(store, version(D1)) == contents(open_any(), version(D1))
    publish(night(D2), store, archive=archive)
    archive.restore(version(D2), open_any())
    assert contents(open_any(), version(D2)) == contents(store, version(D2))
    assert open_any().pointer().live == version(D1)  # a restored version is there, and waits for a person
    versions.promote(open_any(), version(D2))
    assert [m.version for m in archive.versions()] == [version(D1), version(D2)]


def test_a_shard_of_many_parts_is_archived_and_restored(
    store: Store, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.stores.archive.PART_BYTES", 5 << 20)  # the least that S3 takes
    many = Archive(f"{archive.url}?endpoint={archive.endpoint}")
    records = {b"%06d" % number: bytes([number % 251]) * 4_000 for number in range(4_000)}
    with store.begin(version(D1), 1) as loading:
        report = loading.write_shard(0, [(list(records), list(records.values()))])
        loading.seal(
            SnapshotManifest(
                version=version(D1), day=D1, run_id="r", users=4_000, items=0, top_n=0, n_shards=1, shards=[report]
            )
        )
    with closing(store.open(version(D1))) as stored:
        assert many.put(stored) > 16_000_000
        assert many.put(stored) == 0
    with closing(open_store(f"lmdb://{tmp_path}/other")) as other:
        many.restore(version(D1), other)
        assert dict(other.open(version(D1)).scan(0)) == records


def test_every_published_snapshot_is_archived_even_one_that_its_gates_hold_back(
    store: Store, archive: Archive
) -> None:
    publish(night(D1), store, archive=archive)
    held_back = publish(night(D2, n_users=20), store, archive=archive)
    assert not held_back.live
    publish(night("2025-12-31"), store, archive=archive)  # a backfill of an old day
    assert len(archive.versions()) == 3
    assert archive.pointer() == store.pointer()
    publish(night(D2, n_users=20), store, force="a shop was sold", archive=archive)
    assert archive.manifest(version(D2)).forced == "a shop was sold"
    assert archive.pointer().live == version(D2)


def test_another_snapshot_under_the_same_name_is_refused(store: Store, archive: Archive, tmp_path: Path) -> None:
    publish(night(D1, run_id="x" * 12), store, archive=archive)
    with closing(open_store(f"lmdb://{tmp_path}/other")) as other, pytest.raises(StoreError, match="of its own"):
        publish(night(D1, seed=3, run_id="x" * 12), other, archive=archive)


def test_an_archive_that_is_away_is_told_and_the_next_run_brings_it_up(store: Store, tmp_path: Path) -> None:
    with servers.s3_server(tmp_path) as (port, _):
        pass
    url = f"s3://topshelf/shop?endpoint=http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as environment:
        for name, value in servers.S3_KEYS.items():
            environment.setenv(name, value)
        with closing(Archive(url)) as archive, pytest.raises(StoreError, match="run it again"):
            publish(night(D1), store, archive=archive)
        assert store.pointer().live == version(D1)  # shoppers do not wait for the archive
        with servers.s3_server(tmp_path, port=port), closing(Archive(url)) as archive:
            publish(night(D1), store, archive=archive)
            assert [m.version for m in archive.versions()] == [version(D1)]


@pytest.mark.parametrize("harm", ["altered", "cut"])
@pytest.mark.parametrize("part", ["shards/00001.records", "blobs/price_minor.npy"])
def test_what_was_harmed_in_the_archive_is_not_restored(
    store: Store, archive: Archive, tmp_path: Path, harm: str, part: str
) -> None:
    publish(night(D1), store, archive=archive)
    key = archive.key("versions", version(D1), part)
    data, etag = archive.read(key) or (b"", "")
    spoiled = data[: len(data) - 40] if harm == "cut" else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    assert archive.write_if(key, spoiled, etag)
    with closing(open_store(f"lmdb://{tmp_path}/other")) as other:
        with pytest.raises(StoreError, match=r"altered|cut"):
            archive.restore(version(D1), other)
        assert other.versions() == []


def test_a_restore_continues_with_the_missing_shards(
    store: Store, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(night(D1), store, archive=archive)
    read: list[int] = []
    read_shard = Archive.read_shard

    def flaky(self: Archive, version: str, shard: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        read.append(shard)
        if shard == 2 and read.count(2) == 1:
            raise StoreError("the network was cut")
        return read_shard(self, version, shard)

    monkeypatch.setattr(Archive, "read_shard", flaky)
    with closing(open_store(f"lmdb://{tmp_path}/other")) as other:
        with pytest.raises(StoreError, match="cut"):
            archive.restore(version(D1), other)
        archive.restore(version(D1), other)
        assert sorted(read) == [0, 1, 2, 2]
        assert whole(other, version(D1))


def test_uploads_of_a_dead_process_are_swept_away(store: Store, archive: Archive) -> None:
    publish(night(D1), store)
    key = archive.key("versions", version(D1), "shards", "00000.records")
    with archive.client() as client:
        client.create_multipart_upload(Bucket=archive.bucket, Key=key)
        with closing(store.open(version(D1))) as stored:
            archive.put(stored)
        assert "Uploads" not in client.list_multipart_uploads(Bucket=archive.bucket, Prefix=archive.key(""))


def test_the_pointer_never_goes_back_to_an_earlier_step(archive: Archive) -> None:
    pointers = [Pointer(seq=seq, live=f"v{seq}") for seq in range(1, 25)]
    threads = [
        threading.Thread(target=lambda of: [archive.follow(p) for p in of], args=(pointers[start::4],))
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert archive.pointer() == pointers[-1]
    archive.follow(pointers[3])
    assert archive.pointer() == pointers[-1]


def test_a_host_without_a_store_starts_from_the_archive_and_follows_it(
    store: Store, archive: Archive, tmp_path: Path
) -> None:
    publish(night(D1), store, archive=archive)
    with closing(open_store(f"lmdb://{tmp_path}/host")) as host:
        assert mirror(archive, host).live == version(D1)
        publish(night(D2), store, archive=archive)
        mirror(archive, host)
        assert host.pointer() == store.pointer()
        versions.rollback(store)
        archive.follow(store.pointer())
        assert mirror(archive, host).live == version(D1)
        publish(night(D3), store, archive=archive)
        mirror(archive, host)
        assert {m.version for m in host.versions()} == {version(D3), version(D1)}  # live, and the one before
        assert whole(host, version(D3))


def test_a_host_keeps_serving_while_the_archive_is_away_and_says_so(
    store: Store, archive_url: str, tmp_path: Path
) -> None:
    with closing(Archive(archive_url)) as archive:
        publish(night(D1), store, archive=archive)
    host = f"lmdb://{tmp_path}/host"
    done = CliRunner().invoke(mirror_command, ["--archive", archive_url, "--store", host])
    assert (done.exit_code, done.output) == (0, f"{version(D1)} is live in {host}\n")
    gone = f"s3://topshelf/shop?endpoint=http://127.0.0.1:{servers.free_port()}"
    done = CliRunner().invoke(mirror_command, ["--archive", gone, "--store", host])
    assert done.exit_code == 1
    assert "failed" in done.output
    assert len(read_shelf(host, "user-1", landing=tmp_path)) == 20


def test_an_archive_without_the_version_or_without_any_says_what_to_do(archive: Archive, store: Store) -> None:
    with pytest.raises(UnknownVersionError, match="--list"):
        archive.restore("2026-01-01-nothere", store)
    with pytest.raises(StoreError, match="TOPSHELF_ARCHIVE"):
        mirror(archive, store)
    with pytest.raises(StoreError, match="s3://BUCKET"):
        Archive("http://bucket")


def test_a_stream_of_records_is_read_as_it_was_written_in_chunks(tmp_path: Path) -> None:
    pairs = [(b"%05d" % number, b"r" * (number % 900)) for number in range(12_000)]
    wrote, read = RecordDigest(), RecordDigest()
    (tmp_path / "stream").write_bytes(b"".join(pack_stream(pairs, wrote)))
    with (tmp_path / "stream").open("rb") as file:
        for keys, records in unpack_stream(file, "the stream"):
            read.update(keys, records)
    assert (read.count, read.hexdigest()) == (12_000, wrote.hexdigest())


def test_gates_compare_with_a_version_that_was_restored(store: Store, archive: Archive, tmp_path: Path) -> None:
    publish(night(D1), store, archive=archive)
    with closing(open_store(f"lmdb://{tmp_path}/host")) as host:
        mirror(archive, host)
        done = publish(night(D2, n_users=30), host, limits=GateLimits(max_users_fall=0.1))
        assert "users" in done.reason
        assert host.pointer().live == version(D1)


def test_the_commands_archive_list_and_restore_and_hand_a_rollback_on(
    store: Store, archive_url: str, tmp_path: Path
) -> None:
    for day in (D1, D2):
        publish(night(day), store)

    def topshelf(*words: str) -> str:
        done = TyperRunner().invoke(app, [*words, "--archive", archive_url], env={"TOPSHELF_STORE": store.url})
        assert done.exception is None
        return done.output

    assert f"{version(D2)} is in s3://topshelf/" in topshelf("archive")
    assert version(D1) in topshelf("archive", version(D1))
    assert version(D1) in topshelf("archive", "--list")
    other = f"lmdb://{tmp_path}/other"
    assert f"topshelf promote {version(D2)}" in topshelf("restore", version(D2), "--store", other)
    with closing(open_store(other)) as restored:
        assert whole(restored, version(D2))
    topshelf("rollback")
    with closing(Archive(archive_url)) as archive:
        assert archive.pointer().live == version(D1)
