"""Following a log without holding up answers: lines are taken in small steps between them."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from serving.logs.file_log import LogError, Reader

_LOG = logging.getLogger(__name__)
POLL_S = 0.1
_STEP_LINES = 256  # about a millisecond of work


class Follower:
    """Hands a log's lines to `take`, in their order. `caught_up_at` is when it last reached the log's end."""

    def __init__(self, what: str, reader: Reader, take: Callable[[Sequence[bytes]], None]) -> None:
        self._what, self._reader, self._take = what, reader, take
        self._lock = asyncio.Lock()
        self.caught_up_at: float | None = None  # time.monotonic
        self.trouble: str | None = None

    async def catch_up(self) -> None:
        """Take in all that stands in the log now. Raises LogError."""
        async with self._lock:
            while block := await asyncio.to_thread(self._reader.read):
                lines = block.splitlines()
                for first in range(0, len(lines), _STEP_LINES):
                    self._take(lines[first : first + _STEP_LINES])
                    await asyncio.sleep(0)
            self.caught_up_at, self.trouble = time.monotonic(), None

    async def run(self) -> None:
        """Follow until cancelled; what cannot be read is tried again."""
        while True:
            try:
                await self.catch_up()
            except LogError as error:
                if str(error) != self.trouble:
                    _LOG.error("%s cannot be followed: %s", self._what, error)
                self.trouble = str(error)
            await asyncio.sleep(POLL_S)

    def behind_s(self) -> float:
        """How long ago the log's end was last seen, in seconds; endless before the first time."""
        return float("inf") if self.caught_up_at is None else time.monotonic() - self.caught_up_at

    def close(self) -> None:
        self._reader.close()
