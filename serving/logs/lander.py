"""Lands the logs of one host: the spool of exposures and the log of events become files under `landing/`.

    landing/exposures/ds=DAY/HH-<host>-<instance>.jsonl.gz  a row per answer, by the hour it was given
    landing/events/ds=DAY/HH-<host>-<instance>.jsonl        each event once, by the day and hour it was received

Every line is landed exactly once: one LMDB transaction in `landed.mdb` records how far a log is landed, the sizes of
the files then, and the ids of the events. What a lander wrote beyond those sizes before it died is cut off. Each
block of a `.gz` is a gzip member of its own, so that what is left is whole.
"""

import gzip
import hashlib
import logging
import os
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from serving.logs.events import without_received
from serving.logs.exposure_rows import exposure_row
from serving.logs.exposures import Shown
from serving.logs.file_log import FileLog, Mark
from serving.shelf.recent_actions import MAX_AGE_S
from serving.snapshot.manifest import NOT_JSON
from serving.stores.files import take_lock

_LOG = logging.getLogger(__name__)
_MAP_BYTES = 4 << 30
_KEPT_FILES = 64
_GZIP_LEVEL = 1  # takes a third of the time of the usual 6, for a fifth more bytes
_EVENT_ID = b"e"  # keys of event ids: this byte and a digest of 16 bytes
_SHOWN, _ENCODER = msgspec.json.Decoder(Shown), msgspec.json.Encoder()

Transaction = Any  # lmdb ships no types
LinesByFile = dict[str, list[bytes]]  # file names under `landing/`
Split = Callable[[bytes, Transaction], LinesByFile]


class LanderRunsError(Exception):
    """Another process lands the logs of this state folder."""


class Progress(msgspec.Struct):
    """How far one log is landed: the reader's mark, and the sizes of the newest files."""

    mark: Mark = (0, 0)
    files: dict[str, int] = {}


class Lander:
    """Lands both logs of a host. `step` lands what is there; call it again and again."""

    def __init__(self, landing: Path, spool: FileLog, events: FileLog, state: Path) -> None:
        self._landing = landing
        self._logs = {"exposures": spool, "events": events}
        self._lock = take_lock(state / "lander.lock")
        if self._lock is None:
            raise LanderRunsError(
                f"another lander lands {state}; the endpoint that runs there lands all that it takes"
            )
        try:
            # Without LMDB's own lock: its file is mapped with holes in it, so a full disk would kill this process.
            path = str(state / "landed.mdb")
            self._env = lmdb.open(path, subdir=False, map_size=_MAP_BYTES, metasync=False, lock=False)
            self._file_name = f"{socket.gethostname()}-{_instance(state)}"
            self._readers = {name: log.reader(self._cut_off_unrecorded(name)) for name, log in self._logs.items()}
        except BaseException:
            os.close(self._lock)
            raise

    def step(self) -> int:
        """Land at most a block of each log; return the number of lines. Raises OSError or lmdb.Error."""
        return self._land("exposures", self._split_exposures) + self._land("events", self._split_events)

    def _progress(self, name: str, txn: Transaction) -> Progress:
        stored = txn.get(name.encode())
        return Progress() if stored is None else msgspec.json.decode(stored, type=Progress)

    def _cut_off_unrecorded(self, name: str) -> Mark:
        """Cut files back to their recorded sizes; return where to go on in the log."""
        with self._env.begin() as txn:
            progress = self._progress(name, txn)
        for file, size in progress.files.items():
            path = self._landing / file
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)
        return progress.mark

    def _land(self, name: str, split: Split) -> int:
        reader = self._readers[name]
        mark_before = reader.mark
        block = reader.read()
        if not block:
            return 0
        try:
            while not self._land_block(name, block, split):
                pass
        except BaseException:
            reader.close()
            self._cut_off_unrecorded(name)
            self._readers[name] = self._logs[name].reader(mark_before)
            raise
        return block.count(b"\n")

    def _land_block(self, name: str, block: bytes, split: Split) -> bool:
        """Land a block and record it in one transaction. False if it only recorded new files: call it again."""
        txn = self._env.begin(write=True)
        try:
            lines_by_file, progress = split(block, txn), self._progress(name, txn)
            new_files = lines_by_file.keys() - progress.files.keys()
            if not new_files:
                for file, lines in lines_by_file.items():
                    progress.files[file] = _append(self._landing / file, _file_bytes(file, lines))
                progress.mark = self._readers[name].mark
                txn.put(name.encode(), _ENCODER.encode(progress))
                txn.commit()
                return True
        finally:
            txn.abort()  # does nothing after a commit
        # A file is recorded before it is first written to, so that a dead lander's lines can be cut off.
        with self._env.begin(write=True) as txn:
            sizes = {file: path.stat().st_size for file in new_files if (path := self._landing / file).exists()}
            progress = self._progress(name, txn)
            known = {**dict.fromkeys(lines_by_file, 0), **progress.files, **sizes}
            # All files of the block, however many and old: a file that is left out would be new for ever.
            progress.files = _newest(progress.files) | {file: known[file] for file in lines_by_file}
            txn.put(name.encode(), _ENCODER.encode(progress))
        return False

    def _split_exposures(self, block: bytes, _: Transaction) -> LinesByFile:
        lines_by_file: LinesByFile = defaultdict(list)
        for line in block.splitlines():
            try:
                shown = _SHOWN.decode(line)
                second = time.gmtime(shown.ts_ms // 1000)
                file = time.strftime(f"exposures/ds=%Y-%m-%d/%H-{self._file_name}.jsonl.gz", second)
                row = exposure_row(shown)
            except Exception:  # whatever is wrong with a line, it may not keep all others from being landed
                _LOG.exception("a line of the spool cannot be read and is left out: %.80s", line)
                continue
            lines_by_file[file].append(row)
        return lines_by_file

    def _split_events(self, block: bytes, txn: Transaction) -> LinesByFile:
        lines_by_file: LinesByFile = defaultdict(list)
        for line in block.splitlines():
            try:
                event = _EVENT_KEY.decode(line)
                received, landed_line = time.gmtime(event.received), without_received(line) + b"\n"
            except (*NOT_JSON, OSError):
                continue  # a crash tore the line, which was never acknowledged
            key = _EVENT_ID + hashlib.blake2b(event.event_id.encode(), digest_size=16).digest()
            if txn.put(key, time.strftime("%Y-%m-%d", received).encode(), overwrite=False):
                file = time.strftime(f"events/ds=%Y-%m-%d/%H-{self._file_name}.jsonl", received)
                lines_by_file[file].append(landed_line)
        return lines_by_file

    def sweep(self, now_s: float) -> None:
        """Remove segments that are landed and no longer read, and the ids of events from before yesterday.

        Workers that start read MAX_AGE_S of the event log again, for users' last actions. A segment has lines of half
        an hour at most, so no line stays longer than 25 hours, and none of the spool for more than one.
        """
        for name, log in self._logs.items():
            log.roll()
            landed = [segment for segment in log.segments() if segment < self._readers[name].mark[0]]
            if name == "events":
                old = log.older_than(now_s - MAX_AGE_S)
                landed = [segment for segment in landed if segment in old]
            log.drop(landed)
        yesterday = (datetime.fromtimestamp(now_s, UTC) - timedelta(days=1)).strftime("%Y-%m-%d").encode()
        with self._env.begin(write=True) as txn, txn.cursor() as cursor:
            at_key = cursor.set_range(_EVENT_ID + b"\0")
            while at_key and cursor.key()[:1] == _EVENT_ID and len(cursor.key()) == 17:
                at_key = cursor.delete() and bool(cursor.key()) if cursor.value() < yesterday else cursor.next()

    def close(self) -> None:
        """Close the logs and the record of what is landed, and let another lander begin."""
        for reader in self._readers.values():
            reader.close()
        self._env.close()
        assert self._lock is not None
        os.close(self._lock)


class _EventKey(msgspec.Struct, frozen=True):
    event_id: str
    received: float


_EVENT_KEY = msgspec.json.Decoder(_EventKey)


def _instance(state: Path) -> str:
    """A random name of this state folder, made once, so that two endpoints of a host never write to the same file."""
    path = state / "instance"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(secrets.token_hex(4))
        partial.replace(path)
    return path.read_text()


def _newest(files: dict[str, int]) -> dict[str, int]:
    """The newest files by day and hour; older ones are not written to again."""
    return dict(sorted(files.items(), key=lambda pair: pair[0].split("/")[1:])[-_KEPT_FILES:])


def _file_bytes(file: str, lines: list[bytes]) -> bytes:
    data = b"".join(lines)
    return gzip.compress(data, _GZIP_LEVEL, mtime=0) if file.endswith(".gz") else data


def _append(path: Path, data: bytes) -> int:
    """Append to a file and sync it; return its new size. Raises OSError, with nothing appended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.tell()  # not what is recorded: an erasure makes files shorter
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) or 0 :]
            # A power cut must not leave half a member below the size that is recorded next.
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise
    return size + len(data)
