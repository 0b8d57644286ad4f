"""The endpoint as a process of its own on a free port, for the tests that meet it as its callers do."""

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

from jobs.publishing.publish import publish
from serving.api.keys import SCOPES, create
from serving.stores import open_store
from tests.serving.servers import free_port
from tests.serving.small_shop import night

STALE_OK_S = 1.5  # a second, and a machine that is busy with other tests


class Server:
    """A running endpoint. `keys` holds a key of each scope where it was started with keys."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes], keys: dict[str, str]) -> None:
        self.folder, self.process, self.port, self.keys = folder, process, port, keys
        self.http = self.client("read")
        self.feed = self.client("feed")
        self.admin = self.client("admin")

    def client(self, scope: str = "", **headers: str) -> httpx.Client:
        """A client of its own connections, so that it may meet another worker."""
        if scope in self.keys:
            headers["authorization"] = f"Bearer {self.keys[scope]}"
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, headers=headers)

    def workers(self) -> list[int]:
        """The process ids of the workers, where there are several."""
        return [pid for pid, command in self._children() if b"spawn_main" in command]

    def lander(self) -> int:
        """The process id of the lander."""
        return next(pid for pid, command in self._children() if b"\0land\0" in command)

    def _children(self) -> Iterator[tuple[int, bytes]]:
        for tasks in Path(f"/proc/{self.process.pid}/task").glob("*/children"):  # each thread's own
            for pid in tasks.read_text().split():
                with suppress(FileNotFoundError):
                    yield int(pid), Path(f"/proc/{pid}/cmdline").read_bytes()

    def landed(self, table: str) -> list[dict[str, Any]]:
        """Every row that lies under landing now."""
        files = sorted((self.folder / "landing" / table).glob("ds=*/*.jsonl"))
        return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]

    def shelf(self, **asked: object) -> dict[str, Any]:
        answer = self.http.get("/recommendations", params=asked)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ids(self, **asked: object) -> list[str]:
        return [row["item_id"] for row in self.shelf(**asked)["recommendations"]]


@contextmanager
def serving(
    folder: Path,
    *options: str,
    ready: bool = True,
    store: str = "",
    workers: int = 1,
    keyed: bool = False,
    rate: str = "100000/second",
) -> Iterator[Server]:
    """Run the endpoint on a free port until the block ends."""
    port, keys = free_port(), {}
    if keyed:
        keys = {scope: create(folder / "state" / "keys.json", (scope,), scope, rate)[1] for scope in SCOPES}
    command = [sys.executable, "-m", "serving", "serve", "--port", str(port), "--workers", str(workers)]
    command += ["--store", store or f"lmdb://{folder}/store", "--landing", f"{folder}/landing"]
    command += ["--state", f"{folder}/state", *options]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)
    server = Server(folder, port, process, keys)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if server.http.get("/readyz" if ready else "/healthz").status_code == 200:
                    break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.05)
        yield server
    finally:
        server.http.close()
        process.terminate()
        process.wait(30)


def publish_night(folder: Path, day: str, **options: Any) -> str:
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        return publish(night(day, **options), store).manifest.version


def within(timeout_s: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return holds()
