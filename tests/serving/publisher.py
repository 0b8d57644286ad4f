"""Publishers in processes of their own, to be killed, and the check that a version is whole."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Self

from serving.record import decode, shard_of
from serving.stores import Store

_NURSERY = """
import os, sys
from contextlib import closing
from jobs.publish import publish
from serving.stores import open_store
from tests.serving.small_shop import night
print("ready", flush=True)
for line in sys.stdin:
    url, day = line.split()
    child = os.fork()
    if child == 0:
        try:
            with closing(open_store(url)) as store:
                publish(night(day, n_users=600, n_items=200, top_n=60), store)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Publishers:
    """One process imports what publishing needs, and forks a publisher whenever one is asked for."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
        )

    def __enter__(self) -> Self:
        assert self._line() == "ready"
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def start(self, url: str, day: str) -> int:
        """Start a publisher: its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{url} {day}\n".encode())
        self._process.stdin.flush()
        return int(self._line())

    def wait(self) -> int:
        """The exit status of the publisher that was started last."""
        return int(self._line())

    def kill(self, publisher: int) -> int:
        """Kill the publisher that was started last, if it still runs: its exit status."""
        with suppress(ProcessLookupError):
            os.kill(publisher, signal.SIGKILL)
        return self.wait()


def whole(store: Store, of: str) -> bool:
    """Whether every record of a version belongs to it and is whole."""
    stored = store.open(of)
    count = 0
    for shard in range(stored.manifest.n_shards):
        for key, record in stored.scan(shard):
            assert shard_of(key, stored.manifest.n_shards) == shard
            assert len(decode(record)) > 0
            count += 1
    return count == stored.manifest.users
