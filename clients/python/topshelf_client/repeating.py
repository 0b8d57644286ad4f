"""Which calls are sent again, and after how long.

The longest wait doubles with each attempt, and a wait is drawn between nothing and that (full jitter), so that many
callers do not come back at once. Where the endpoint says how long to wait, that is waited before.
"""

from dataclasses import dataclass
from typing import TypedDict

from tenacity import (
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)
from tenacity.retry import RetryBaseT
from tenacity.stop import StopBaseT
from tenacity.wait import WaitBaseT

from topshelf_client.problems import NoAnswerError, ProblemError

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_NOTHING_WAS_DONE = (408, 429, 503, 507)
_NOBODY_KNOWS = (502, 504)  # what a proxy says of an endpoint that it lost
_backoff = wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)


class Repeating(TypedDict):
    """Arguments of tenacity's `Retrying` and `AsyncRetrying`."""

    retry: RetryBaseT
    stop: StopBaseT
    wait: WaitBaseT
    reraise: bool


@dataclass(frozen=True)
class Repeats:
    """How often a call is sent: `attempts` times at most, and not again once `deadline_s` would be over."""

    attempts: int
    deadline_s: float

    def of(self, repeatable: bool) -> Repeating:
        """What tenacity is to do with a call."""
        return Repeating(
            retry=retry_if_exception(lambda error: helps(error, repeatable)),
            stop=stop_after_attempt(self.attempts) | stop_before_delay(self.deadline_s),
            wait=_wait_s,
            reraise=True,
        )


def helps(error: BaseException, repeatable: bool) -> bool:
    """Whether sending a call again may help, and does no harm.

    `repeatable`: it does none even where nobody knows whether the call was carried out.
    """
    if isinstance(error, NoAnswerError):
        return repeatable or not error.sent
    if isinstance(error, ProblemError):
        return error.status in _NOTHING_WAS_DONE or (repeatable and error.status in _NOBODY_KNOWS)
    return False


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    told_s = error.retry_after_s if isinstance(error, ProblemError) else None
    return (told_s or 0.0) + _backoff(state)
