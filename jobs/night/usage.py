"""Memory and processor time of this process and all it started, on this machine.

>>> before = Processor.used()
>>> Processor.used() - before
Processor(driver_s=0.0, jvm_s=0.0, workers_s=0.0)

Executors of a cluster run on other machines, and are not in it.
"""

import contextlib
from dataclasses import dataclass, fields
from typing import Self

import psutil


@dataclass(frozen=True)
class Processor:
    """Seconds of processor time, of user and system together."""

    driver_s: float = 0.0
    """This process."""
    jvm_s: float = 0.0
    """Spark's Java."""
    workers_s: float = 0.0
    """Spark's Python workers, those that have ended included, and any other process."""

    @classmethod
    def used(cls) -> Self:
        """Return what was used so far."""
        me = psutil.Process()
        mine = me.cpu_times()
        driver, jvm, workers = mine.user + mine.system, 0.0, mine.children_user + mine.children_system
        for process in me.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times, is_java = process.cpu_times(), process.name() == "java"
                own, ended = times.user + times.system, times.children_user + times.children_system
                jvm += own if is_java else 0.0
                workers += ended + (0.0 if is_java else own)
        return cls(driver, jvm, workers)

    @property
    def total_s(self) -> float:
        """All three."""
        return self.driver_s + self.jvm_s + self.workers_s

    def by_process(self) -> dict[str, float]:
        """Return the seconds by kind of process, as labels of a gauge name them."""
        return {"driver": self.driver_s, "jvm": self.jvm_s, "workers": self.workers_s}

    def __sub__(self, before: "Processor") -> "Processor":
        """Return what was used since `before`; nothing for a kind of which a process was lost track of."""
        return Processor(
            *(round(max(0.0, getattr(self, part.name) - getattr(before, part.name)), 2) for part in fields(Processor))
        )

    def __str__(self) -> str:
        return (
            f"{self.total_s:,.1f} s of processor "
            f"(driver {self.driver_s:,.1f}, Java {self.jvm_s:,.1f}, Python workers {self.workers_s:,.1f})"
        )


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
