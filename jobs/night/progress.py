"""Show a run's stages as they go: a line each with seconds and peak memory, and Spark's tasks while they run."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

SAMPLE_S = 0.5


@dataclass
class StageTiming:
    """What a stage took. Memory is the proportional set size of this process and all it started, in MiB."""

    name: str
    wall_s: float = 0.0
    peak_mib: float = 0.0
    note: str = ""


@dataclass
class StageProgress:
    """Times stages one after the other and prints each."""

    console: Console = field(default_factory=lambda: Console(stderr=True))
    timings: list[StageTiming] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[StageTiming]:
        """Show `name` as running; on its end print its seconds, peak memory and the note that was left in it."""
        timing = StageTiming(name)
        stop = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(timing, stop), daemon=True)
        start = time.monotonic()
        watcher.start()
        try:
            yield timing
        finally:
            stop.set()
            watcher.join()
            timing.wall_s = round(time.monotonic() - start, 2)
            self.timings.append(timing)
        line = f"{timing.name:<16} {timing.wall_s:7.1f} s {timing.peak_mib:7.0f} MiB  {timing.note}"
        # Not wrapped: a remedy in it is copied whole.
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _watch(self, timing: StageTiming, stop: threading.Event) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as shown:
            task = shown.add_task(timing.name, total=None, detail="")
            while True:
                timing.peak_mib = max(timing.peak_mib, resident_mib())
                done, total = spark_tasks()
                detail = f"Spark: {done}/{total} tasks" if total else ""
                shown.update(task, completed=done, total=total or None, detail=detail)
                if stop.wait(SAMPLE_S):
                    return


def resident_mib() -> float:
    """Return the proportional set size of this process and its descendants in MiB: shared pages count once."""
    total = 0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        # A child may end between being listed and being read.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += _pss(process)
    return total / 2**20


def _pss(process: psutil.Process) -> int:
    try:
        with open(f"/proc/{process.pid}/smaps_rollup") as rollup:  # noqa: PTH123  a path object a sample is waste
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return int(process.memory_info().rss)  # no smaps_rollup on this system
    return 0


def spark_tasks() -> tuple[int, int]:
    """Return finished and all tasks of the running Spark stages, (0, 0) where none runs."""
    session: Any = SparkSession.getActiveSession() or getattr(SparkSession, "_instantiatedSession", None)
    if session is None or session.sparkContext._jsc is None:
        return 0, 0
    tracker = session.sparkContext.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    known = [stage for stage in stages if stage is not None]
    return sum(stage.numCompletedTasks for stage in known), sum(stage.numTasks for stage in known)
