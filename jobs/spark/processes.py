"""Threads, and processes that work on parts of a table, one a core; the processes are kept for the next stage.

>>> in_processes(abs, 3)
[0, 1, 2]
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import TypeVar

from threadpoolctl import threadpool_limits

Found = TypeVar("Found")


class ProcessEndedError(RuntimeError):
    """A process that worked on a part of a table ended before its work did."""


@cache
def _pool() -> ProcessPoolExecutor:
    # Not forked: this process has threads (Java's gateway, BLAS), and their locks would be copied as they are.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(available_cores(), context, initializer=_begin_process)


def available_cores() -> int:
    """Return how many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(count: int) -> ThreadPoolExecutor:
    """Return so many threads, each with a BLAS of one thread: a BLAS that is built on OpenMP is told by each."""
    return ThreadPoolExecutor(count, initializer=threadpool_limits, initargs=(1, "blas"))


def in_processes(run: Callable[[int], Found], count: int) -> list[Found]:
    """Return what `run(0)` to `run(count - 1)` return; `run` is picklable. What it raises is raised here.

    Raises:
        ProcessEndedError: a process was killed.
    """
    try:
        return list(_pool().map(run, range(count)))
    except BrokenProcessPool as error:
        _pool.cache_clear()  # the next call starts others
        raise ProcessEndedError(
            "a process that worked on a part of a table was ended from outside, by the system for want of memory if "
            "by nobody else; nothing of the table is trusted: free memory, then run the same command again"
        ) from error


def _begin_process() -> None:
    """Leave Ctrl-C to the parent, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
