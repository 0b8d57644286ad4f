"""How soon every worker respects a change of price or stock, under load, over 1,000 changes.

Each change sells an item out, or raises its price beyond what is asked for; then every worker is asked, over a
connection of its own, until its answer leaves the item out. An answer a second after the change that still shows the
item is counted: there should be none.
"""

import http.client
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from jobs.publishing.publish import publish
from serving.stores import open_store
from tests.bench.bench_endpoint import ask_script, endpoint, popular_night
from tests.bench.figures import Figure, percentile
from tests.bench.shop import user_id

USERS, ITEMS, CHANGES, WORKERS = 20_000, 10_000, 1_000, 2
LOAD_CONNECTIONS, LATE_S, GIVE_UP_S = 8, 1.0, 5.0


class Caller:
    """A connection to one worker; `shows` tells whether a user's shelf holds an item."""

    def __init__(self, port: int, secret: str) -> None:
        self._port, self._headers = port, {"Authorization": f"Bearer {secret}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def ids(self, user: str) -> list[str]:
        self._connection.request("GET", f"/recommendations?user_id={user}&price_max=900", headers=self._headers)
        rows = json.loads(self._connection.getresponse().read())["recommendations"]
        return [row["item_id"] for row in rows]

    def change(self, row: dict[str, object]) -> None:
        self._connection.request("POST", "/items", body=json.dumps(row), headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status == 202


def callers(port: int, secret: str, pids: list[int]) -> list[Caller]:
    """One caller of each worker: connections are opened until every worker has taken one, as the kernel tells."""
    found: dict[int, Caller] = {}
    for _ in range(200):
        caller = Caller(port, secret)
        caller.ids("nobody")
        sock = caller._connection.sock
        assert sock is not None
        owner = _owner(sock.getsockname()[1], port, pids)
        if owner is not None:
            found.setdefault(owner, caller)
        if len(found) == len(pids):
            return list(found.values())
    raise RuntimeError(f"only {len(found)} of {len(pids)} workers took a connection")


def _owner(client_port: int, server_port: int, pids: list[int]) -> int | None:
    """The worker that holds the server's end of a connection."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1].endswith(f":{server_port:04X}"), fields[2].endswith(f":{client_port:04X}")) == (True, True):
            for pid in pids:
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(FileNotFoundError):
                        if str(link.readlink()) == f"socket:[{fields[9]}]":
                            return pid
    return None


@contextmanager
def load(folder: Path, port: int, secret: str, users: int = USERS, rate: int = 1_000) -> Iterator[None]:
    """Keep the endpoint busy at about so many requests a second."""
    script = ask_script(folder, port, secret, users, pause_ms=LOAD_CONNECTIONS * 1_000 / rate)
    command = ["wrk", "-t1", f"-c{LOAD_CONNECTIONS}", "-d3600s", "-s", str(script), f"http://127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def measure(port: int, secret: str, pids: list[int]) -> tuple[list[float], int]:
    """For each change and worker the milliseconds until it was respected; and answers that were late."""
    asked, feeder = callers(port, secret, pids), Caller(port, secret)
    taken: list[float] = []
    late = 0
    for number in range(CHANGES):
        user = user_id(number * 7 % USERS)
        item_id = asked[0].ids(user)[number % 15]
        what: dict[str, object] = {"stock": 0} if number % 2 else {"price": "999999"}
        times: list[float] = []
        began = time.perf_counter()

        def until_gone(caller: Caller, item_id: str = item_id, user: str = user) -> None:
            while item_id in caller.ids(user) and time.perf_counter() - began < GIVE_UP_S:  # noqa: B023
                pass
            times.append((time.perf_counter() - began) * 1000)  # noqa: B023

        feeder.change({"item_id": item_id, **what})
        threads = [threading.Thread(target=until_gone, args=(caller,)) for caller in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken += times
        late += sum(took > LATE_S * 1000 for took in times)
    return taken, late


def main() -> list[Figure]:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(open_store(f"lmdb://{folder}/store")) as store:
            publish(popular_night(USERS, ITEMS), store)
        with endpoint(folder, WORKERS) as served, load(folder, served.port, served.secret):
            taken, late = measure(served.port, served.secret, served.workers())
    told = f"{CHANGES:,} changes, {WORKERS} workers"
    return [
        Figure(f"respected by a worker, p50 of {told}", percentile(taken, 0.5), "ms"),
        Figure(f"respected by a worker, p99 of {told}", percentile(taken, 0.99), "ms", wanted="under 1,000"),
        Figure("the slowest", max(taken), "ms", wanted="under 1,000"),
        Figure("answers that showed the item a second later", late, "answers", wanted="none"),
    ]
