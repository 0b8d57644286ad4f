"""Follows a log without delaying answers: lines are handed on in small steps between them."""

import asyncio
import time
from collections.abc import Callable, Sequence

from serving.lasting_task import LastingTask
from serving.logs.file_log import LogError, Reader

_POLL_S = 0.1
_LONGEST_WAIT_S = 0.5
_STEP_LINES = 256  # about a millisecond of work between answers


class Follower:
    """Hands a log's lines to `take`, in order. `name` and `meanwhile` are those of its `task` (`LastingTask`).

    `lines` counts the lines that could not be taken in. `caught_up_at` (`time.monotonic`) is when it last reached the
    log's end.
    """

    def __init__(self, name: str, meanwhile: str, reader: Reader, take: Callable[[Sequence[bytes]], None]) -> None:
        self.task = LastingTask(
            name, meanwhile, every_s=_POLL_S, longest_wait_s=_LONGEST_WAIT_S, expected=(LogError,)
        )
        self._reader, self._take = reader, take
        self.lines = LastingTask(name, "a line is left out", every_s=0, longest_wait_s=0)
        self._lock = asyncio.Lock()
        self.caught_up_at: float | None = None

    async def catch_up(self) -> None:
        """Read to the log's end. Raises LogError, and whatever reading raises."""
        async with self._lock:
            while block := await asyncio.to_thread(self._reader.read):
                lines = block.splitlines()
                for first in range(0, len(lines), _STEP_LINES):
                    self._take_all(lines[first : first + _STEP_LINES])
                    await asyncio.sleep(0)
            self.caught_up_at = time.monotonic()

    def _take_all(self, lines: Sequence[bytes]) -> None:
        """Take in lines; one that cannot be taken in costs no other."""
        try:
            self._take(lines)
        except Exception:  # whatever it is, the lines are taken again, one by one, and the log says which one it was
            for line in lines:
                with self.lines.attempt():
                    self._take([line])

    async def attempt(self) -> None:
        """Read to the log's end; a failure is noted in `task` and goes no further."""
        with self.task.attempt():
            await self.catch_up()

    async def run(self) -> None:
        """Follow until cancelled."""
        await self.task.repeat(self.catch_up)

    def behind_s(self) -> float:
        """Seconds since the log's end was last reached; infinite before the first time."""
        return float("inf") if self.caught_up_at is None else time.monotonic() - self.caught_up_at

    def close(self) -> None:
        self._reader.close()
