"""What a host has landed of its logs, in `landed.mdb` of its state folder; one process holds it at a time.

exposures, events      `Progress` of that log, as JSON
e<digest of the id>    the day on which an event was received
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from serving.logs.file_log import FileLog, Mark
from serving.shelf.recent_actions import MAX_AGE_S
from serving.stores.files import take_lock

_MAP_BYTES = 4 << 30
_EVENT_ID = b"e"  # keys of event ids: this byte and a digest of 16 bytes
_ENCODER = msgspec.json.Encoder()
Transaction = Any  # lmdb ships no types


class LanderRunsError(Exception):
    """Another process lands the logs of this state folder."""


class Progress(msgspec.Struct):
    """How far one log is landed: the reader's mark."""

    mark: Mark = (0, 0)
    files: dict[str, int] = {}  # landing in a folder: the sizes of the newest files
    planned: Mark | None = None  # landing on S3: where the batch ends that is being landed


class LandingRecord:
    """Raises LanderRunsError, OSError or lmdb.Error where it cannot be opened."""

    def __init__(self, state: Path) -> None:
        self._lock = take_lock(state / "lander.lock")
        if self._lock is None:
            raise LanderRunsError(
                f"another lander lands {state}; the endpoint that runs there lands all that it takes"
            )
        try:
            # Without LMDB's own lock: its file is mapped with holes in it, so a full disk would kill this process.
            path = str(state / "landed.mdb")
            self._env = lmdb.open(path, subdir=False, map_size=_MAP_BYTES, metasync=False, lock=False)
        except BaseException:
            os.close(self._lock)
            raise

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction of the block, which is given up if the block raises."""
        with self._env.begin(write=True) as txn:
            yield txn

    def sync(self) -> None:
        """Wait until all that was written survives a power cut."""
        self._env.sync(True)

    def progress(self, name: str, txn: Transaction | None = None) -> Progress:
        """How far the log of this name is landed."""
        if txn is None:
            with self._env.begin() as reading:
                return self.progress(name, reading)
        stored = txn.get(name.encode())
        return Progress() if stored is None else msgspec.json.decode(stored, type=Progress)

    def put(self, name: str, progress: Progress, txn: Transaction) -> None:
        """Record how far a log is landed."""
        txn.put(name.encode(), _ENCODER.encode(progress))

    def forget_events(self, now_s: float) -> None:
        """Remove the ids of events from before yesterday."""
        yesterday = (datetime.fromtimestamp(now_s, UTC) - timedelta(days=1)).strftime("%Y-%m-%d").encode()
        with self.write() as txn, txn.cursor() as cursor:
            at_key = cursor.set_range(_EVENT_ID + b"\0")
            while at_key and cursor.key()[:1] == _EVENT_ID and len(cursor.key()) == 17:
                at_key = cursor.delete() and bool(cursor.key()) if cursor.value() < yesterday else cursor.next()

    def close(self) -> None:
        """Let another lander begin."""
        self._env.close()
        assert self._lock is not None
        os.close(self._lock)


def is_new_event(event_id: str, day: str, txn: Transaction) -> bool:
    """Whether an event was not landed yet; from now on it was, on this day."""
    key = _EVENT_ID + hashlib.blake2b(event_id.encode(), digest_size=16).digest()
    return bool(txn.put(key, day.encode(), overwrite=False))


def drop_landed(logs: Mapping[str, FileLog], marks: Mapping[str, Mark], now_s: float) -> None:
    """Remove segments that are landed and no longer read.

    Workers that start read MAX_AGE_S of the event log again, for users' last actions. A segment has lines of half
    an hour at most, so no line stays longer than 25 hours, and none of the spool for more than one.
    """
    for name, log in logs.items():
        log.roll()
        landed = [segment for segment in log.segments() if segment < marks[name][0]]
        if name == "events":
            old = log.older_than(now_s - MAX_AGE_S)
            landed = [segment for segment in landed if segment in old]
        log.drop(landed)
