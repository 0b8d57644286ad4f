"""Latency of single requests while their worker answers batches of 1,000 users, and what a line costs.

Single requests come 200 times a second, whether those before them were answered or not, and a latency counts from
when the request was due. All answers have 20 items; every request and every line is another shopper's.
"""

import asyncio
import http.client
import json
import multiprocessing
import tempfile
import threading
import time
from contextlib import closing
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Self

import numpy as np

from jobs.publishing.publish import publish
from serving.stores import open_store
from tests.bench.bench_endpoint import Served, endpoint, popular_night, processor_s
from tests.bench.figures import Figure, percentile
from tests.bench.shop import user_id
from tests.serving.in_process import started

USERS, ITEMS, BATCH = 200_000, 50_000, 1_000
CALLERS, RATE_PER_S, SECONDS = 4, 200, 15


def connection(port: int, secret: str) -> tuple[http.client.HTTPConnection, dict[str, str]]:
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30), headers


def ask_singly(served: Served, number: int, latencies_ms: list[float], pause_s: float) -> None:
    """Ask for SECONDS, each time when it is due."""
    caller, headers = connection(served.port, served.secret)
    rng, began = np.random.default_rng(number), time.perf_counter()
    due = began + pause_s * number / CALLERS
    while due < began + SECONDS:
        time.sleep(max(0.0, due - time.perf_counter()))
        caller.request("GET", f"/recommendations?user_id={user_id(int(rng.integers(USERS)))}", headers=headers)
        answer = caller.getresponse()
        answer.read()
        latencies_ms.append((time.perf_counter() - due) * 1e3)
        assert answer.status == 200
        due = due + pause_s if pause_s else time.perf_counter()
    caller.close()


def ask_in_batches(port: int, secret: str, number: int, stop: Event, lines: "Synchronized[int]") -> None:
    """Send batch after batch until `stop`; count their lines. It runs in a process of its own."""
    caller, headers = connection(port, secret)
    rng = np.random.default_rng(100 + number)
    while not stop.is_set():
        users = [user_id(user) for user in rng.integers(0, USERS, BATCH).tolist()]
        caller.request("POST", "/recommendations/batch", json.dumps({"user_ids": users}), headers)
        answer, count = caller.getresponse(), 0
        while block := answer.read(1 << 16):
            count += block.count(b"\n")
        assert (answer.status, count) == (200, BATCH)
        lines.value += count
    caller.close()


class Batches:
    """Callers in processes of their own, each of which sends batch after batch while the block runs."""

    def __init__(self, served: Served, at_once: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._lines = [context.Value("q", 0, lock=False) for _ in range(at_once)]
        self._callers = [
            context.Process(target=ask_in_batches, args=(served.port, served.secret, number, self._stop, lines))
            for number, lines in enumerate(self._lines)
        ]

    @property
    def lines(self) -> int:
        """How many lines all of them have got."""
        return sum(lines.value for lines in self._lines)

    def __enter__(self) -> Self:
        for caller in self._callers:
            caller.start()
        while not all(lines.value for lines in self._lines):
            time.sleep(0.01)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for caller in self._callers:
            caller.join()
            assert caller.exitcode == 0


def latencies(served: Served, batches_at_once: int) -> tuple[list[float], float]:
    """Latencies of single requests in ms, and the lines that batches got meanwhile, a second."""
    latencies_ms: list[float] = []
    with Batches(served, batches_at_once) as batches:
        before, began = batches.lines, time.perf_counter()
        singles = [
            threading.Thread(target=ask_singly, args=(served, number, latencies_ms, CALLERS / RATE_PER_S))
            for number in range(CALLERS)
        ]
        for thread in singles:
            thread.start()
        for thread in singles:
            thread.join()
        return latencies_ms, (batches.lines - before) / (time.perf_counter() - began)


def cost_us(served: Served, *, in_batches: bool) -> float:
    """Processor of the worker for an answer, in µs, where one caller asks without pause."""

    def spent_s() -> float:
        return sum(map(processor_s, served.workers()))

    if in_batches:
        with Batches(served, 1) as batches:
            before, lines = spent_s(), batches.lines
            time.sleep(SECONDS)
            return (spent_s() - before) / (batches.lines - lines) * 1e6
    single: list[float] = []
    before = spent_s()
    ask_singly(served, 50, single, 0.0)
    return (spent_s() - before) / len(single) * 1e6


async def turns_us(folder: Path, at_once: int) -> list[float]:
    """Processor of each turn of the loop in µs while batches are answered: a single request waits for a few of them.

    It says the same on a busy machine, where a latency is mostly the time until the worker gets a core.
    """
    turns: list[float] = []
    rng = np.random.default_rng(at_once)
    async with started(folder) as client:
        for _ in range(5):
            users = [[user_id(user) for user in rng.integers(0, USERS, BATCH).tolist()] for _ in range(at_once)]
            asked = [
                asyncio.create_task(client.post("/recommendations/batch", json={"user_ids": some})) for some in users
            ]
            began = time.thread_time()
            while not all(batch.done() for batch in asked):
                await asyncio.sleep(0)
                began, before = time.thread_time(), began
                turns.append((began - before) * 1e6)
            assert all(batch.result().text.count("\n") == BATCH for batch in asked)
    return turns


def main() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(open_store(f"lmdb://{folder}/store")) as store:
            publish(popular_night(USERS, ITEMS), store)
        for at_once in (1, 4):
            turns = asyncio.run(turns_us(folder, at_once))
            told = f"processor of a turn of the loop, {at_once} batch{'es' if at_once > 1 else ''} at a time"
            figures.append(Figure(f"{told}: p50", percentile(turns, 0.5), "µs"))
            figures.append(Figure(f"{told}: p99", percentile(turns, 0.99), "µs"))
        with endpoint(folder) as served:
            latencies(served, 1)  # caches fill
            alone, _ = latencies(served, 0)
            for at_once in (1, 4):
                beside, lines_per_s = latencies(served, at_once)
                told = f"{at_once} batch{'es' if at_once > 1 else ''} at a time"
                for share in (0.5, 0.99):
                    floor = percentile(alone, share)
                    figures.append(
                        Figure(f"p{share * 100:.0f}, {told}", percentile(beside, share), "ms", floor, "no batch")
                    )
                figures.append(Figure(f"lines, {told}", lines_per_s, "lines/s"))
            single = cost_us(served, in_batches=False)
            figures.append(
                Figure("processor a line", cost_us(served, in_batches=True), "µs", single, "a single request")
            )
    return figures
