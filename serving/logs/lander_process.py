"""The lander as a process, one per host: it lands the logs, keeps them short, and marks days of events as complete.

    python -m serving land --landing data/landing --state data/store/live

`python -m serving serve` starts one beside its workers (`LanderProcess`).
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Protocol

import lmdb

from serving.lasting_task import LastingTask
from serving.logs.complete_days import CompleteDays, oldest_event_s
from serving.logs.erasures import land_erasures
from serving.logs.file_log import Mark
from serving.logs.host_logs import event_log, item_log, shared_logs, spool
from serving.logs.lander import Lander
from serving.logs.landing_record import LanderRunsError
from serving.settings import EndpointSettings
from serving.shelf.item_state import compacted
from serving.shelf.published_blobs import PublishedBlobs
from serving.snapshot.blobs import Strings
from serving.snapshot.manifest import StoreError
from serving.stores import open_store
from serving.stores.places import place_of

_LOG = logging.getLogger(__name__)
POLL_S = 0.25
SWEEP_S = 30.0
_LONGEST_WAIT_S = 5.0
_RESTART_S, _LONGEST_RESTART_S = 1.0, 4.0
_STOP_S = 20.0
_TASKS = {
    "land": "what was logged is landed later",
    "land_erasures": "erasures are landed later; the endpoint heeds them already",
    "sweep": "logs are swept later",
    "fold": "the log of item changes is folded later",
    "mark": "days are marked as complete later",
}
CountFailures = Callable[[Iterable[LastingTask]], None]
"""Takes the failures of tasks, and what they are in now, to where the host's metrics are."""


def run(
    settings: EndpointSettings, count_failures: CountFailures, parent: int | None = None, *, once: bool = False
) -> None:
    """Land until SIGTERM or SIGINT, or until the process `parent` has ended, and then what is left.

    With `once` it lands what is there and returns, and leaves it to another process that lands these logs already.
    Otherwise it waits until that one ends.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    items, (shared_events, _) = item_log(settings), shared_logs(settings)
    complete_days = CompleteDays(settings.landing)

    def goes_on() -> bool:
        return not (once or stopping.is_set()) and (parent is None or os.getppid() == parent)

    expected = (OSError, lmdb.Error, StoreError)
    landing, erasing, sweeping, folding, marking = tasks = tuple(
        LastingTask(name, meanwhile, every_s=POLL_S, longest_wait_s=_LONGEST_WAIT_S, expected=expected)
        for name, meanwhile in _TASKS.items()
    )
    lander = _open_lander(settings, landing, goes_on)
    if lander is None:
        return
    swept = 0.0
    while goes_on():
        line_count = 0
        with landing.attempt():
            line_count = lander.step()
        with erasing.attempt():
            land_erasures(settings)
        if time.monotonic() - swept > SWEEP_S:
            swept = time.monotonic()
            with sweeping.attempt():
                lander.sweep(time.time())
                if shared_events is not None:
                    shared_events.trim()
            with folding.attempt():
                items.fold(lambda lines: compacted(lines, live_item_ids(settings.store), time.time()))
            with marking.attempt():
                if settings.mark_events:
                    complete_days.mark(time.time(), oldest_event_s(event_log(settings), lander.mark("events")))
        count_failures(tasks)
        if not line_count:
            stopping.wait(max(landing.wait_s, erasing.wait_s))
    with erasing.attempt():
        land_erasures(settings)
    with landing.attempt():
        lander.finish()
    count_failures(tasks)
    lander.close()


class HostLander(Protocol):
    """Lands the logs of a host; every method raises OSError, lmdb.Error or StoreError, and may be called again."""

    def step(self) -> int:
        """Land what is due; return the number of lines."""

    def finish(self) -> None:
        """Land all that is there."""

    def mark(self, name: str) -> Mark:
        """Up to where the log of this name is landed."""

    def sweep(self, now_s: float) -> None:
        """Remove what is landed and no longer read."""

    def close(self) -> None: ...


def _open_lander(settings: EndpointSettings, landing: LastingTask, goes_on: Callable[[], bool]) -> HostLander | None:
    """The lander of a state folder; None where it cannot be opened until this process is to end."""
    lander = None
    while lander is None:
        with landing.attempt():
            lander = _free_lander(settings)
        if lander is None:
            if not goes_on():
                return None
            time.sleep(landing.wait_s)
    return lander


def _free_lander(settings: EndpointSettings) -> HostLander | None:
    """The lander of a state folder; None while another process holds it. Raises OSError or lmdb.Error."""
    place, logs = place_of(settings.landing), (spool(settings), event_log(settings))
    try:
        if isinstance(place, Path):
            return Lander(place, *logs, settings.state)
        from serving.logs.object_lander import ObjectLander  # boto3 is imported only where landing is on S3

        return ObjectLander(settings, *logs)
    except LanderRunsError:
        return None


def live_item_ids(store_url: str) -> Strings | None:
    """The sorted item ids of the live snapshot; None where there is none, or where it cannot be read now."""
    try:
        with closing(open_store(store_url)) as store:
            version = store.pointer().live
            if version is None:
                return None
            with closing(store.open(version)) as stored:
                return PublishedBlobs(stored).strings("item_ids")
    except StoreError as error:
        _LOG.warning("items that the catalogue lacks stay in the log of item changes: %s", error)
        return None


class LanderProcess:
    """Runs the lander as a child of this process, and starts it again whenever it ends.

    The child reads its settings from the environment (`EndpointSettings.to_environment`).
    """

    def __init__(self, count_failures: CountFailures) -> None:
        self._task = LastingTask(
            "lander",
            "it is started again",
            every_s=_RESTART_S,
            longest_wait_s=_LONGEST_RESTART_S,
            expected=(ChildProcessError,),
        )
        self._count_failures = count_failures
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._start()
        arguments = (self._restart_when_ended, self._stopping)
        threading.Thread(target=self._task.repeat_in_thread, args=arguments, daemon=True).start()

    def _start(self) -> None:
        with self._starting:
            if not self._stopping.is_set():
                command = [sys.executable, "-m", "serving", "land", "--parent", str(os.getpid())]
                self._process = subprocess.Popen(command)

    def _restart_when_ended(self) -> None:
        """Wait until the lander ends. Raises OSError, that it ended, for the next attempt to start it again."""
        self._count_failures([self._task])
        if self._process is None:
            self._start()
        if self._process is not None:
            status = self._process.wait()
            if not self._stopping.is_set():
                self._process = None
                raise ChildProcessError(f"the lander ended with status {status}")

    def stop(self) -> None:
        """Let the lander land what is left, and end it."""
        with self._starting:
            self._stopping.set()
        process = self._process
        try:
            if process is not None:
                process.terminate()
            if process is None or process.wait(_STOP_S) != 0:  # it was killed, or not yet ready for the signal
                subprocess.run([sys.executable, "-m", "serving", "land", "--once"], timeout=_STOP_S, check=False)
        except subprocess.TimeoutExpired:
            if process is not None:
                process.kill()  # the next start lands the rest
