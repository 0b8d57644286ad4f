"""Work that lasts as long as its process: a step is done again and again, whatever it raises.

task = LastingTask("snapshot", "the snapshot before stays live", every_s=0.2, longest_wait_s=2.0)
await task.repeat(refresh)
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

_LOG = logging.getLogger(__name__)
_LOG_AGAIN_S = 600.0  # the same failure is logged no more often


class LastingTask:
    """What became of a task's attempts. `trouble` is what the last one raised; None after one that succeeded.

    `meanwhile` says what its failure means, for the log. Failures of the types `expected` are logged without a
    traceback.
    """

    def __init__(
        self,
        name: str,
        meanwhile: str,
        *,
        every_s: float,
        longest_wait_s: float,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        self.name, self._meanwhile, self._expected = name, meanwhile, expected
        self._every_s, self._longest_wait_s = every_s, longest_wait_s
        self.trouble: str | None = None
        self._failures, self._counted = 0, 0
        self._in_a_row = 0
        self._logged, self._logged_at = "", 0.0

    @property
    def wait_s(self) -> float:
        """Seconds until the next attempt: after failures longer, twice as long each time."""
        doublings = min(30, max(0, self._in_a_row - 1))
        return min(self._longest_wait_s, self._every_s * (1 << doublings))

    def take_failures(self) -> int:
        """How many attempts failed since this was last asked."""
        new, self._counted = self._failures - self._counted, self._failures
        return new

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One attempt: what its block raises is noted here and goes no further."""
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            lasted = time.monotonic() - began > self._longest_wait_s  # it worked, and then it ended
            self._failed(error, in_a_row=1 if lasted else self._in_a_row + 1)
        else:
            self.trouble, self._in_a_row = None, 0

    def _failed(self, error: Exception, in_a_row: int) -> None:
        self._failures, self._in_a_row = self._failures + 1, in_a_row
        self.trouble = str(error) or type(error).__name__
        now = time.monotonic()
        if self.trouble != self._logged or now - self._logged_at > _LOG_AGAIN_S:
            self._logged, self._logged_at = self.trouble, now
            traced = None if isinstance(error, self._expected) else error
            _LOG.error("%s: %s: %s", self.name, self._meanwhile, self.trouble, exc_info=traced)

    async def repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step again and again, until cancelled."""
        while True:
            with self.attempt():
                await step()
            await asyncio.sleep(self.wait_s)

    def repeat_in_thread(self, step: Callable[[], None], stopping: threading.Event) -> None:
        """Do a step again and again, until `stopping` is set."""
        while not stopping.wait(self.wait_s):
            with self.attempt():
                step()
