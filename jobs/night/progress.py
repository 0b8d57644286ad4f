"""Show a run's stages as they go: on a terminal a line each, with Spark's tasks while it runs; elsewhere as a log.

    night of 2026-01-31: stages ingest
    ingest: begins; reads landed files up to the day; sets rows that cannot be used aside
    ingest: 30 s so far, 1,204 MiB; Spark has done 12 of 40 tasks; in jobs.staging.quarantine.count_rows
    ingest: 1 of 31 days built: 2,311 events
    ingest: events: kept 2,311 of 2,311 rows
    ingest: ended after 41.2 s, 60.3 s of processor (driver 4.1, Java 44.0, Python workers 12.2), peak 1,530 MiB

A log, such as that of a task in Airflow, has one fact a line, and no line of it is wrapped.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import FrameType
from typing import Any

from pyspark.sql import SparkSession
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jobs.config.terminal import Terminal
from jobs.night.usage import Processor, resident_mib

SAMPLE_S = 0.5
SILENCE_S = 30.0
"""In a log, a stage that runs says every so often that it does, and at what."""
PLUMBING = ("jobs.night.", "jobs.lake.", "jobs.spark.", "jobs.__main__")
"""Modules that every stage runs through, so that their names say nothing of what it does."""


@dataclass
class StageTiming:
    """What a stage took. Memory is the proportional set size of this process and all it started, in MiB."""

    name: str
    wall_s: float = 0.0
    peak_mib: float = 0.0
    note: str = ""
    remarks: list[str] = field(default_factory=list)
    """Lines below the note."""
    began_at: str = ""
    """UTC, ISO 8601."""
    processor: Processor = field(default_factory=Processor)


@dataclass
class StageProgress:
    """Times stages one after the other and prints each."""

    console: Terminal = field(default_factory=lambda: Terminal(stderr=True))
    timings: list[StageTiming] = field(default_factory=list)

    def open(self, ds: date, stages: Sequence[str]) -> None:
        """Print the first line: which day's night this is, and what of it is run."""
        self.console.print(f"night of {ds}: stages {', '.join(stages)}", soft_wrap=True)

    @contextlib.contextmanager
    def stage(self, name: str, does: str = "") -> Iterator[StageTiming]:
        """Show `name` as running; on its end print its seconds, peak memory, and the note and remarks left in it.

        In a log its beginning stands too, with what it `does`, and so does a failure; the error is not told here.
        """
        timing = StageTiming(name, began_at=datetime.now(UTC).isoformat(timespec="seconds"))
        stop = threading.Event()
        follow = self._draw if self.console.is_terminal else self._tell
        watcher = threading.Thread(target=follow, args=(timing, stop, threading.get_ident()), daemon=True)
        if not self.console.is_terminal:
            self.console.print(f"{name}: begins" + (f"; {does}" if does else ""))
        start, before = time.monotonic(), Processor.used()
        watcher.start()
        outcome = "failed"
        try:
            yield timing
            outcome = "ended"
        finally:
            stop.set()
            watcher.join()
            timing.wall_s = round(time.monotonic() - start, 2)
            timing.processor = Processor.used() - before
            self.timings.append(timing)
            self._print_end(timing, outcome)

    def _print_end(self, timing: StageTiming, outcome: str) -> None:
        if self.console.is_terminal:
            note = timing.note if outcome == "ended" else outcome
            line = f"{timing.name:<16} {timing.wall_s:7.1f} s {timing.peak_mib:7.0f} MiB  {note}"
            lines = [line, *(f"  {remark}" for remark in timing.remarks)]
        else:
            end = f"{outcome} after {timing.wall_s:,.1f} s, {timing.processor}, peak {timing.peak_mib:,.0f} MiB"
            facts = [fact for fact in (timing.note, *timing.remarks, end) if fact]
            lines = [f"{timing.name}: {fact}" for fact in facts]
        for told in lines:
            self.console.print(told, soft_wrap=True)  # a remedy in it is copied whole

    def _tell(self, timing: StageTiming, stop: threading.Event, thread_id: int) -> None:
        """Print a line every SILENCE_S until the stage stops."""
        start, told = time.monotonic(), 0.0
        while True:
            memory = resident_mib()
            timing.peak_mib = max(timing.peak_mib, memory)
            past = time.monotonic() - start
            if past - told >= SILENCE_S:
                told = past
                done, total = spark_tasks()
                tasks = f"; Spark has done {done} of {total} tasks" if total else ""
                place = place_in_jobs(sys._current_frames().get(thread_id))
                at = f"; in {place}" if place else ""
                self.console.print(f"{timing.name}: {past:,.0f} s so far, {memory:,.0f} MiB{tasks}{at}")
            if stop.wait(SAMPLE_S):
                return

    def _draw(self, timing: StageTiming, stop: threading.Event, _: int) -> None:
        """Draw a spinner with Spark's tasks until the stage stops."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as shown:
            task = shown.add_task(timing.name, total=None, detail="")
            while True:
                timing.peak_mib = max(timing.peak_mib, resident_mib())
                done, total = spark_tasks()
                detail = f"Spark: {done}/{total} tasks" if total else ""
                shown.update(task, completed=done, total=total or None, detail=detail)
                if stop.wait(SAMPLE_S):
                    return


def place_in_jobs(frame: FrameType | None) -> str:
    """Return the innermost function of the jobs, as `jobs.staging.quarantine.count_rows`, that a frame runs within.

    PLUMBING is passed over. Empty where the frame runs within no other function of the jobs.
    """
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("jobs.") and not module.startswith(PLUMBING):
            return f"{module}.{frame.f_code.co_name}"
        frame = frame.f_back
    return ""


def spark_tasks() -> tuple[int, int]:
    """Return finished and all tasks of the running Spark stages, (0, 0) where none runs."""
    session: Any = SparkSession.getActiveSession() or getattr(SparkSession, "_instantiatedSession", None)
    if session is None or session.sparkContext._jsc is None:
        return 0, 0
    tracker = session.sparkContext.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    known = [stage for stage in stages if stage is not None]
    return sum(stage.numCompletedTasks for stage in known), sum(stage.numTasks for stage in known)
