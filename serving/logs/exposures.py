"""The exposure log: what every answer showed, for the next night to learn from.

An answer becomes one line of a spool. A thread appends to the spool four times a second, so a killed process loses
about the last quarter of a second. In a process of its own, `serving.logs.lander` turns each line into a row of
`landing/exposures`. Answers never wait here: when the queue, the spool or the disk is full, exposures are dropped and
counted.
"""

import threading
from collections import deque
from functools import lru_cache

import msgspec

from serving import money
from serving.lasting_task import LastingTask
from serving.logs.file_log import FileLog, LogError
from serving.shelf.encoded_parts import EncodedParts
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.request import ShelfRequest
from serving.snapshot.experiments import Assigned

_QUEUED_BYTES = 64 << 20
_SPOOL_BYTES = 1 << 30  # the spool grows no further if nothing lands it
_FLUSH_S = 0.25
_LONGEST_WAIT_S = 2.0


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """A line of the spool: one answer. Each list has one entry per item, in the answer's order."""

    answer: msgspec.Raw  # the body as it was sent, or as much of it as exposures need
    ts_ms: int  # UTC
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
    prices_minor: list[int]  # -1 where unknown
    arms: dict[str, str] = {}
    teams: list[str | None] = []  # of interleaved shelves; empty where nothing is interleaved
    shelf: str = ""  # of a page, by its name there; empty for an answer of one shelf
    row: int = -1  # its place on the page, from 0


_ENCODER = msgspec.json.Encoder()


def spool_line(
    body: bytes,
    ts_s: float,
    request: ShelfRequest,
    filled: FilledShelf,
    parts: EncodedParts,
    prices: list[int],
    assigned: Assigned,
    shelf: str = "",
    row: int = -1,
) -> bytes:
    """One answer as a line of the spool (`Shown`), joined by hand because this runs for every answer.

    A shelf of a page has its name there and its row.
    """
    fields_after_answer: tuple[object, ...] = (
        int(ts_s * 1000),
        parts.made_by,
        request.user_id,
        request.page,
        request.device,
        request.location,
        request.limit,
        filters_json(request),
        filled.levels,
        filled.sources,
        filled.slots,
        filled.propensities,
        filled.eligible,
        prices,
    )
    if assigned.arms or shelf:
        fields_after_answer += (assigned.arms_json if assigned.arms else {},)
        if filled.teams or shelf:
            fields_after_answer += ([assigned.teams[team] if team >= 0 else None for team in filled.teams],)
    if shelf:
        fields_after_answer += (shelf, row)
    return b"[%b,%b\n" % (body, _ENCODER.encode(fields_after_answer)[1:])


def filters_json(request: ShelfRequest) -> str:
    """The request's category and price range as JSON: `{}` without any."""
    return _filters(request.category, request.price_min_minor, request.price_max_minor)


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
    """A bounded queue, and the thread that empties it into the spool."""

    def __init__(self, spool: FileLog) -> None:
        self._spool = spool
        self._queue: deque[bytes] = deque()
        self._put_bytes, self._taken_bytes = 0, 0  # each is written by one thread only
        self.task = LastingTask(
            "exposures",
            "exposures of answers are lost",
            every_s=_FLUSH_S,
            longest_wait_s=_LONGEST_WAIT_S,
            expected=(LogError,),
        )
        self._stop = threading.Event()
        self._refused = 0  # answers for which the queue was full; written by the callers of `put`
        self.kept, self.lost = 0, 0  # answers that the spool took, and did not take; written by the thread
        self._thread = threading.Thread(target=self._run, name="exposures", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many answers' exposures were dropped."""
        return self._refused + self.lost

    @property
    def queued(self) -> int:
        """How many answers wait in the queue."""
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        """What they take."""
        return self._put_bytes - self._taken_bytes

    def put(self, line: bytes) -> None:
        """Queue one answer's line, or drop it if the queue is full; never waits."""
        if self._put_bytes - self._taken_bytes > _QUEUED_BYTES:
            self._refused += 1
            return
        self._put_bytes += len(line)
        self._queue.append(line)

    def _run(self) -> None:
        self.task.repeat_in_thread(self.flush, self._stop)
        with self.task.attempt():
            self.flush()

    def flush(self) -> None:
        """Append the queued lines to the spool. Where that fails, they are counted as lost, and it raises."""
        lines = [self._queue.popleft() for _ in range(len(self._queue))]
        if not lines:
            return
        data = b"".join(lines)
        self._taken_bytes += len(data)
        try:
            if self._spool.size() > _SPOOL_BYTES:
                raise LogError(
                    f"the spool is full, with {_SPOOL_BYTES >> 20} MiB not yet landed; run python -m serving land"
                )
            self._spool.append(data)
        except BaseException:
            self.lost += len(lines)
            raise
        self.kept += len(lines)

    def close(self) -> None:
        """Append what is queued, and end the thread."""
        self._stop.set()
        self._thread.join()
