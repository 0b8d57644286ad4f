"""Runs the endpoint as a process on a free port, for tests that call it as apps do."""

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from jobs.publishing.publish import publish
from serving.api.keys import SCOPES, create
from serving.stores import open_store
from tests.serving.servers import free_port
from tests.serving.small_shop import night

_START_S = 60  # modules are compiled at each start of a test, beside other tests
SOON_S = 30  # what takes a second may take longer beside other tests; `python -m tests.bench freshness` times it


class Server:
    """A running endpoint. `keys` holds a key of each scope if it was started with keys."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes], keys: dict[str, str]) -> None:
        self.folder, self.process, self.port, self.keys = folder, process, port, keys
        self.http = self.client("read")
        self.feed = self.client("feed")
        self.admin = self.client("admin")

    def client(self, scope: str = "", **headers: str) -> httpx.Client:
        """A new client, whose connection may reach another worker."""
        if scope in self.keys:
            headers["authorization"] = f"Bearer {self.keys[scope]}"
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, headers=headers)

    def answers(self, path: str, may_end: bool = False) -> bool:
        """Whether a path answers 200, or the process has ended. Raises AssertionError where it may not end."""
        try:
            return self.http.get(path).status_code == 200
        except httpx.TransportError:
            ended = self.process.poll() is not None
            assert may_end or not ended, (self.folder / "server.log").read_text()
            return ended

    def workers(self) -> list[int]:
        """The process ids of the workers, if there are several."""
        return [pid for pid, command in self._children() if any("spawn_main" in word for word in command)]

    def lander(self) -> int | None:
        """The process id of the lander, None while there is none."""
        return next((pid for pid, command in self._children() if "land" in command), None)

    def kill(self) -> None:
        """Kill the parent with -9, and wait until its workers and its lander have ended too."""
        processes = [*self.workers(), self.lander()]
        self.process.kill()
        self.process.wait()
        assert within(30, lambda: not any(is_alive(pid) for pid in processes))

    def holds_open(self, folder: Path) -> bool:
        """Whether the server, if it has one worker, has a file of this folder open or mapped."""
        process = Path(f"/proc/{self.process.pid}")
        open_files = [process.joinpath("maps").read_text()]
        for descriptor in (process / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed since
                open_files.append(str(descriptor.readlink()))
        return any(str(folder) in text for text in open_files)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample of `/metrics`, as any worker answers it."""
        with self.client("metrics") as client:
            text = client.get("/metrics").text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        (value,) = [sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)]
        return value

    def has_replaced(self, killed: set[int]) -> bool:
        """Whether two workers run and none of them is one of `killed`."""
        workers = self.workers()
        try:
            return len(workers) == 2 and not killed & set(workers) and self.metric("topshelf_workers") == 2
        except httpx.TransportError:
            return False

    def _children(self) -> Iterator[tuple[int, list[str]]]:
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # ended since
                yield child.pid, child.cmdline()

    def landed(self, table: str) -> list[dict[str, Any]]:
        """Every row of a table that is landed now."""
        files = sorted((self.folder / "landing" / table).glob("ds=*/*.jsonl*"))
        raw = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in files]
        return [json.loads(line) for text in raw for line in text.splitlines()]

    def stock(self, item_id: str, count: int) -> int:
        """Feed an item's stock; the answer's status."""
        return self.feed.post("/items", content=f'{{"item_id":"{item_id}","stock":{count}}}').status_code

    def shelf(self, **parameters: str | int) -> dict[str, Any]:
        """The answer of `GET /recommendations`."""
        answer = self.http.get("/recommendations", params=parameters)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ids(self, **parameters: str | int) -> list[str]:
        """The ids of the recommended items."""
        return [row["item_id"] for row in self.shelf(**parameters)["recommendations"]]


@contextmanager
def serving(
    folder: Path,
    *options: str,
    ready: bool = True,
    store: str = "",
    workers: int = 1,
    keyed: bool = False,
    rate: str = "100000/second",
    open_files: int = 0,
    port: int = 0,
    may_end: bool = False,
) -> Iterator[Server]:
    """Run the endpoint on a port, a free one if none is given, until the block ends.

    Each of its processes may open `open_files`, if given. With `may_end` it may end before it is ready.
    """
    port, keys = port or free_port(), {}
    if keyed:
        keys = {scope: create(folder / "state" / "keys.json", (scope,), scope, rate)[1] for scope in SCOPES}
    command = [sys.executable, "-m", "serving", "serve", "--port", str(port), "--workers", str(workers)]
    command += ["--store", store or f"lmdb://{folder}/store", "--landing", f"{folder}/landing"]
    command += ["--state", f"{folder}/state", *options]
    with (folder / "server.log").open("ab") as log:
        limit = ["prlimit", f"--nofile={open_files}:{open_files}"] if open_files else []
        process = subprocess.Popen([*limit, *command], stdout=log, stderr=log, env=os.environ)
    server = Server(folder, port, process, keys)
    try:
        assert within(_START_S, lambda: server.answers("/readyz" if ready else "/healthz", may_end))
        yield server
    finally:
        server.http.close()
        process.terminate()
        process.wait(30)


def is_alive(pid: int | None) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2][:3]
    except FileNotFoundError:
        return False


def publish_night(folder: Path, day: str, **options: Any) -> str:
    """Publish a small shop's night to the store in `folder`; return its version."""
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        return publish(night(day, **options), store).manifest.version


def within(timeout_s: float, holds: Callable[[], bool]) -> bool:
    """Whether a condition holds before the time is over; it is tried again and again."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return holds()
