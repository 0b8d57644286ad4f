"""Faults while shoppers ask, and how they were answered. Run with -s to print the table of docs/endpoint.md."""

import os
import shutil
import signal
import time
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from jobs.publishing.publish import publish
from serving.snapshot import pointer
from serving.stores import open_store
from tests.serving.asking import answers_during, report
from tests.serving.attacks import open_idle, send_bombs, stepped_clock
from tests.serving.disks import ROOMY_MB, fill, small_disk
from tests.serving.running import SOON_S, publish_night, serving, within
from tests.serving.servers import redis_server
from tests.serving.small_shop import night

pytestmark = pytest.mark.slow


def test_workers_killed_one_after_another(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, workers=2) as server:
        killed: set[int] = set()

        def kill() -> None:
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                assert within(60, lambda: server.has_replaced(killed))

        report("kill -9 of both workers, one after another", answers_during([server], kill, 3))
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
            counts = answers_during([server], strike)
            report(f"Redis as the store: {fault}", counts)
            assert fault != "kill -9" or counts["snapshot_stale"] > 0
            if fault != "kill -9":
                assert within(SOON_S, lambda: "degraded" not in server.shelf(user_id="user-1"))


@pytest.mark.parametrize("fault", ["kill -9", "SIGSTOP, then SIGCONT"])
def test_redis_of_the_shared_state_killed_and_stalled(tmp_path: Path, fault: str) -> None:
    publish_night(tmp_path, "2026-01-01")
    with redis_server(tmp_path / "redis") as (port, redis):

        def strike() -> None:
            redis.send_signal(signal.SIGKILL if fault == "kill -9" else signal.SIGSTOP)
            time.sleep(3)
            redis.send_signal(signal.SIGCONT)

        with serving(tmp_path, "--shared", f"redis://127.0.0.1:{port}", keyed=True) as server:
            counts = answers_during([server], strike, 2)
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

        counts = answers_during([server], strike, 2)
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

        counts = answers_during([server], strike, 2)
        report("full disk under the exposure log", counts)
        assert server.metric("topshelf_exposures_dropped_total") > 0


def test_a_full_disk_under_the_whole_state(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with small_disk(tmp_path / "state", ROOMY_MB) as state, serving(tmp_path, keyed=True, workers=2) as server:
        workers, lander = set(server.workers()), server.lander()
        assert server.feed.post("/items", content=b'{"item_id":"item-00001","stock":5}').status_code == 202
        filler = state / "filler"

        def refuses(path: str, row: bytes) -> bool:
            return server.feed.post(path, content=row).status_code == 507

        def strike() -> None:
            fill(state)
            assert within(SOON_S, lambda: refuses("/items", b'{"item_id":"item-00001","stock":4}'))
            assert refuses(
                "/events", b'{"event_id":"e","user_id":"user-1","item_id":"item-00001","event_type":"view"}'
            )

        report("full disk under the state folder", answers_during([server], strike))
        assert within(SOON_S, lambda: server.metric("topshelf_exposures_dropped_total") > 0)
        filler.unlink()
        row = b'{"item_id":"item-00001","stock":3}'
        assert within(SOON_S, lambda: server.feed.post("/items", content=row).status_code == 202)
        kept = server.metric("topshelf_exposures_kept_total")
        server.shelf(user_id="user-1")
        assert within(SOON_S, lambda: server.metric("topshelf_exposures_kept_total") > kept)
        assert (set(server.workers()), server.lander()) == (workers, lander)  # nobody died


def test_a_worker_that_is_killed_on_a_full_disk_is_replaced(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with small_disk(tmp_path / "state", ROOMY_MB) as state, serving(tmp_path, keyed=True, workers=2) as server:
        killed = set(server.workers())

        def strike() -> None:
            fill(state)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
                assert within(60, lambda pid=pid: server.has_replaced({pid}))

        report("full disk, and kill -9 of both workers", answers_during([server], strike))
        (state / "filler").unlink()


def test_more_idle_connections_than_files_may_be_open(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    sold_out = "item-00001"
    with serving(tmp_path, keyed=True, open_files=1_024) as server, ExitStack() as idle:

        def strike() -> None:
            assert server.stock(sold_out, 5) == 202
            server.shelf()
            open_idle(server, idle, 1_100)
            assert server.stock(sold_out, 0) == 202
            assert within(SOON_S, lambda: sold_out not in server.ids(limit=60))

        report("1,100 idle connections where 1,024 files may be open", answers_during([server], strike))
        with server.client("read") as newcomer:
            assert within(SOON_S, lambda: answers(newcomer))  # the idle ones were closed
            assert newcomer.get("/readyz").json().get("trouble", "") == ""
        with server.client("feed") as newcomer:
            assert newcomer.post("/items", content=f'{{"item_id":"{sold_out}","stock":0}}').status_code == 202


def answers(client: httpx.Client) -> bool:
    """Whether a new connection gets a shelf."""
    try:
        return client.get("/recommendations").status_code == 200
    except httpx.TransportError:
        return False


def test_header_bombs_slow_heads_and_slow_readers(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server, ExitStack() as connections:
        counts = answers_during([server], lambda: send_bombs(server, connections), 1)
        report("header bombs, slow heads, slow readers", counts)
        assert server.metric("topshelf_requests_total", status="431") == 2
        assert server.metric("topshelf_requests_total", status="408") == 50


def test_the_clock_of_the_host_steps(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with stepped_clock(tmp_path) as step, serving(tmp_path, keyed=True, workers=2) as server:
        item = server.ids()[0]

        def strike() -> None:
            for hours, stock in ((1, 5), (-1, 0), (0, 5), (-1, 0)):
                step(hours * 3600)
                assert server.stock(item, stock) == 202
                assert within(SOON_S, lambda stock=stock: (item in server.ids(limit=60)) == (stock > 0))

        report("clock stepped by an hour, ahead and back", answers_during([server], strike, 1))


def test_a_second_endpoint_on_the_state_folder(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server:

        def strike() -> None:
            with serving(tmp_path, may_end=True) as second:
                assert second.process.wait(30) == 1

        report("a second endpoint on the state folder", answers_during([server], strike, 1))
        assert within(SOON_S, lambda: server.metric("topshelf_landers") == 1)


def test_the_parent_of_the_workers_killed(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with ExitStack() as started:
        server = started.enter_context(serving(tmp_path, keyed=True, workers=2))

        def strike() -> None:
            server.kill()
            started.enter_context(serving(tmp_path, workers=2, port=server.port))
            server.shelf()

        report("kill -9 of the parent, and a start on its port", answers_during([server], strike))
