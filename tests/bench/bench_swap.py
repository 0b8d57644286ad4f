"""Swaps and rollbacks of small and large snapshots: how long they take, and when readers are on the new version."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from jobs.publishing import versions
from jobs.publishing.gates import GateLimits
from jobs.publishing.publish import publish
from serving.logs.follower import POLL_S
from serving.shelf.snapshot import Snapshot
from serving.stores import open_store
from tests.bench.figures import Figure, percentile
from tests.bench.shop import many, user_id
from tests.serving import servers

SMALL, LARGE, ROUNDS, READERS = 1_000, 50_000, 10, 3
LOOKS = "the time between two looks at the pointer"


class Reader:
    """A thread that looks a shelf up all the time and follows the pointer as the endpoint does."""

    def __init__(self, url: str) -> None:
        self.on, self.look_ups = "", 0
        self._url, self._stop = url, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with closing(open_store(self._url)) as store:
            snapshot, looks_s = None, 0.0
            while not self._stop.is_set():
                if time.monotonic() >= looks_s:
                    live = str(store.pointer().live)
                    if snapshot is None or snapshot.version != live:
                        snapshot = Snapshot(store.open(live))
                    looks_s = time.monotonic() + POLL_S
                assert snapshot is not None
                assert snapshot.shelf(user_id(0)) is not None
                self.on, self.look_ups = snapshot.version, self.look_ups + 1
                time.sleep(0.001)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def measure(url: str, n_users: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each rollback and promotion, and until each reader was on the version."""
    with closing(open_store(url)) as store:
        for day in ("2026-01-01", "2026-01-02"):
            night = many(n_users, n_items=5_000, day=day, seed=int(day[-1]))
            publish(night, store, limits=GateLimits(overlap_at_10=(0.0, 1.0)))  # random shelves have little in common
        readers = [Reader(url) for _ in range(READERS)]
        moves, arrivals = [], []
        for _ in range(ROUNDS):
            for swap in (versions.rollback, lambda of: versions.promote(of, night.version)):
                began = time.perf_counter()
                live = swap(store).live
                moves.append((time.perf_counter() - began) * 1000)
                waiting = set(readers)
                while waiting:
                    there = {reader for reader in waiting if reader.on == live}
                    arrivals += [(time.perf_counter() - began) * 1000] * len(there)
                    waiting -= there
                    time.sleep(0.001)
        for reader in readers:
            reader.stop()
    return moves, arrivals


@contextmanager
def stores(folder: Path) -> Iterator[dict[str, str]]:
    with servers.redis_server(folder / "redis") as (port, _):
        yield {
            "LMDB": f"lmdb://{folder}/{{}}",
            "Redis": f"redis://127.0.0.1:{port}?namespace={{}}",
        }


def main() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as folder, stores(Path(folder)) as urls:
        for name, url in urls.items():
            small, _ = measure(url.format("small"), SMALL)
            large, arrivals = measure(url.format("large"), LARGE)
            size = f"the same at {SMALL:,} users"
            what, longest = f"{name}, {LARGE:,} users", max(arrivals)
            half = (percentile(moves, 0.5) for moves in (large, small))
            figures += [
                Figure(f"{what}: rollback or promotion, p50", next(half), "ms", next(half), size),
                Figure(f"{what}: rollback or promotion, longest", max(large), "ms", max(small), size, "below 1,000"),
                Figure(f"{what}: a reader is on it, longest", longest, "ms", POLL_S * 1000, LOOKS, "below 1,000"),
            ]
    return figures
