"""Exposures: what was shown, written to `landing/exposures/ds=DAY/` for the next night to learn from.

Answers are queued as they stand and written by a thread, at the latest a second later, as whole JSON lines into
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from serving import money
from serving.record import SOURCES
from serving.shelf import LEVELS, Ask, Pick
from serving.snapshot import Snapshot

_LOG = logging.getLogger(__name__)
_QUEUED_ANSWERS = 50_000
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
        self._queue: deque[Shown] = deque()
        self._stop = threading.Event()
        self._name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000}"
        self._file: BinaryIO | None = None
        self._hour = ""
        self._encoder = msgspec.json.Encoder()
        self.dropped = 0
        self.written = 0
        self._thread = threading.Thread(target=self._run, name="exposures", daemon=True)
        self._thread.start()

    def put(self, shown: Shown) -> None:
        """Queue one answer; never waits."""
        if len(self._queue) >= _QUEUED_ANSWERS:
            self.dropped += 1
            return
        self._queue.append(shown)

    def _run(self) -> None:
        while not self._stop.wait(_FLUSH_S):
            self.flush()
        self.flush()

    def flush(self) -> None:
        """Write what is queued now."""
        waiting: dict[str, list[bytes]] = {}
        answers: dict[str, int] = {}
        for _ in range(len(self._queue)):
            shown = self._queue.popleft()
            hour = time.strftime("%Y-%m-%dT%H", time.gmtime(shown.ts))
            waiting.setdefault(hour, []).append(self._encoder.encode_lines(exposure_rows(shown)))
            answers[hour] = answers.get(hour, 0) + 1
        for hour, lines in sorted(waiting.items()):
            try:
                self._write(hour, b"".join(lines))
                self.written += answers[hour]
            except OSError as error:
                self.dropped += answers[hour]
                _LOG.error(
                    "exposures of %d answers were lost: %s; free space under %s", answers[hour], error, self._folder
                )

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


def exposure_rows(shown: Shown) -> list[dict[str, Any]]:
    """One row an item shown, in the design's schema; `position` counts from 0."""
    ask, picked, snapshot = shown.ask, shown.pick, shown.snapshot
    filters = {
        "category": ask.category,
        "price_min": None if ask.price_min_minor is None else money.to_text(ask.price_min_minor),
        "price_max": None if ask.price_max_minor is None else money.to_text(ask.price_max_minor),
    }
    common: dict[str, Any] = {
        "request_id": shown.request_id,
        "ts": datetime.fromtimestamp(shown.ts, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "user_id": ask.user_id,
        "snapshot": snapshot.version,
        "overlay": None,
        "model_version": snapshot.manifest.model_version,
        "policy_version": snapshot.manifest.policy_version,
        "arms": {},
        "page": ask.page,
        "device": ask.device,
        "location": ask.location,
        "limit": ask.limit,
        "filters": msgspec.json.encode({k: v for k, v in filters.items() if v is not None}).decode(),
    }
    rows = []
    for place, position in enumerate(picked.positions):
        price = shown.prices_minor[place]
        rows.append(
            common
            | {
                "item_id": snapshot.item_id(position),
                "position": place,
                "slot_type": "ranked" if picked.levels[place] == 0 else "fill",
                "fill_level": LEVELS[picked.levels[place]],
                "source": SOURCES[picked.sources[place]],
                "propensity": 1.0,  # without exploration slots the policy is deterministic
                "eligible_count": picked.eligible[place],
                "score": picked.scores[place],
                "price_minor": None if price < 0 else price,
            }
        )
    return rows
