"""Swaps, rollbacks and dying publishers, on every store."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta

import pytest

from jobs import snapshot_versions as versions
from jobs.publish import publish
from serving.record import record_key
from serving.stores import Store, open_store
from serving.stores.dynamodb import DynamoDbKeyValues
from serving.stores.key_values import KeyValueStore, _base36
from serving.stores.lmdb import LmdbStore
from serving.stores.redis import RedisKeyValues
from tests.serving.publisher import Publishers, whole
from tests.serving.small_shop import night

D1, D2 = "2026-01-01", "2026-01-02"


def version(day: str, seed: int = 0) -> str:
    return night(day, seed=seed).version


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_publisher_killed_at_50_random_points_harms_nothing_and_the_next_run_finishes(store_url: str) -> None:
    chance = random.Random(20260101)
    days = [str(date(2026, 1, 1) + timedelta(days=number)) for number in range(60)]
    with Publishers() as publishers, closing(open_store(store_url)) as store:
        began = time.monotonic()
        publishers.start(store_url, D1)
        assert publishers.wait() == 0
        takes_s = time.monotonic() - began
        if isinstance(store, KeyValueStore):
            takes_s += 1 + store.lease_s  # the hold of one that was killed runs out first
        for _ in range(50):
            live = str(store.pointer().live)
            tonight = days[days.index(live[:10]) + 1]
            publisher = publishers.start(store_url, tonight)
            time.sleep(chance.uniform(0, takes_s))
            assert publishers.kill(publisher) in {0, -signal.SIGKILL}
            now = str(store.pointer().live)
            assert now in {live, version(tonight)}  # the old night or the new one
            assert whole(store, now)
        tonight = days[days.index(str(store.pointer().live)[:10]) + 1]
        publishers.start(store_url, tonight)
        assert publishers.wait() == 0
        assert store.pointer().live == version(tonight)
        assert whole(store, version(tonight))
        assert store.unfinished() == []
        assert len(store.versions()) == 2
        assert left_over(store) == []


def left_over(store: Store) -> list[str]:
    """What a store holds that belongs to no version of it."""
    if isinstance(store, LmdbStore):
        return [str(path) for path in (store.folder / "loading").iterdir()]
    assert isinstance(store, KeyValueStore)
    known = {store.key(b"pointer"), store.key(b"versions")}
    numbers = {store.key(_base36(entry.number), b"") for entry in store.entries().of.values()}
    prefix = store.key(b"")
    keys = list(all_keys(store, prefix))
    return [repr(key) for key in keys if key not in known and not any(key.startswith(number) for number in numbers)]


def all_keys(store: KeyValueStore, prefix: bytes) -> Iterator[bytes]:
    """Every key of a namespace that does not run out by itself."""
    driver = store.driver
    if isinstance(driver, RedisKeyValues):
        with driver._client() as client:
            for key in client.scan_iter(match=prefix + b"*", count=10_000):
                if client.ttl(key) == -1:
                    yield key
    else:
        assert isinstance(driver, DynamoDbKeyValues)
        with driver._client() as client:
            for page in client.get_paginator("scan").paginate(TableName="topshelf", ProjectionExpression="k"):
                yield from (
                    bytes(item["k"]["B"]) for item in page["Items"] if bytes(item["k"]["B"]).startswith(prefix)
                )


def test_retention_leaves_nothing_of_a_version_that_it_removes(store_url: str) -> None:
    with closing(open_store(store_url)) as store:
        for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
            publish(night(day), store)
        assert [m.day for m in store.versions()] == ["2026-01-02", "2026-01-03"]
        assert left_over(store) == []


@pytest.mark.parametrize("order", [(2, 1, 3), (3, 2, 1)])
def test_of_publishers_racing_the_latest_day_is_live_at_the_end(store_url: str, order: tuple[int, ...]) -> None:
    errors: list[BaseException] = []

    def run(day: str) -> None:
        try:
            with closing(open_store(store_url)) as mine:
                publish(night(day), mine)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f"2026-01-0{day}",)) for day in order]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with closing(open_store(store_url)) as store:
        assert store.pointer().live == version("2026-01-03")
        assert whole(store, version("2026-01-03"))


def test_200_swaps_and_rollbacks_under_load_fail_no_lookup_and_mix_no_versions(store_url: str) -> None:
    store = open_store(store_url)
    publish(night(D1, seed=1), store)
    publish(night(D2, seed=2), store)
    names = [version(D1, 1), version(D2, 2)]
    expected = {name: store.open(name).get(record_key("user-1")) for name in names}
    stop, failures, looked = threading.Event(), [], [0]

    def look_up() -> None:
        with closing(open_store(store_url)) as mine:
            while not stop.is_set():
                live = str(mine.pointer().live)
                with closing(mine.open(live)) as stored:
                    if stored.manifest.version != live or stored.get(record_key("user-1")) != expected[live]:
                        failures.append(live)
                looked[0] += 1

    readers = [threading.Thread(target=look_up) for _ in range(3)]
    for reader in readers:
        reader.start()
    longest_s = 0.0
    for _ in range(100):
        began = time.monotonic()
        versions.rollback(store)
        versions.promote(store, names[1])
        longest_s = max(longest_s, time.monotonic() - began)
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    store.close()
    assert looked[0] > 100
    assert longest_s < 1
