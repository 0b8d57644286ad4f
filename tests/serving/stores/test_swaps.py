"""Swaps, rollbacks and dying publishers, on every store."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from jobs.publishing import versions
from jobs.publishing.publish import publish
from serving.shelf.snapshot import Snapshot
from serving.stores import open_store
from serving.stores.key_value.dynamodb import DynamoDbDriver
from serving.stores.key_value.layout import base36
from serving.stores.key_value.redis import RedisDriver
from serving.stores.key_value.store import KeyValueStore
from serving.stores.lmdb.store import LmdbStore
from serving.stores.protocols import Store
from tests.serving.publisher import Publishers, whole
from tests.serving.small_shop import night

D1, D2 = "2026-01-01", "2026-01-02"


def version(day: str, seed: int = 0) -> str:
    return night(day, seed=seed).version


KILLS, CHAINS = 50, 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_publisher_killed_at_50_random_points_harms_nothing_and_the_next_run_finishes(store_url: str) -> None:
    """Five stores side by side, ten kills each: most of the time goes into waiting for dead publishers' holds."""
    with Publishers() as publishers, ThreadPoolExecutor(CHAINS) as pool:
        chains = [
            pool.submit(kill_publishers, publishers, beside(store_url, chain), chain) for chain in range(CHAINS)
        ]
        assert sum(chain.result() for chain in chains) == KILLS


def beside(store_url: str, number: int) -> str:
    """The URL of another store of the same kind."""
    if "namespace=" in store_url:
        return store_url.replace("namespace=", f"namespace={number}")
    return f"{store_url}-{number}"


def kill_publishers(publishers: Publishers, url: str, chain: int) -> int:
    """Kill some at random points, each followed by the run of the next night that finishes nothing or all."""
    chance = random.Random(20260101 + chain)
    days = [str(date(2026, 1, 1) + timedelta(days=number)) for number in range(KILLS)]
    killed = 0
    with closing(open_store(url)) as store:
        began = time.monotonic()
        assert publishers.start(url, D1).wait() == 0
        takes_s = time.monotonic() - began
        if isinstance(store, KeyValueStore):
            takes_s += 1 + store.layout.lease_s  # the hold of one that was killed runs out first
        for _ in range(KILLS // CHAINS):
            live = str(store.pointer().live)
            tonight = days[days.index(live[:10]) + 1]
            publisher = publishers.start(url, tonight)
            time.sleep(chance.uniform(0, takes_s))
            assert publisher.kill() in {0, -signal.SIGKILL}
            killed += 1
            now = str(store.pointer().live)
            assert now in {live, version(tonight)}  # the old night or the new one
            assert whole(store, now)
        tonight = days[days.index(str(store.pointer().live)[:10]) + 1]
        assert publishers.start(url, tonight).wait() == 0
        assert store.pointer().live == version(tonight)
        assert whole(store, version(tonight))
        assert store.unfinished() == []
        assert len(store.versions()) == 2
        assert left_over(store) == []
    return killed


def left_over(store: Store) -> list[str]:
    """What a store holds that belongs to no version of it."""
    if isinstance(store, LmdbStore):
        return [str(path) for path in (store.folder / "loading").iterdir()]
    assert isinstance(store, KeyValueStore)
    layout = store.layout
    known = {layout.key(b"pointer"), layout.key(b"versions")}
    numbers = {layout.key(base36(entry.number), b"") for entry in layout.entries().by_version.values()}
    prefix = layout.key(b"")
    keys = list(all_keys(store, prefix))
    return [repr(key) for key in keys if key not in known and not any(key.startswith(number) for number in numbers)]


def all_keys(store: KeyValueStore, prefix: bytes) -> Iterator[bytes]:
    """Every key of a namespace that does not run out by itself."""
    driver = store.layout.driver
    if isinstance(driver, RedisDriver):
        with driver.client() as client:
            for key in client.scan_iter(match=prefix + b"*", count=10_000):
                if client.ttl(key) == -1:
                    yield key
    else:
        assert isinstance(driver, DynamoDbDriver)
        with driver.client() as client:
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


def test_the_versions_are_listed_while_one_comes_and_goes(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with closing(open_store(f"lmdb://{folder}")) as store:
        publish(night("2026-01-01"), store)
        publish(night("2026-01-02"), store)
        stop, swept = threading.Event(), folder / "versions" / version("2026-01-01")

        def come_and_go() -> None:
            while not stop.is_set():
                swept.rename(folder / "away")
                (folder / "away").rename(swept)

        mover = threading.Thread(target=come_and_go)
        mover.start()
        try:
            listed = [[manifest.version for manifest in store.versions()] for _ in range(3_000)]
        finally:
            stop.set()
            mover.join()
    assert {version("2026-01-02")} == {versions[-1] for versions in listed}


def test_a_backfill_beside_a_live_night_never_moves_the_pointer_back(store_url: str) -> None:
    seen: list[str] = []
    errors: list[BaseException] = []
    stop = threading.Event()

    def run(days: tuple[str, ...]) -> None:
        try:
            with closing(open_store(store_url)) as mine:
                for day in days:
                    publish(night(day), mine)
        except BaseException as error:
            errors.append(error)

    def watch() -> None:
        with closing(open_store(store_url)) as mine:
            while not stop.is_set():
                seen.append(str(mine.pointer().live or "")[:10])

    watcher = threading.Thread(target=watch)
    nights = ("2026-01-05", "2026-01-06", "2026-01-07")
    writers = [
        threading.Thread(target=run, args=(days,)) for days in (nights, ("2026-01-02", "2026-01-03", "2026-01-04"))
    ]
    for thread in (watcher, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    watcher.join()
    assert errors == []
    assert seen == sorted(seen)
    with closing(open_store(store_url)) as store:
        assert store.pointer().live == version(nights[-1])


class Reader:
    """A thread that looks shelves up all the time, as an endpoint does: it follows the pointer to what is live.

    A look-up takes a shelf's positions from a record and the ids they stand for from the catalogue: of two versions
    mixed, no list of ids comes out right.
    """

    def __init__(self, url: str, expected: dict[str, dict[str, list[str]]]) -> None:
        self._url, self._expected = url, expected
        self.on, self.look_ups, self.wrong = "", 0, list[str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with closing(open_store(self._url)) as store:
                snapshot = None
                while not self._stop.is_set():
                    live = str(store.pointer().live)
                    if snapshot is None or snapshot.version != live:
                        before, snapshot = snapshot, Snapshot(store.open(live))
                        if before is not None:
                            before.close()
                    self._look_up(snapshot)
                    self.on = live
        except BaseException as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def _look_up(self, snapshot: Snapshot) -> None:
        for user, ids in self._expected[snapshot.version].items():
            shelf = snapshot.shelf(user)
            found = [] if shelf is None else [snapshot.item_id(position) for position in shelf.positions.tolist()]
            if found != ids:
                self.wrong.append(f"{user} in {snapshot.version}: {found}")
            self.look_ups += 1


def test_200_swaps_and_rollbacks_under_load_fail_no_lookup_and_mix_no_versions(store_url: str) -> None:
    with closing(open_store(store_url)) as store:
        old, new = night(D1, seed=1, n_items=100), night(D2, seed=2, n_items=120)
        expected = {}
        for tonight in (old, new):
            publish(tonight, store)
            rows = [row for shard in range(3) for row in tonight.shelves(shard).to_pylist()]
            expected[tonight.version] = {
                user: [row["item_id"] for row in rows if row["user_id"] == user] for user in ("user-1", "user-25")
            }
        readers = [Reader(store_url, expected) for _ in range(3)]
        for _ in range(100 if store_url.startswith(("lmdb:", "redis:")) else 10):
            for swap in (versions.rollback, lambda of: versions.promote(of, new.version)):
                live = swap(store).live
                deadline = time.monotonic() + 60
                while any(reader.on != live and not reader.wrong for reader in readers):
                    assert time.monotonic() < deadline, "a reader did not follow"
                    time.sleep(0.001)
        for reader in readers:
            reader.stop()
        assert [wrong for reader in readers for wrong in reader.wrong] == []
        assert min(reader.look_ups for reader in readers) > 40


def test_the_lock_of_a_loader_that_died_when_its_version_was_whole_is_removed_and_a_held_one_is_not(
    tmp_path: Path,
) -> None:
    with closing(LmdbStore(f"lmdb://{tmp_path}")) as store, store.begin(version(D1), 1):
        spare = tmp_path / "loading" / f"{version(D2)}.lock"
        spare.touch()
        assert store.unfinished() == []
        assert [path.name for path in (tmp_path / "loading").glob("*.lock")] == [f"{version(D1)}.lock"]
