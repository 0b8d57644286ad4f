"""The endpoint under load: the whole way of GET /recommendations beside a bare ASGI answer on the same server.

Key, rate limit, filters, exploration and exposure log are on, as `topshelf serve` has them; every request is another
shopper's, and the items of shelves are drawn as popular items are: the first tenth of them fills half the places.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pytest

from jobs.publishing.night_contents import NightContents
from jobs.publishing.publish import publish
from serving.api.keys import create
from serving.snapshot.record import REASON_CODES, SOURCES, shard_of
from serving.stores import open_store
from tests.bench.figures import Figure
from tests.bench.shop import SHARDS, TOP_N, user_id
from tests.serving.servers import free_port
from tests.serving.small_shop import night

USERS, ITEMS = 200_000, 50_000
MANY_USERS, MANY_ITEMS = 1_000_000, 1_000_000
ROUNDS, ROUND_S, CONNECTIONS = 3, 5, 32
COMPILED = tempfile.TemporaryDirectory()
STARTS = 5
BARE = "tests.bench.bare:application"
_QUERY = "limit=20&category=home&price_min=2.00&price_max=497.00&page=homepage&device=mobile&location=top"


def popular_night(n_users: int, n_items: int, seed: int = 0) -> NightContents:
    """A night whose shelves hold popular items more often; shelves are made when their shard is asked for."""
    base = night("2026-01-31", n_users=0, n_items=n_items, top_n=TOP_N, n_shards=SHARDS, seed=seed, explores=True)
    ids = base.items["item_id"].combine_chunks()
    names = [user_id(number) for number in range(n_users)]
    owners = [[name for name in names if shard_of(name, SHARDS) == shard] for shard in range(SHARDS)]

    def shelves(shard: int) -> pa.Table:
        rng, n = np.random.default_rng(seed * 100 + shard), len(owners[shard])
        rows = n * TOP_N
        items = _popular(rng, (n, TOP_N + 60), n_items)
        for _ in range(4):  # an item stands on a shelf once
            items.sort(axis=1)
            again = np.diff(items, axis=1, prepend=-1) == 0
            items[again] = rng.integers(0, n_items, int(again.sum()))
        order = np.argsort(rng.random(items.shape), axis=1)[:, :TOP_N]
        behind = np.take_along_axis(_popular(rng, (n, 19), n_items), rng.integers(0, 19, (n, TOP_N)), 1)
        return pa.table(
            {
                "variant": _drawn(pa.array(["base"]), np.zeros(rows)),
                "user_id": _drawn(pa.array(owners[shard], pa.string()), np.repeat(np.arange(n), TOP_N)),
                "rank": pa.array(np.tile(np.arange(1, TOP_N + 1, dtype=np.int32), n)),
                "item_id": _drawn(ids, np.take_along_axis(items, order, 1).reshape(-1)),
                "score": pa.array(rng.random(rows)),
                "source": _drawn(pa.array(SOURCES), rng.integers(0, len(SOURCES), rows)),
                "reason_code": _drawn(pa.array(REASON_CODES), rng.integers(0, len(REASON_CODES), rows)),
                "reason_item_id": _drawn(ids, behind.reshape(-1)),
            }
        )

    def users(shard: int) -> pa.Table:
        n = len(owners[shard])
        age_bands = pa.array(["18-24", "25-34"]).take(pa.array(np.arange(n) % 2))
        chosen = pa.nulls(n, pa.list_(pa.string()))
        columns = {"region": ["DE"] * n, "age_band": age_bands, "preferred_categories": chosen}
        return pa.table({"user_id": pa.array(owners[shard], pa.string()), **columns})

    return replace(base, shelves=shelves, users=users, expected_users=n_users)


def _popular(rng: np.random.Generator, shape: tuple[int, int], n: int) -> np.ndarray:
    # The last item is the most popular: what is explored are the first ones, new or seldom shown.
    return n - 1 - (rng.random(shape, np.float32) ** 3 * n).astype(np.int64).clip(0, n - 1)


def _drawn(values: pa.Array, codes: np.ndarray) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), values)


class Served:
    """A server process that is ready; `ready_s` is how long that took."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], ready_s: float, secret: str = "") -> None:
        self.port, self.process, self.ready_s, self.secret = port, process, ready_s, secret

    def workers(self) -> list[int]:
        """The processes that answer: the server's own, or its workers."""
        found = []
        for tasks in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in tasks.read_text().split():
                with suppress(FileNotFoundError):
                    if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        found.append(int(pid))
        return found or [self.process.pid]


@contextmanager
def _running(command: list[str], port: int, path: str, secret: str = "") -> Iterator[Served]:
    # Modules are compiled once, as they are in an image; what a developer's shell says of that is left out.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = COMPILED.name
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--port", str(port)], env=environment)
    try:
        while time.perf_counter() - began < 60:
            with suppress(URLError, ConnectionError):
                urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).close()
                break
            time.sleep(0.01)
        yield Served(port, process, time.perf_counter() - began, secret)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def bare_server(workers: int = 1) -> Iterator[Served]:
    uvicorn = [
        sys.executable,
        "-m",
        "uvicorn",
        BARE,
        "--no-access-log",
        "--log-level",
        "warning",
        "--no-server-header",
        "--no-proxy-headers",
    ]
    with _running([*uvicorn, "--workers", str(workers)], free_port(), "/") as served:
        yield served


@contextmanager
def endpoint(folder: Path, workers: int = 1) -> Iterator[Served]:
    _, secret = create(folder / "live" / "keys.json", ("read", "feed", "admin"), "bench", "1000000/second")
    command = [sys.executable, "-m", "serving", "serve", "--workers", str(workers), "--state", f"{folder}/live"]
    command += ["--store", f"lmdb://{folder}/store", "--landing", f"{folder}/landing"]
    with _running(command, free_port(), "/readyz", secret) as served:
        yield served


def ask_script(folder: Path, port: int, secret: str, users: int, pause_ms: float = 0) -> Path:
    """What wrk asks for: another shopper every time, or the bare answer where there is no key."""
    path = folder / "ask.lua"
    target, header = "'/'", ""
    if secret:
        header = f'wrk.headers["Authorization"] = "Bearer {secret}"'
        target = f'string.format("/recommendations?user_id=user-%08d&{_QUERY}", math.random(0, {users - 1}))'
    delay = f"function delay() return math.random(0, {2 * pause_ms:.0f}) end" if pause_ms else ""
    path.write_text(
        f"{header}\n{delay}\nfunction init() math.randomseed({port}) end\n"
        f"function request() return wrk.format('GET', {target}) end\n"
    )
    return path


def asked(
    folder: Path, served: Served, users: int, *, seconds: int = ROUND_S, pause_ms: float = 0
) -> dict[str, float]:
    """Run wrk once: requests a second, and latencies in ms. Raises AssertionError where an answer was no 200."""
    script = ask_script(folder, served.port, served.secret, users, pause_ms)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script)]
    spent = sum(map(processor_s, served.workers()))
    said = subprocess.run([*command, f"http://127.0.0.1:{served.port}"], capture_output=True, text=True, check=True)
    assert "Non-2xx" not in said.stdout and "Socket errors" not in said.stdout, said.stdout
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    figures = {
        f"p{share}": float(value) * units[unit]
        for share, value, unit in re.findall(r"^\s+(50|90|99)%\s+([\d.]+)(us|ms|s)$", said.stdout, re.M)
    }
    spent = sum(map(processor_s, served.workers())) - spent
    found = re.search(r"Requests/sec:\s+([\d.]+)", said.stdout)
    assert found is not None, said.stdout
    total = re.search(r"(\d+) requests in", said.stdout)
    assert total is not None, said.stdout
    return figures | {"rate": float(found[1]), "cpu_us": spent / int(total[1]) * 1e6}


def processor_s(pid: int) -> float:
    """Seconds of processor that a process has taken, its own and the system's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def throughput(folder: Path, users: int) -> list[Figure]:
    """Requests a second of one worker and of two, in turns with the bare server."""
    figures = []
    for workers in (1, 2):
        ours, theirs = [], []
        with bare_server(workers) as floor, endpoint(folder, workers) as served:
            asked(folder, served, users, seconds=3)  # caches and page cache fill
            for _ in range(ROUNDS):
                theirs.append(asked(folder, floor, users))
                ours.append(asked(folder, served, users))
        told = "one worker" if workers == 1 else "two workers"
        floor_is = f"bare ASGI on the same uvicorn, {told}"
        wanted = "half of bare" if workers == 1 else ""
        for what, unit, wish in (("rate", "requests/s", wanted), ("cpu_us", "µs of processor a request", "")):
            middle, floor_middle = (statistics.median(run[what] for run in runs) for runs in (ours, theirs))
            figures.append(Figure(told, middle, unit, floor_middle, floor_is, wish))
    return figures


def latency(folder: Path, users: int) -> list[Figure]:
    """Latencies at about 1,000 requests a second."""
    with endpoint(folder) as served:
        asked(folder, served, users, seconds=2)
        at = asked(folder, served, users, seconds=10, pause_ms=CONNECTIONS)
    rate = f"at {at['rate']:,.0f} requests/s"
    return [
        Figure(f"p{share} {rate}", at[f"p{share}"], "ms", wanted="under 10" if share == 99 else "")
        for share in (50, 90, 99)
    ]


def size(folder: Path, users: int) -> list[Figure]:
    """Start and memory with a large shop: what a worker holds alone, after it answered for a while."""
    with endpoint(folder):  # compiles modules, and reads the store's files from the disk
        pass
    starts = []
    for _ in range(STARTS):
        with endpoint(folder) as served:
            starts.append(served.ready_s)
    with endpoint(folder) as served:
        asked(folder, served, users, seconds=5)
        rollup = Path(f"/proc/{served.workers()[0]}/smaps_rollup").read_text()
        kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", rollup, re.M)}
    own = kib["Private_Clean"] + kib["Private_Dirty"]
    return [
        Figure(f"start to ready, {users:,} users: median", statistics.median(starts), "s", wanted="under 2"),
        Figure(f"the slowest of {STARTS} starts", max(starts), "s", wanted="under 2"),
        Figure("memory of a worker alone", kib["Private_Dirty"] / 1024, "MiB"),
        Figure("with what it read of the store's files", own / 1024, "MiB"),
    ]


def main() -> list[Figure]:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is missing: apt-get install wrk")
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(open_store(f"lmdb://{folder}/store")) as store:
            publish(popular_night(USERS, ITEMS), store)
        figures += throughput(folder, USERS) + latency(folder, USERS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(open_store(f"lmdb://{folder}/store")) as store:
            publish(popular_night(MANY_USERS, MANY_ITEMS), store)
        figures += size(folder, MANY_USERS)
    return figures
