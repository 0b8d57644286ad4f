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
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lmdb

from serving.logs.host_logs import event_log, item_log, spool
from serving.logs.lander import Lander, LanderRunsError
from serving.settings import EndpointSettings
from serving.shelf.item_state import compacted

_LOG = logging.getLogger(__name__)
POLL_S = 0.25
SWEEP_S = 30.0
_RESTART_S = 1.0
_STOP_S = 20.0
_MARK_AFTER_S = 900  # late senders have this long after a day's end before the day is marked complete
_SUCCESS = "_SUCCESS"  # the empty file that marks a day of landing as complete


def run(settings: EndpointSettings, parent: int | None = None, *, once: bool = False) -> None:
    """Land until SIGTERM or SIGINT, or until the process `parent` has ended, and then what is left.

    With `once` it lands what is there and returns, and leaves it to another process that lands these logs already.
    Otherwise it waits until that one ends.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    items = item_log(settings)

    def goes_on() -> bool:
        return not (once or stopping.is_set()) and (parent is None or os.getppid() == parent)

    lander = _open_lander(settings, goes_on)
    if lander is None:
        return
    swept = 0.0
    while goes_on():
        line_count = _attempt(lander.step)
        if time.monotonic() - swept > SWEEP_S:
            swept = time.monotonic()
            _attempt(lambda: lander.sweep(time.time()))
            _attempt(lambda: items.fold(compacted))
            if settings.mark_events:
                _attempt(lambda: mark_complete_days(settings.landing, time.time()))
        if not line_count:
            time.sleep(POLL_S)
    while _attempt(lander.step):
        pass
    lander.close()


def _open_lander(settings: EndpointSettings, goes_on: Callable[[], bool]) -> Lander | None:
    """The lander of a state folder; None where another process lands it until this one is to end."""
    while True:
        try:
            return Lander(settings.landing, spool(settings), event_log(settings), settings.state)
        except LanderRunsError:
            if not goes_on():
                return None
            time.sleep(POLL_S)


def _attempt(step: Callable[[], int | None]) -> int:
    """Do a step and return its count, or 0. An error is logged; the step is due again later."""
    try:
        return step() or 0
    except (OSError, lmdb.Error) as error:
        _LOG.error("the lander tries again: %s", error)
        return 0


def mark_complete_days(landing: Path, now_s: float) -> None:
    """Write `_SUCCESS` for every day from the first day of events on that ended at least 15 minutes ago."""
    end = datetime.fromtimestamp(now_s - _MARK_AFTER_S, UTC).date()
    folder = landing / "events"
    days = sorted(path.name.removeprefix("ds=") for path in folder.glob("ds=*"))
    if not days:
        return
    day = datetime.strptime(days[0], "%Y-%m-%d").date()
    while day < end:
        mark = folder / f"ds={day}" / _SUCCESS
        if not mark.exists():
            mark.parent.mkdir(exist_ok=True)
            mark.touch()
        day += timedelta(days=1)


class LanderProcess:
    """Runs the lander as a child of this process, and starts it again whenever it ends.

    The child reads its settings from the environment (`EndpointSettings.to_environment`).
    """

    def __init__(self) -> None:
        self._stopping = False
        self._process = self._start()
        threading.Thread(target=self._restart_when_ended, daemon=True).start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "serving", "land", "--parent", str(os.getpid())])

    def _restart_when_ended(self) -> None:
        while not self._stopping:
            self._process.wait()
            time.sleep(_RESTART_S)
            if not self._stopping:
                self._process = self._start()

    def stop(self) -> None:
        """Let the lander land what is left, and end it."""
        self._stopping = True
        self._process.terminate()
        try:
            if self._process.wait(_STOP_S) != 0:  # it was killed, or not yet ready for the signal
                subprocess.run([sys.executable, "-m", "serving", "land", "--once"], timeout=_STOP_S, check=False)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the next start lands the rest
