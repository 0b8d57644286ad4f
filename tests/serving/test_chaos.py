"""Faults while shoppers ask, and how they were answered. Run with -s to print the table of docs/endpoint.md."""

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx
import pytest

from jobs.publishing.publish import publish
from serving.snapshot import pointer
from serving.stores import open_store
from tests.serving.disks import fill, small_disk
from tests.serving.running import STALE_OK_S, Server, publish_night, serving, within
from tests.serving.servers import redis_server
from tests.serving.small_shop import night

pytestmark = pytest.mark.slow
ASKERS = 4


def answers_during(server: Server, fault: Callable[[], None], seconds: float = 2.5) -> Counter[str]:
    """Ask without pause from a second before the fault until `seconds` after it.

    Return how many answers were 2xx, 4xx, 5xx or full, were lost with their connection, or named a degradation.
    """
    counts_by_asker: list[Counter[str]] = [Counter() for _ in range(ASKERS)]  # one per thread, which needs no lock
    stop = threading.Event()

    def ask(number: int) -> None:
        client, asked_count, counts = server.client("read"), 0, counts_by_asker[number]
        while not stop.is_set():
            user = f"user-{(number * 7 + asked_count) % 60}"
            asked_count += 1
            try:
                answer = client.get(f"/recommendations?user_id={user}")
            except httpx.TransportError:
                counts["connection lost"] += 1
                client.close()
                client = server.client("read")
                time.sleep(0.05)
                continue
            body = answer.json()
            counts[f"{answer.status_code // 100}xx"] += 1
            counts["full"] += len(body.get("recommendations", ())) == 20
            for reason in body.get("degraded", ()):
                counts[reason] += 1
        client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(ASKERS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        fault()
        time.sleep(seconds)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return sum(counts_by_asker, Counter())


def report(fault: str, counts: Counter[str]) -> None:
    """Print a row of the table; assert that no answer was a 5xx and that every shelf was full."""
    degraded = {
        name: count for name, count in counts.items() if name not in {"2xx", "5xx", "full", "connection lost"}
    }
    reasons = ", ".join(f"{name} {count:,}" for name, count in sorted(degraded.items())) or "none"
    cells = (fault, counts["2xx"], counts["full"], counts["5xx"], counts["connection lost"], reasons)
    sys.stdout.write(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in cells)} |\n")
    assert counts["5xx"] == 0, counts
    assert counts["full"] == counts["2xx"] > 50, counts


def test_workers_killed_one_after_another(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, workers=2) as server:
        killed: set[int] = set()

        def kill() -> None:
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                assert within(60, lambda: server.has_replaced(killed))

        report("kill -9 of both workers, one after another", answers_during(server, kill, 3))
        assert len(killed) == 2
        assert server.has_replaced(killed)


@pytest.mark.parametrize("fault", ["kill -9", "SIGSTOP, then SIGCONT"])
def test_redis_of_the_store_killed_and_stalled(tmp_path: Path, fault: str) -> None:
    with redis_server(tmp_path / "redis") as (port, redis):
        url = f"redis://127.0.0.1:{port}?namespace=shop&timeout=1"
        with closing(open_store(url)) as store:
            publish(night("2026-01-01"), store)

        def strike() -> None:
            redis.send_signal(signal.SIGKILL if fault == "kill -9" else signal.SIGSTOP)
            time.sleep(2)
            redis.send_signal(signal.SIGCONT)

        with serving(tmp_path, store=url, keyed=True) as server:
            counts = answers_during(server, strike)
            report(f"Redis as the store: {fault}", counts)
            assert fault != "kill -9" or counts["snapshot_stale"] > 0
            if fault != "kill -9":
                assert within(10, lambda: "degraded" not in server.shelf(user_id="user-1"))


@pytest.mark.parametrize("fault", ["kill -9", "SIGSTOP, then SIGCONT"])
def test_redis_of_the_shared_state_killed_and_stalled(tmp_path: Path, fault: str) -> None:
    publish_night(tmp_path, "2026-01-01")
    with redis_server(tmp_path / "redis") as (port, redis):

        def strike() -> None:
            redis.send_signal(signal.SIGKILL if fault == "kill -9" else signal.SIGSTOP)
            time.sleep(3)
            redis.send_signal(signal.SIGCONT)

        with serving(tmp_path, "--shared", f"redis://127.0.0.1:{port}", keyed=True) as server:
            counts = answers_during(server, strike, 2)
            report(f"Redis as the shared state and limits: {fault}", counts)
            assert counts["item_state_stale"] > 0


@pytest.mark.parametrize("fault", ["blob cut", "blob of noise", "shard cut", "manifest of noise", "pointer of noise"])
def test_snapshot_files_that_are_corrupt(tmp_path: Path, fault: str) -> None:
    first = publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server, closing(open_store(f"lmdb://{tmp_path}/store")) as store:

        def strike() -> None:
            if fault == "pointer of noise":
                (tmp_path / "store/pointer.json").write_bytes(os.urandom(100))
                return
            second = publish_night(tmp_path / "other", "2026-01-02", seed=2)
            target = tmp_path / "store/versions" / second
            shutil.copytree(tmp_path / "other/store/versions" / second, target)
            kinds = {"blob": "blobs/item_category.npy", "shard": "shards/*", "manifest": "manifest.json"}
            victim = next(target.glob(kinds[fault.partition(" ")[0]]))
            data = victim.read_bytes()
            victim.chmod(0o600)
            victim.write_bytes(data[: len(data) // 2] if "cut" in fault else os.urandom(len(data)))
            pointer.move(store, lambda old: pointer.promoted(old, second, "2026-01-02"))

        counts = answers_during(server, strike, 2)
        report(f"corrupt snapshot promoted: {fault}", counts)
        assert server.shelf()["snapshot"] == first
        assert counts["snapshot_stale"] > 0


def test_a_full_disk_under_the_exposure_log(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    (tmp_path / "state/spool").mkdir(parents=True)
    with serving(tmp_path, keyed=True) as server:

        def strike() -> None:
            segment = tmp_path / "state/spool/exposures-00000001.log"
            segment.rename(segment.with_suffix(".before"))
            segment.symlink_to("/dev/full")  # every write to it fails as on a full disk

        counts = answers_during(server, strike, 2)
        report("full disk under the exposure log", counts)
        assert server.metric("topshelf_exposures_dropped_total") > 0


def test_a_full_disk_under_the_whole_state(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with small_disk(tmp_path / "state", 4) as state, serving(tmp_path, keyed=True, workers=2) as server:
        workers, lander = set(server.workers()), server.lander()
        assert server.feed.post("/items", content=b'{"item_id":"item-00001","stock":5}').status_code == 202
        filler = state / "filler"

        def refuses(path: str, row: bytes) -> bool:
            return server.feed.post(path, content=row).status_code == 507

        def strike() -> None:
            fill(state)
            assert within(5, lambda: refuses("/items", b'{"item_id":"item-00001","stock":4}'))
            assert refuses(
                "/events", b'{"event_id":"e","user_id":"user-1","item_id":"item-00001","event_type":"view"}'
            )

        report("full disk under the state folder", answers_during(server, strike))
        assert within(5, lambda: server.metric("topshelf_exposures_dropped_total") > 0)
        filler.unlink()
        row = b'{"item_id":"item-00001","stock":3}'
        assert within(5, lambda: server.feed.post("/items", content=row).status_code == 202)
        kept = server.metric("topshelf_exposures_kept_total")
        server.shelf(user_id="user-1")
        assert within(5, lambda: server.metric("topshelf_exposures_kept_total") > kept)
        assert (set(server.workers()), server.lander()) == (workers, lander)  # nobody died


def test_a_worker_that_is_killed_on_a_full_disk_is_replaced(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with small_disk(tmp_path / "state", 4) as state, serving(tmp_path, keyed=True, workers=2) as server:
        killed = set(server.workers())

        def strike() -> None:
            fill(state)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
                assert within(60, lambda pid=pid: server.has_replaced({pid}))

        report("full disk, and kill -9 of both workers", answers_during(server, strike))
        (state / "filler").unlink()


def test_more_idle_connections_than_files_may_be_open(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    sold_out = "item-00001"
    with serving(tmp_path, keyed=True, open_files=1_024) as server, ExitStack() as idle:

        def stock(count: int) -> int:
            row = f'{{"item_id":"{sold_out}","stock":{count}}}'
            return server.feed.post("/items", content=row.encode()).status_code

        def strike() -> None:
            assert stock(5) == 202
            server.shelf()
            for _ in range(1_100):
                idle.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            assert stock(0) == 202
            assert within(STALE_OK_S, lambda: sold_out not in server.ids(limit=60))

        report("1,100 idle connections where 1,024 files may be open", answers_during(server, strike))
        with server.client("read") as newcomer:
            assert within(30, lambda: answers(newcomer))  # the idle ones were closed
            assert newcomer.get("/readyz").json().get("trouble", "") == ""
        with server.client("feed") as newcomer:
            row = f'{{"item_id":"{sold_out}","stock":0}}'.encode()
            assert newcomer.post("/items", content=row).status_code == 202


def answers(client: httpx.Client) -> bool:
    """Whether a new connection gets a shelf."""
    try:
        return client.get("/recommendations").status_code == 200
    except httpx.TransportError:
        return False


def test_header_bombs_slow_heads_and_slow_readers(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server, ExitStack() as connections:

        def connect(sent: bytes) -> socket.socket:
            connection = connections.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.settimeout(30)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(sent)
            return connection

        def strike() -> None:
            memory_before = resident_bytes(server.process.pid)
            key = f"Authorization: Bearer {server.keys['read']}\r\n".encode()
            for _ in range(20):
                connect((b"GET /schema/openapi.json HTTP/1.1\r\nHost: localhost\r\n" + key + b"\r\n") * 30)
            slow = [connect(b"GET /recommendations HTTP/1.1\r\nHost: local") for _ in range(50)]
            for bomb in (b"a: b\r\n" * 8_000_000, b"a: " + b"x" * (160 << 20)):
                with suppress(ConnectionError):
                    connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + bomb)
            assert all(b" 408 " in connection.recv(4_096) for connection in slow)
            assert resident_bytes(server.process.pid) - memory_before < 64 << 20

        report("header bombs, slow heads, slow readers", answers_during(server, strike, 1))
        assert server.metric("topshelf_requests_total", status="431") == 2
        assert server.metric("topshelf_requests_total", status="408") == 50


def resident_bytes(pid: int) -> int:
    """The memory of a process that is resident now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
