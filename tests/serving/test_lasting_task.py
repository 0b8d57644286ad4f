"""A task that goes on whatever its step raises."""

import asyncio
import contextlib
import logging
import threading

import pytest

from serving.lasting_task import LastingTask


def task(**options: float) -> LastingTask:
    return LastingTask("snapshot", "the one before stays", **{"every_s": 0.0, "longest_wait_s": 0.0, **options})  # type: ignore[arg-type]


def test_a_step_is_done_again_whatever_it_raises_and_the_trouble_ends_with_it() -> None:
    tried, faults = (
        task(),
        [OSError(24, "Too many open files"), TypeError("a bad blob"), AssertionError(), MemoryError()],
    )
    troubles: list[str | None] = []

    async def step() -> None:
        troubles.append(tried.trouble)
        if faults:
            raise faults.pop(0)
        if len(troubles) == 6:
            raise asyncio.CancelledError

    async def main() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await tried.repeat(step)

    asyncio.run(main())
    assert troubles == [None, "[Errno 24] Too many open files", "a bad blob", "AssertionError", "MemoryError", None]
    assert (tried.take_failures(), tried.take_failures()) == (4, 0)


def test_a_thread_goes_on_too_until_it_is_stopped() -> None:
    stopping, tried, count = threading.Event(), task(), 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == 3:
            stopping.set()
        raise RuntimeError("again")

    tried.repeat_in_thread(step, stopping)
    assert count == tried.take_failures() == 3


def test_it_waits_longer_after_each_failure_and_no_longer_after_a_success() -> None:
    tried, waits = task(every_s=0.1, longest_wait_s=1.0), []
    for fails in (True, True, True, True, True, True, False):
        with tried.attempt():
            if fails:
                raise ValueError
        waits.append(tried.wait_s)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.1]


def test_a_failure_is_logged_once_with_its_traceback_and_an_expected_one_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried = LastingTask("snapshot", "stays", every_s=0, longest_wait_s=0, expected=(KeyError,))
    with caplog.at_level(logging.ERROR):
        for error in (TypeError("a"), TypeError("a"), None, TypeError("a"), KeyError("b")):
            with tried.attempt():
                if error is not None:
                    raise error
    assert [record.getMessage() for record in caplog.records] == ["snapshot: stays: a", "snapshot: stays: 'b'"]
    assert [record.exc_info is not None for record in caplog.records] == [True, False]
