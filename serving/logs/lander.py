"""The lander: one process a host that brings exposures and events to `landing/`, and keeps the logs short.

    python -m serving land --landing data/landing --state data/store/live      (`serve` starts one by itself)

    landing/exposures/ds=DAY/HH-<host>-<instance>.jsonl     a row an item shown, by the hour
    landing/events/ds=DAY/HH-<host>-<instance>.jsonl        each event once, by the day and hour it was received

How far it came stands in `landed.mdb` and is changed in one step with the event ids seen. What was written beyond
that when it died is cut off again, so every line is landed exactly once.
"""

import hashlib
import logging
import os
import secrets
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from serving.logs.events import landed
from serving.logs.exposures import Shown
from serving.logs.file_log import FileLog
from serving.settings import EndpointSettings
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filled_shelf import SLOT_TYPES
from serving.shelf.item_state import compacted
from serving.snapshot.record import SOURCES

_LOG = logging.getLogger(__name__)
POLL_S = 0.25
SWEEP_S = 30.0
KEEP_EVENTS_S = 25 * 3600  # workers that start read this much of users' actions again
_MAP_BYTES = 4 << 30
_MARK_AFTER_S = 900  # a day's late senders have so long before the day is marked complete
_SUCCESS = "_SUCCESS"  # the empty file that marks a day of landing as complete
_DECODER, _ENCODER = msgspec.json.Decoder(Shown), msgspec.json.Encoder()


class Progress(msgspec.Struct):
    """How far one log is landed: the reader's mark, and the size of every file of the last two days."""

    mark: tuple[int, int] = (0, 0)
    files: dict[str, int] = {}


Split = Callable[[bytes, Any], dict[str, list[bytes]]]  # lines of a log -> lines by file name under landing


class Lander:
    """Lands the two logs of a host's workers; `step` does what is due and is called again and again."""

    def __init__(self, landing: Path, spool: FileLog, events: FileLog, state: Path) -> None:
        self._landing, self._spool, self._events = landing, spool, events
        state.mkdir(parents=True, exist_ok=True)
        self._env = lmdb.open(str(state / "landed.mdb"), subdir=False, map_size=_MAP_BYTES, metasync=False)
        self._name = f"{socket.gethostname()}-{_instance(state)}.jsonl"
        self._readers = {name: log.reader(self._mend(name)) for name, log in self._logs()}

    def _logs(self) -> Iterable[tuple[str, FileLog]]:
        return ("exposures", self._spool), ("events", self._events)

    def _progress(self, name: str, txn: Any) -> Progress:
        stored = txn.get(name.encode())
        return Progress() if stored is None else msgspec.json.decode(stored, type=Progress)

    def _mend(self, name: str) -> tuple[int, int]:
        """Cut off what was written beyond the progress told: where to go on."""
        with self._env.begin() as txn:
            progress = self._progress(name, txn)
        for file, size in progress.files.items():
            path = self._landing / file
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)
        return progress.mark

    def step(self) -> int:
        """Land what is there, at most a block of each log: the number of lines."""
        return self._land("exposures", self._exposure_rows) + self._land("events", self._event_rows)

    def _land(self, name: str, split: Split) -> int:
        reader = self._readers[name]
        before = reader.mark
        block = reader.read()
        if not block:
            return 0
        try:
            while not self._landed(name, block, split):
                pass
        except BaseException:
            reader.close()
            self._mend(name)
            self._readers[name] = dict(self._logs())[name].reader(before)
            raise
        return block.count(b"\n")

    def _landed(self, name: str, block: bytes, split: Split) -> bool:
        """Land a block and say so in one step; False where a file had to be made known first."""
        txn = self._env.begin(write=True)
        try:
            by_file, progress = split(block, txn), self._progress(name, txn)
            unknown = by_file.keys() - progress.files.keys()
            if not unknown:
                for file, lines in by_file.items():
                    progress.files[file] = _append(self._landing / file, b"".join(lines), progress.files[file])
                progress.mark = self._readers[name].mark
                txn.put(name.encode(), _ENCODER.encode(progress))
                txn.commit()
                return True
        finally:
            txn.abort()  # nothing, once it is committed
        # Known before it is first written, so that what a death leaves in it can be cut off.
        with self._env.begin(write=True) as txn:
            sizes = {file: path.stat().st_size for file in unknown if (path := self._landing / file).exists()}
            progress = self._progress(name, txn)
            progress.files = _recent({**progress.files, **dict.fromkeys(unknown, 0), **sizes})
            txn.put(name.encode(), _ENCODER.encode(progress))
        return False

    def _exposure_rows(self, block: bytes, _: Any) -> dict[str, list[bytes]]:
        by_file: dict[str, list[bytes]] = defaultdict(list)
        for line in block.splitlines():
            try:
                shown = _DECODER.decode(line)
            except msgspec.MsgspecError:
                _LOG.error("a line of the spool is no answer and is left out: %.80s", line)
                continue
            at = time.gmtime(shown.ts_ms // 1000)
            by_file[time.strftime(f"exposures/ds=%Y-%m-%d/%H-{self._name}", at)].append(exposure_rows(shown))
        return by_file

    def _event_rows(self, block: bytes, txn: Any) -> dict[str, list[bytes]]:
        by_file: dict[str, list[bytes]] = defaultdict(list)
        for line in block.splitlines():
            try:
                event = _EVENT.decode(line)
            except msgspec.MsgspecError:
                continue  # never acknowledged
            at = time.gmtime(event.received)
            seen = b"e" + hashlib.blake2b(event.event_id.encode(), digest_size=16).digest()
            if txn.put(seen, time.strftime("%Y-%m-%d", at).encode(), overwrite=False):
                by_file[time.strftime(f"events/ds=%Y-%m-%d/%H-{self._name}", at)].append(landed(line) + b"\n")
        return by_file

    # Housekeeping -------------------------------------------------------------------------------------------

    def sweep(self, now_s: float) -> None:
        """Remove segments that are landed and no longer read, and event ids of before yesterday."""
        for name, log in self._logs():
            behind = [number for number in log.segments() if number < self._readers[name].mark[0]]
            if name == "events":
                behind = [n for n in behind if log.path(n).stat().st_mtime < now_s - KEEP_EVENTS_S]
            log.drop(behind)
        yesterday = (datetime.fromtimestamp(now_s, UTC) - timedelta(days=1)).strftime("%Y-%m-%d").encode()
        with self._env.begin(write=True) as txn, txn.cursor() as cursor:
            found = cursor.set_range(b"e\0")
            while found and cursor.key()[:1] == b"e" and len(cursor.key()) == 17:
                found = cursor.delete() and bool(cursor.key()) if cursor.value() < yesterday else cursor.next()

    def mark_days(self, now_s: float) -> None:
        """Mark every day of events that has ended as complete, and days between on which none came."""
        until = datetime.fromtimestamp(now_s - _MARK_AFTER_S, UTC).date()
        folder = self._landing / "events"
        days = sorted(path.name[3:] for path in folder.glob("ds=*")) if folder.exists() else []
        if not days:
            return
        day = datetime.strptime(days[0], "%Y-%m-%d").date()
        while day < until:
            marked = folder / f"ds={day}" / _SUCCESS
            if not marked.exists():
                marked.parent.mkdir(exist_ok=True)
                marked.touch()
            day += timedelta(days=1)

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._env.close()


class _EventKey(msgspec.Struct, frozen=True):
    event_id: str
    received: float


_EVENT = msgspec.json.Decoder(_EventKey)


def _instance(state: Path) -> str:
    """A name of this state folder, made once: two endpoints of a host never write to one file."""
    path = state / "instance"
    if not path.exists():
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(secrets.token_hex(4))
        beside.replace(path)
    return path.read_text()


def _recent(files: dict[str, int]) -> dict[str, int]:
    """The newest files; older ones are not written to again."""
    return dict(sorted(files.items(), key=lambda pair: pair[0].split("/")[1:])[-64:])


def _append(path: Path, data: bytes, size: int) -> int:
    """Append at `size`, which is the file's end: the new size. Raises OSError, with nothing appended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) or 0 :]
        except OSError:
            file.truncate(size)
            raise
    return size + len(data)


class _Item(msgspec.Struct, frozen=True):
    item_id: str
    score: float


class _Answer(msgspec.Struct, frozen=True):
    """What the exposures need of an answer's body."""

    recommendations: list[_Item]
    request_id: str


_ANSWER = msgspec.json.Decoder(_Answer)


def exposure_rows(shown: Shown) -> bytes:
    """One JSON line an item shown, in the design's schema; `position` counts from 0."""
    answer = _ANSWER.decode(shown.answer)
    common = _ENCODER.encode(_common(shown, answer.request_id)).decode()[1:]
    columns = zip(
        answer.recommendations,
        shown.levels,
        shown.sources,
        shown.slots,
        shown.propensities,
        shown.eligible,
        shown.prices_minor,
        strict=True,
    )
    return "".join(
        f'{{"item_id":{_text(item.item_id)},"score":{item.score!r},"position":{place},'
        f'"slot_type":"{SLOT_TYPES[slot]}","fill_level":"{LEVELS[level]}","source":"{SOURCES[source]}",'
        f'"propensity":{propensity!r},"eligible_count":{eligible},'
        f'"price_minor":{"null" if price < 0 else price},{common}\n'
        for place, (item, level, source, slot, propensity, eligible, price) in enumerate(columns)
    ).encode()


def _text(value: str) -> str:
    return _ENCODER.encode(value).decode()


def _common(shown: Shown, request_id: str) -> dict[str, Any]:
    """What all rows of an answer share."""
    snapshot, overlay, model_version, policy_version = shown.made_by
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(shown.ts_ms // 1000))
    return {
        "request_id": request_id,
        "ts": f"{second}.{shown.ts_ms % 1000:03d}Z",
        "user_id": shown.user_id,
        "snapshot": snapshot,
        "overlay": overlay,
        "model_version": model_version,
        "policy_version": policy_version,
        "arms": {},
        "page": shown.page,
        "device": shown.device,
        "location": shown.location,
        "limit": shown.limit,
        "filters": shown.filters,
    }


def run(settings: EndpointSettings, parent: int | None = None, *, once: bool = False) -> None:
    """Land until SIGTERM, or until `parent` is gone; what is left then is landed first. `once` does that alone."""
    from serving.logs.host_logs import event_log, item_log, spool

    stopping = [1] if once else []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(1))
    items, lander = item_log(settings), Lander(settings.landing, spool(settings), event_log(settings), settings.state)
    swept = 0.0
    while not stopping and (parent is None or os.getppid() == parent):
        lines = _told(lander.step)
        if time.monotonic() - swept > SWEEP_S:
            swept = time.monotonic()
            _told(lambda: lander.sweep(time.time()))
            _told(lambda: items.fold(compacted))
            if settings.mark_events:
                _told(lambda: lander.mark_days(time.time()))
        if not lines:
            time.sleep(POLL_S)
    while _told(lander.step):
        pass
    lander.close()


def _told(step: Callable[[], int | None]) -> int:
    """Do a step; what fails is told and done again later."""
    try:
        return step() or 0
    except (OSError, lmdb.Error) as error:
        _LOG.error("the lander tries again: %s", error)
        return 0
