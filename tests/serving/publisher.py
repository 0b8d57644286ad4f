"""Publishers in their own processes, for tests that kill them, and a check that a version is complete."""

import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import suppress
from typing import Self

from serving.snapshot.own_lists import holds_own_lists
from serving.snapshot.record import decode, shard_of, user_of
from serving.stores.protocols import Store

_FORKING_PROGRAM = """
import os, select, sys
from contextlib import closing
from dataclasses import replace
from datetime import date
from jobs.publishing.publish import publish
from serving.stores import open_store
from tests.serving.small_shop import night

made = night(n_users=600, n_items=200, top_n=60)
tables = [(made.shelves(shard), made.users(shard)) for shard in range(made.n_shards)]
made = replace(made, shelves=lambda shard: tables[shard][0], users=lambda shard: tables[shard][1])

def publisher(url, day):
    try:
        with closing(open_store(url)) as store:
            publish(replace(made, ds=date.fromisoformat(day)), store)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)

print("ready", flush=True)
children = {}
while True:
    if select.select([sys.stdin], [], [], 0.01)[0]:
        line = sys.stdin.readline()  # one at a time: the next comes after the answer to this one
        if not line:
            break
        name, url, day = line.split()
        child = os.fork()
        if child == 0:
            publisher(url, day)
        children[child] = name
        print("started", name, child, flush=True)
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            break
        print("ended", children.pop(child), os.waitstatus_to_exitcode(status), flush=True)
"""


class Publishers:
    """One process imports what publishing needs once, and forks a publisher for each `start`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKING_PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
        )
        self._messages: dict[str, queue.Queue[int]] = {}
        self._request_lock = threading.Lock()

    def __enter__(self) -> Self:
        assert self._line() == "ready"
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def _listen(self) -> None:
        while line := self._line():
            event, name, number = line.split()
            self._messages[f"{event} {name}"].put(int(number))

    def start(self, url: str, day: str) -> "Publisher":
        """Start publishing a night of 600 users into a store."""
        name = uuid.uuid4().hex
        for event in ("started", "ended"):
            self._messages[f"{event} {name}"] = queue.Queue()
        assert self._process.stdin is not None
        with self._request_lock:
            self._process.stdin.write(f"{name} {url} {day}\n".encode())
            self._process.stdin.flush()
            process_id = self._messages[f"started {name}"].get(timeout=60)
        return Publisher(process_id, self._messages[f"ended {name}"])


class Publisher:
    """One publisher in its own process."""

    def __init__(self, process_id: int, ended: "queue.Queue[int]") -> None:
        self._process_id, self._ended = process_id, ended

    def wait(self) -> int:
        """Wait for its end. Return its exit status."""
        return self._ended.get(timeout=300)

    def kill(self) -> int:
        """Kill it with SIGKILL if it still runs. Return its exit status."""
        with suppress(ProcessLookupError):
            os.kill(self._process_id, signal.SIGKILL)
        return self.wait()


def whole(store: Store, version: str) -> bool:
    """Return whether a version holds a shelf of every user; every record must be readable and in its shard."""
    stored = store.open(version)
    count = 0
    for shard in range(stored.manifest.n_shards):
        for key, record in stored.scan(shard):
            assert shard_of(user_of(key), stored.manifest.n_shards) == shard
            assert len(decode(record)) > 0
            count += not holds_own_lists(key)
    return count == stored.manifest.users
