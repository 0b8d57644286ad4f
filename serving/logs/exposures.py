"""Exposures: what was shown, on its way to `landing/exposures` for the next night to learn from.

An answer becomes one line of a spool that a thread appends to four times a second, so the end of a process loses at
most the last second; `serving.logs.lander` makes a row an item of it, away from the answers. Nothing here can hold
up an answer: when the queue, the spool or the disk is full, exposures are dropped and counted.
"""

import logging
import threading
from collections import deque
from functools import lru_cache
from typing import Any

import msgspec

from serving import money
from serving.logs.file_log import FileLog, LogError
from serving.shelf.encoded_parts import EncodedParts
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.request import ShelfRequest

_LOG = logging.getLogger(__name__)
_QUEUED_BYTES = 64 << 20
_SPOOL_BYTES = 1 << 30  # what the spool may hold when nobody lands it
_FLUSH_S = 0.25


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """One answer as it was given: a line of the spool. The lists have one entry an item, in its order."""

    answer: msgspec.Raw  # the body as it was sent: the request's id, and each item with its score
    ts_ms: int  # of UTC
    made_by: tuple[str, str | None, str, str]  # snapshot, overlay, model version, policy version
    user_id: str | None
    page: str | None
    device: str | None
    location: str | None
    limit: int
    filters: str
    levels: list[int]
    sources: list[int]
    slots: list[int]
    propensities: list[float]
    eligible: list[int]
    prices_minor: list[int]  # -1 for unknown


_ENCODER = msgspec.json.Encoder()


def spool_line(
    body: bytes, ts_s: float, ask: ShelfRequest, pick: FilledShelf, parts: EncodedParts, prices: list[int]
) -> bytes:
    """One answer as a line (`Shown`); built by hand, for this runs for every answer."""
    row: tuple[Any, ...] = (
        int(ts_s * 1000),
        parts.made_by,
        ask.user_id,
        ask.page,
        ask.device,
        ask.location,
        ask.limit,
        filters_of(ask),
        pick.levels,
        pick.sources,
        pick.slots,
        pick.propensities,
        pick.eligible,
        prices,
    )
    return b"[%b,%b\n" % (body, _ENCODER.encode(row)[1:])


def filters_of(ask: ShelfRequest) -> str:
    """What was asked for beside a user and a length, as JSON."""
    return _filters(ask.category, ask.price_min_minor, ask.price_max_minor)


@lru_cache(4_096)
def _filters(category: str | None, lowest: int | None, highest: int | None) -> str:
    filters: dict[str, str] = {}
    if category is not None:
        filters["category"] = category
    if lowest is not None:
        filters["price_min"] = money.to_text(lowest)
    if highest is not None:
        filters["price_max"] = money.to_text(highest)
    return _ENCODER.encode(filters).decode()


class ExposureLog:
    """A bounded queue and the thread that empties it into the spool."""

    def __init__(self, spool: FileLog) -> None:
        self._spool = spool
        self._queue: deque[bytes] = deque()
        self._put_bytes, self._taken_bytes = 0, 0  # each counted by one thread alone
        self._stop = threading.Event()
        self._refused = 0
        self.kept, self.lost = 0, 0  # answers; counted by the thread
        self._thread = threading.Thread(target=self._run, name="exposures", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Answers whose exposures were not kept."""
        return self._refused + self.lost

    @property
    def queued(self) -> int:
        return len(self._queue)

    def put(self, line: bytes) -> None:
        """Queue one answer's line; never waits."""
        if self._put_bytes - self._taken_bytes > _QUEUED_BYTES:
            self._refused += 1
            return
        self._put_bytes += len(line)
        self._queue.append(line)

    def _run(self) -> None:
        while not self._stop.wait(_FLUSH_S):
            self.flush()
        self.flush()

    def flush(self) -> None:
        """Append what is queued now to the spool."""
        lines = [self._queue.popleft() for _ in range(len(self._queue))]
        if not lines:
            return
        data = b"".join(lines)
        self._taken_bytes += len(data)
        try:
            if self._spool.size() > _SPOOL_BYTES:
                raise LogError(
                    f"the spool holds {_SPOOL_BYTES >> 20} MiB that nobody lands; run python -m serving land"
                )
            self._spool.append(data)
            self.kept += len(lines)
        except OSError as error:
            self.lost += len(lines)
            _LOG.error("exposures of %d answers were lost: %s", len(lines), error)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
