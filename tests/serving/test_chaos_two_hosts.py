"""Faults on one of two hosts that share a Redis, while shoppers ask both. Run with -s to print the table of docs."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from jobs.publishing.publish import publish
from serving.snapshot import pointer
from serving.stores import open_store
from tests.serving.asking import answers_during, report
from tests.serving.attacks import open_idle, send_bombs, stepped_clock
from tests.serving.disks import ROOMY_MB, fill, small_disk
from tests.serving.running import SOON_S, Server, serving, within
from tests.serving.servers import redis_server
from tests.serving.small_shop import night

pytestmark = pytest.mark.slow
ITEM = "item-00001"
EVENT = '{"event_id":"%s","user_id":"user-1","item_id":"item-00001","event_type":"view"}'


class Hosts:
    """A Redis, the store in it, and what starts an endpoint as a host of its own."""

    def __init__(self, folder: Path, redis_port: int, started: ExitStack) -> None:
        self.folder, self.url = folder, f"redis://127.0.0.1:{redis_port}?namespace=shop&timeout=1"
        self._started = started
        self.version = self.publish("2026-01-01")

    def publish(self, day: str, **options: int) -> str:
        """Publish a night to the store that hosts share; return its version."""
        with closing(open_store(self.url)) as store:
            return publish(night(day, **options), store).manifest.version

    def start(self, name: str, workers: int = 1, open_files: int = 0, port: int = 0) -> Server:
        """Start a host."""
        options = ("--shared", self.url)
        return self._started.enter_context(
            serving(
                self.folder / name,
                *options,
                store=self.url,
                keyed=port == 0,
                workers=workers,
                open_files=open_files,
                port=port,
            )
        )


@contextmanager
def hosts(folder: Path) -> Iterator[Hosts]:
    """Run a Redis that keeps what it was told; end the hosts and then Redis with the block."""
    with redis_server(folder / "redis", "--appendonly", "yes") as (port, _), ExitStack() as started:
        yield Hosts(folder, port, started)


def sells_out_everywhere(feeding: Server, asked: Server) -> None:
    """Put an item back in stock and sell it out through one host; the other must show and hide it within a second."""
    for stock in (5, 0):
        assert feeding.stock(ITEM, stock) == 202
        assert within(SOON_S, lambda stock=stock: (ITEM in asked.ids(limit=60)) == (stock > 0))


def test_what_one_host_is_fed_the_other_heeds_also_after_a_start(tmp_path: Path) -> None:
    with hosts(tmp_path) as two:
        first, second = two.start("first"), two.start("second", workers=2)
        sells_out_everywhere(first, second)
        sells_out_everywhere(second, first)
        assert first.admin.delete("/users/user-1").json()["erased"]
        assert within(SOON_S, lambda: second.admin.get("/users/user-1/trace").json().get("erased"))
        third = two.start("third")
        assert ITEM not in third.ids(limit=60)


def test_one_host_is_killed_and_starts_again(tmp_path: Path) -> None:
    with hosts(tmp_path) as two:
        first, second = two.start("first", workers=2), two.start("second")

        def strike() -> None:
            first.kill()
            sells_out_everywhere(second, second)
            two.start("first", workers=2, port=first.port)
            assert ITEM not in first.ids(limit=60)

        report("two hosts: kill -9 of one's parent, and its start", answers_during([first, second], strike))


def test_a_full_disk_under_the_state_of_one_host(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    with small_disk(tmp_path / "first/state", ROOMY_MB) as state, hosts(tmp_path) as two:
        first, second = two.start("first", workers=2), two.start("second")

        def strike() -> None:
            fill(state)
            assert within(SOON_S, lambda: first.feed.post("/events", content=EVENT % "a").status_code == 507)
            sells_out_everywhere(first, second)  # item changes go to Redis
            sells_out_everywhere(second, first)
            assert second.feed.post("/events", content=EVENT % "b").status_code == 202

        report("two hosts: full disk under one's state", answers_during([first, second], strike))
        (state / "filler").unlink()
        assert within(SOON_S, lambda: first.feed.post("/events", content=EVENT % "c").status_code == 202)


def test_more_idle_connections_to_one_host_than_it_may_open_files(tmp_path: Path) -> None:
    with hosts(tmp_path) as two, ExitStack() as idle:
        first, second = two.start("first", open_files=1_024), two.start("second")
        first.shelf()

        def strike() -> None:
            open_idle(first, idle, 1_100)
            sells_out_everywhere(second, first)

        counts = answers_during([first, second], strike)
        report("two hosts: 1,100 idle connections to one, where 1,024 files may be open", counts)


def test_header_bombs_slow_heads_and_slow_readers_of_one_host(tmp_path: Path) -> None:
    with hosts(tmp_path) as two, ExitStack() as connections:
        first, second = two.start("first"), two.start("second")

        def strike() -> None:
            send_bombs(first, connections)
            sells_out_everywhere(second, first)

        report("two hosts: header bombs, slow heads, slow readers of one", answers_during([first, second], strike, 1))


def test_the_clock_of_one_host_steps(tmp_path: Path) -> None:
    with hosts(tmp_path) as two:
        second = two.start("second")
        with stepped_clock(tmp_path) as step:
            first = two.start("first")

            def strike() -> None:
                for hours in (1, -1, 0):
                    step(hours * 3600)
                    sells_out_everywhere(first, second)
                    sells_out_everywhere(second, first)

            report("two hosts: clock of one stepped by an hour", answers_during([first, second], strike))


def test_a_bad_snapshot_is_promoted(tmp_path: Path) -> None:
    with hosts(tmp_path) as two:
        first, second = two.start("first"), two.start("second")

        def strike() -> None:
            with closing(open_store(two.url)) as store:
                pointer.move(store, lambda old: pointer.promoted(old, "20260102T000000Z-00000000", "2026-01-02"))

        counts = answers_during([first, second], strike, 2)
        report("two hosts: a version that the store lacks is promoted", counts)
        assert counts["snapshot_stale"] > 0
        assert {host.shelf()["snapshot"] for host in (first, second)} == {two.version}
        good = two.publish("2026-01-03", seed=3)
        assert within(SOON_S, lambda: {host.shelf()["snapshot"] for host in (first, second)} == {good})


@pytest.mark.parametrize("fault", ["kill -9 and a start", "SIGSTOP, then SIGCONT"])
def test_redis_fails_under_both(tmp_path: Path, fault: str) -> None:
    with ExitStack() as started:
        port, redis = started.enter_context(redis_server(tmp_path / "redis", "--appendonly", "yes"))
        two = Hosts(tmp_path, port, started)
        first, second = two.start("first"), two.start("second")
        sells_out_everywhere(first, second)

        def strike() -> None:
            redis.send_signal(signal.SIGKILL if fault.startswith("kill") else signal.SIGSTOP)
            assert within(SOON_S, lambda: first.stock(ITEM, 5) == 503)
            assert within(SOON_S, lambda: "item_state_stale" in second.shelf().get("degraded", ()))
            if fault.startswith("kill"):
                redis.wait()
                started.enter_context(redis_server(tmp_path / "redis", "--appendonly", "yes", port=port))
            else:
                redis.send_signal(signal.SIGCONT)
            assert within(SOON_S, lambda: first.stock(ITEM, 5) == 202)
            sells_out_everywhere(first, second)

        report(f"two hosts: Redis, {fault}", answers_during([first, second], strike))
        for host in (first, second):
            assert within(SOON_S, lambda host=host: "degraded" not in host.shelf())
