"""Outages in the middle of loading: a clear end, nothing lost, and the next run goes on."""

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis

from jobs.publishing.night_contents import NightContents
from jobs.publishing.publish import publish
from serving.snapshot.manifest import StoreError
from serving.stores import open_store
from serving.stores.archive import Archive
from serving.stores.protocols import Store
from tests.serving import servers
from tests.serving.faults import Throttle, Wire
from tests.serving.publisher import whole
from tests.serving.small_shop import night

D1, D2 = "2026-01-01", "2026-01-02"
KINDS = ("redis", "dynamodb")


def large(day: str) -> NightContents:
    return night(day, n_users=400, n_items=150, top_n=60, n_shards=5)


@dataclass
class Reached:
    """A store behind a wire, and the same one reached directly."""

    wire: Wire
    through: str
    direct: str


@pytest.fixture(params=KINDS)
def reached(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reached]:
    for name, value in servers.S3_KEYS.items():
        monkeypatch.setenv(name, value)
    port, namespace = request.getfixturevalue(f"{request.param}_port"), uuid.uuid4().hex[:8]
    with Wire(port) as wire:
        yield Reached(wire, *(url_of(request.param, at, namespace) for at in (wire.port, port)))


def url_of(kind: str, port: int, namespace: str) -> str:
    if kind == "redis":
        return f"redis://127.0.0.1:{port}?namespace={namespace}&lease=2&timeout=1"
    endpoint = f"http://127.0.0.1:{port}"
    return f"dynamodb://topshelf?region=local&endpoint={endpoint}&namespace={namespace}&lease=2&timeout=1"


def assert_intact(store: Store, live: str) -> None:
    assert store.pointer().live == live
    assert whole(store, live)


@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_a_network_cut_while_loading_ends_clearly_and_the_next_run_goes_on(reached: Reached, share: float) -> None:
    with closing(open_store(reached.direct)) as store:
        publish(night(D1), store)
        with closing(open_store(reached.through)) as far:
            publish(large("2025-12-31"), far)  # what a whole publish sends
            takes = reached.wire.sent
        store.delete(large("2025-12-31").version)
        reached.wire.fail_after(takes * share)
        with closing(open_store(reached.through)) as far, pytest.raises(StoreError, match="it continues"):
            publish(large(D2), far)
        assert_intact(store, night(D1).version)
        reached.wire.heal()
        before = reached.wire.sent
        with closing(open_store(reached.through)) as far:
            assert publish(large(D2), far).live
        assert whole(store, large(D2).version)
        assert store.unfinished() == []
        if share == 0.9:
            assert reached.wire.sent - before < 0.7 * takes  # the shards that were there were not sent again


def test_a_network_that_falls_silent_ends_the_run_within_its_timeouts(reached: Reached) -> None:
    with closing(open_store(reached.direct)) as store:
        publish(night(D1), store)
        reached.wire.fail_after(100_000, silently=True)
        with closing(open_store(reached.through)) as far, pytest.raises(StoreError, match="it continues"):
            publish(large(D2), far)
        assert_intact(store, night(D1).version)
        reached.wire.heal()
        with closing(open_store(reached.through)) as far:
            assert publish(large(D2), far).live
        assert whole(store, large(D2).version)


def test_a_redis_that_hangs_while_loading_is_told_and_goes_on_when_it_wakes(tmp_path: Path) -> None:
    with servers.redis_server(tmp_path) as (port, process):
        url = url_of("redis", port, "shop")
        with closing(open_store(url)) as store:
            publish(night(D1), store)
            stopped = threading.Event()

            def stop() -> None:
                stopped.wait(20)
                os.kill(process.pid, signal.SIGSTOP)

            stopper = threading.Thread(target=stop)
            stopper.start()
            with pytest.raises(StoreError, match="did not answer"), closing(open_store(url)) as far:
                publish(_announced(large(D2), stopped, stopper), far)
            os.kill(process.pid, signal.SIGCONT)
            assert_intact(store, night(D1).version)
            assert publish(large(D2), store).live
            assert whole(store, large(D2).version)


def _announced(tonight: NightContents, at_shard_3: threading.Event, then: threading.Thread) -> NightContents:
    """The night, which has something happen before its shard 3 is loaded."""
    shelves = tonight.shelves

    def announced(shard: int) -> object:
        if shard == 3:
            at_shard_3.set()
            then.join()
        return shelves(shard)

    return replace(tonight, shelves=announced)


def test_a_redis_that_dies_while_loading_comes_back_from_its_log_and_loading_goes_on(tmp_path: Path) -> None:
    lasting = ("--appendonly", "yes", "--appendfsync", "always")
    with servers.redis_server(tmp_path, *lasting) as (port, _):
        url = url_of("redis", port, "shop")
        with closing(open_store(url)) as store:
            publish(night(D1), store)
    ready = threading.Event()
    with servers.redis_server(tmp_path, *lasting, port=port) as (_, process):
        killer = threading.Thread(target=lambda: (ready.wait(20), process.kill(), process.wait()))
        killer.start()
        with closing(open_store(url)) as store, pytest.raises(StoreError, match="it continues"):
            publish(_announced(large(D2), ready, killer), store)
    with servers.redis_server(tmp_path, *lasting, port=port), closing(open_store(url)) as store:
        assert_intact(store, night(D1).version)
        with store.begin(large(D2).version, 5) as loading:
            assert set(loading.finished) == {0, 1, 2}
        assert publish(large(D2), store).live
        assert whole(store, large(D2).version)


def test_a_redis_that_is_full_says_so_and_goes_on_with_more_memory(tmp_path: Path) -> None:
    with servers.redis_server(tmp_path, "--maxmemory-policy", "noeviction") as (port, _):
        client = redis.Redis(port=port)
        with closing(open_store(url_of("redis", port, "shop"))) as store:
            publish(night(D1), store)
            used = client.info("memory")["used_memory"]
            client.config_set("maxmemory", used + 150_000)
            with pytest.raises(StoreError, match="raise maxmemory"):
                publish(large(D2), store)
            assert_intact(store, night(D1).version)
            client.config_set("maxmemory", 0)
            assert publish(large(D2), store).live
            assert whole(store, large(D2).version)
        client.close()


@pytest.fixture
def throttled(dynamodb_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Throttle, str]]:
    for name, value in servers.S3_KEYS.items():
        monkeypatch.setenv(name, value)
    throttle = Throttle(dynamodb_port, share=0.0)
    with throttle.listening() as port:
        yield throttle, url_of("dynamodb", port, uuid.uuid4().hex[:8])


def test_a_dynamodb_that_throttles_now_and_then_is_waited_for(throttled: tuple[Throttle, str]) -> None:
    throttle, url = throttled
    with closing(open_store(url)) as store:
        publish(night(D1), store)
        throttle.share = 0.3
        assert publish(large(D2), store).live
        throttle.share = 0.0
        assert throttle.in_part > 5
        assert whole(store, large(D2).version)


def test_a_dynamodb_that_throttles_everything_ends_the_run_and_the_next_goes_on(
    throttled: tuple[Throttle, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.stores.key_value.dynamodb._LONGEST_WAIT_S", 0.05)
    throttle, url = throttled
    with closing(open_store(url)) as store:
        publish(night(D1), store)
        slow_down = threading.Event()
        at_once = threading.Thread(target=lambda: (slow_down.wait(20), setattr(throttle, "share", 1.0)))
        at_once.start()
        with pytest.raises(StoreError, match="throttled"):
            publish(_announced(large(D2), slow_down, at_once), store)
        throttle.share = 0.0
        assert_intact(store, night(D1).version)
        assert publish(large(D2), store).live
        assert whole(store, large(D2).version)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_an_archive_cut_off_while_it_takes_a_snapshot_is_told_and_the_next_run_sends_the_rest(
    s3_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    for name, value in servers.S3_KEYS.items():
        monkeypatch.setenv(name, value)
    prefix = uuid.uuid4().hex[:8]
    with Wire(s3_port) as wire, closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        publish(large(D1), store)
        with closing(store.open(large(D1).version)) as stored:
            with closing(Archive(f"s3://topshelf/{prefix}a?endpoint=http://127.0.0.1:{wire.port}")) as archive:
                archive.put(stored)
                takes = wire.sent
            wire.fail_after(takes * share)
            with closing(Archive(f"s3://topshelf/{prefix}b?endpoint=http://127.0.0.1:{wire.port}")) as archive:
                with pytest.raises(StoreError, match="it continues"):
                    archive.put(stored)
                wire.heal()
                assert archive.versions() == []
                before = wire.sent
                archive.put(stored)
                assert [m.version for m in archive.versions()] == [large(D1).version]
                if share > 0.9:
                    assert wire.sent - before < 0.5 * takes
