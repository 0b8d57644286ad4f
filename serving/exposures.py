"""Exposures: what was shown, written to `landing/exposures/ds=DAY/` for the next night to learn from.

Answers become lines at once and are written by a thread, at the latest a second later, as whole JSON lines into
one file an hour and process: `HH-<host>-<pid>-<number>.jsonl`. Nothing here can hold up an answer: when the queue
is full or the disk is, exposures are dropped and counted.
"""

import logging
import os
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from serving import money
from serving.record import SOURCES
from serving.shelf import LEVELS, Ask, Pick
from serving.snapshot import Snapshot

_LOG = logging.getLogger(__name__)
_QUEUED_BYTES = 64 << 20
_FLUSH_S = 0.5


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer as it was given; `ts` is seconds of UTC."""

    request_id: str
    ts: float
    ask: Ask
    pick: Pick
    snapshot: Snapshot
    prices_minor: list[int]


class ExposureLog:
    """A bounded queue and the thread that empties it. `dropped` counts the answers that were not written."""

    def __init__(self, landing: Path) -> None:
        self._folder = landing / "exposures"
        self._queue: deque[tuple[str, bytes]] = deque()  # the hour, and an answer's lines
        self._put_bytes, self._taken_bytes = 0, 0  # each counted by one thread alone
        self._stop = threading.Event()
        self._name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000}"
        self._file: BinaryIO | None = None
        self._hour = ""
        self.dropped = 0
        self.written = 0
        self._thread = threading.Thread(target=self._run, name="exposures", daemon=True)
        self._thread.start()

    def put(self, shown: Shown) -> None:
        """Queue one answer's lines; never waits."""
        if self._put_bytes - self._taken_bytes > _QUEUED_BYTES:
            self.dropped += 1
            return
        lines = exposure_lines(shown)
        self._put_bytes += len(lines)
        self._queue.append((_second(int(shown.ts))[:13], lines))

    def _run(self) -> None:
        while not self._stop.wait(_FLUSH_S):
            self.flush()
        self.flush()

    def flush(self) -> None:
        """Write what is queued now."""
        waiting: dict[str, list[bytes]] = {}
        for _ in range(len(self._queue)):
            hour, lines = self._queue.popleft()
            waiting.setdefault(hour, []).append(lines)
        for hour, answers in sorted(waiting.items()):
            data = b"".join(answers)
            self._taken_bytes += len(data)
            try:
                self._write(hour, data)
                self.written += len(answers)
            except OSError as error:
                self.dropped += len(answers)
                what = "exposures of %d answers were lost: %s; free space under %s"
                _LOG.error(what, len(answers), error, self._folder)

    def _write(self, hour: str, data: bytes) -> None:
        if hour != self._hour or self._file is None:
            self._close_file()
            day, _, of_day = hour.partition("T")
            path = self._folder / f"ds={day}" / f"{of_day}-{self._name}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file, self._hour = path.open("ab", buffering=0), hour
        size = os.fstat(self._file.fileno()).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError:
            self._file.truncate(size)  # no half line is left for the night to stumble on
            raise

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._close_file()


def exposure_lines(shown: Shown) -> bytes:
    """One JSON line an item shown, in the design's schema; `position` counts from 0.

    Put together from parts that repeat: this runs for every answer, with 20 items and more in each.
    """
    picked, snapshot = shown.pick, shown.snapshot
    common = _ENCODER.encode(_common(shown)).decode()[1:]
    item, kind = snapshot.item_json, _KINDS
    # Without exploration slots the policy is deterministic: a propensity of one.
    columns = zip(
        picked.positions,
        picked.scores,
        picked.levels,
        picked.sources,
        picked.eligible,
        shown.prices_minor,
        strict=True,
    )
    return "".join(
        f'{item(position)}{score:.4g},"position":{place},{kind[level, source]},"propensity":1.0,'
        f'"eligible_count":{eligible},"price_minor":{"null" if price < 0 else price},{common}\n'
        for place, (position, score, level, source, eligible, price) in enumerate(columns)
    ).encode()


_ENCODER = msgspec.json.Encoder()
_KINDS = {
    (
        level,
        source,
    ): f'"slot_type":"{"fill" if level else "ranked"}","fill_level":"{name}","source":"{SOURCES[source]}"'
    for level, name in enumerate(LEVELS)
    for source in range(len(SOURCES))
}


def _common(shown: Shown) -> dict[str, Any]:
    """What all rows of an answer share."""
    ask, manifest = shown.ask, shown.snapshot.manifest
    filters: dict[str, str] = {}
    if ask.category is not None:
        filters["category"] = ask.category
    if ask.price_min_minor is not None:
        filters["price_min"] = money.to_text(ask.price_min_minor)
    if ask.price_max_minor is not None:
        filters["price_max"] = money.to_text(ask.price_max_minor)
    milliseconds = int(shown.ts * 1000)
    return {
        "request_id": shown.request_id,
        "ts": f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z",
        "user_id": ask.user_id,
        "snapshot": manifest.version,
        "overlay": None,
        "model_version": manifest.model_version,
        "policy_version": manifest.policy_version,
        "arms": {},
        "page": ask.page,
        "device": ask.device,
        "location": ask.location,
        "limit": ask.limit,
        "filters": _ENCODER.encode(filters).decode(),
    }


@lru_cache(4)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
