"""Follows a log without delaying answers: lines are handed on in small steps between them."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from serving.logs.file_log import LogError, Reader

_LOG = logging.getLogger(__name__)
POLL_S = 0.1
_STEP_LINES = 256  # about a millisecond of work between answers


class Follower:
    """Hands a log's lines to `take`, in order. `name` is the log's name in error messages.

    `caught_up_at` (`time.monotonic`) is when it last reached the log's end; `trouble` is why it cannot, or None.
    """

    def __init__(self, name: str, reader: Reader, take: Callable[[Sequence[bytes]], None]) -> None:
        self._name, self._reader, self._take = name, reader, take
        self._lock = asyncio.Lock()
        self.caught_up_at: float | None = None
        self.trouble: str | None = None

    async def catch_up(self) -> None:
        """Read to the log's end. Raises LogError."""
        async with self._lock:
            while block := await asyncio.to_thread(self._reader.read):
                lines = block.splitlines()
                for first in range(0, len(lines), _STEP_LINES):
                    self._take(lines[first : first + _STEP_LINES])
                    await asyncio.sleep(0)
            self.caught_up_at, self.trouble = time.monotonic(), None

    async def run(self) -> None:
        """Follow until cancelled. A log that cannot be read is logged once and tried again."""
        while True:
            try:
                await self.catch_up()
            except LogError as error:
                if str(error) != self.trouble:
                    _LOG.error("%s cannot be followed: %s", self._name, error)
                self.trouble = str(error)
            await asyncio.sleep(POLL_S)

    def behind_s(self) -> float:
        """Seconds since the log's end was last reached; infinite before the first time."""
        return float("inf") if self.caught_up_at is None else time.monotonic() - self.caught_up_at

    def close(self) -> None:
        self._reader.close()
