"""Counters and histograms of one worker, as cells in a memory-mapped file. `serving.api.exposition` sums and renders.

Each worker, and the lander, adds to the cells of its own file, without a lock; a request costs about 5 µs, a
quarter of what prometheus_client's multiprocess mode takes for the same counters. A process holds the lock of its
file for life. The one that replaces a dead one takes over its file and goes on counting, so counters never fall.
`serve` clears the folder and makes all files before it starts workers, so that a disk that fills up later does no
harm.

    FOLDER/<layout>-<role>-<number>.cells      int64: COUNTERS, histograms, lines of erasures read; then the troubles
    FOLDER/claim.lock                          locked while a file is taken, or asked whether somebody holds it
"""

import itertools
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from serving.lasting_task import LastingTask
from serving.shelf.fill_levels import LEVELS
from serving.stores.files import PRIVATE, locked, map_allocated, take_lock

COMPONENTS = ("parse", "store", "state", "filter", "fill", "explore", "encode", "log", "request")
BUCKETS = 21  # upper bounds 1.024 µs, then twice the one before; the last bucket is open
STATUSES = (200, 202, 204, 304, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 500, 503, 507)
DEGRADED = (
    "store_unavailable",
    "record_unreadable",
    "record_newer",
    "snapshot_stale",
    "item_state_stale",
    "last_actions_stale",
)
TASKS = (
    "item_state", "events", "erasures", "landed_erasures", "snapshot", "keys", "refresh", "placements",
    "exposures",  # the last of a worker
    "land", "land_erasures", "sweep", "fold", "mark",  # of the lander
    "lander",  # of the process that starts it
)  # fmt: skip
ROLES = ("worker", "lander", "serve")  # the processes that count
_OTHER = "other"  # the label of any value that has no cell of its own


class CounterCells(NamedTuple):
    """A counter: its name, its help text, and the values of its one label where it has one."""

    name: str
    help: str
    label: str = ""
    values: tuple[str, ...] = ("",)


COUNTERS = (
    CounterCells("topshelf_requests_total", "Requests answered, by status.", "status", (*map(str, STATUSES), _OTHER)),
    CounterCells(
        "topshelf_degraded_total",
        "Answers that had to do without something, by what.",
        "reason",
        (*DEGRADED, _OTHER),
    ),
    CounterCells(
        "topshelf_items_shown_total", "Items shown, by the level they were filled from.", "level", tuple(LEVELS)
    ),
    CounterCells("topshelf_short_answers_total", "Answers for which the catalogue had too few items."),
    CounterCells("topshelf_exposures_dropped_total", "Answers whose exposures could not be kept."),
    CounterCells("topshelf_exposures_kept_total", "Answers whose exposures were kept."),
    CounterCells("topshelf_items_changed_total", "Rows of live price, stock and moderation that were taken."),
    CounterCells("topshelf_items_refused_total", "Rows of live price, stock and moderation that were refused."),
    CounterCells("topshelf_events_taken_total", "Events taken."),
    CounterCells("topshelf_events_refused_total", "Events refused."),
    CounterCells("topshelf_snapshot_swaps_total", "Snapshots that were swapped in."),
    CounterCells(
        "topshelf_leases_unshared_total",
        "Rate leases that a worker granted by itself because the shared count did not answer.",
    ),
    CounterCells(
        "topshelf_task_failures_total", "Attempts of background tasks that failed, by task.", "task", (*TASKS, _OTHER)
    ),
)
_CELL = {
    key: cell for cell, key in enumerate((counter.name, value) for counter in COUNTERS for value in counter.values)
}
FIRST_HISTOGRAM = len(_CELL)  # then BUCKETS counts and the sum of nanoseconds, for each component
HISTOGRAM_CELLS = BUCKETS + 1
_ERASURES = FIRST_HISTOGRAM + len(COMPONENTS) * HISTOGRAM_CELLS  # how many lines of the log of erasures were read
CELL_COUNT = _ERASURES + 1
_CELL_BYTES = 8 * CELL_COUNT
_TROUBLE_BYTES = 1024  # of text in UTF-8, which zeros follow
_BYTES = _CELL_BYTES + _TROUBLE_BYTES
_CLAIM = "claim.lock"
_LAYOUT = f"{zlib.crc32(repr((COUNTERS, COMPONENTS, BUCKETS)).encode()):08x}"


class ProcessCells(NamedTuple):
    """A process of the host: its role, whether it is alive, and the counts of it and of those that it replaced."""

    role: str
    alive: bool
    cells: memoryview


class Metrics:
    """One process's cells; `processes` reads those of all of the host."""

    def __init__(self, folder: Path, role: str = ROLES[0]) -> None:
        """Take over the role's first file that nobody holds. Raises OSError: the disk has no room for a new one."""
        self._folder = folder
        with locked(folder / _CLAIM):
            claims = (take_lock(_path(folder, role, number)) for number in itertools.count(1))
            self._file = next(descriptor for descriptor in claims if descriptor is not None)
            mapped = memoryview(map_allocated(self._file, _BYTES))
        self._cells, self._troubles = mapped[:_CELL_BYTES].cast("q"), mapped[_CELL_BYTES:]
        self._troubles[:] = bytes(_TROUBLE_BYTES)
        self.erasures_read = 0  # of this worker; the other cells go on from those of the worker before
        self._status_cells = {status: _CELL["topshelf_requests_total", str(status)] for status in STATUSES}
        self._other_status = _CELL["topshelf_requests_total", _OTHER]
        self._degraded_cells = {reason: _CELL["topshelf_degraded_total", reason] for reason in DEGRADED}
        self._other_degraded = _CELL["topshelf_degraded_total", _OTHER]
        self._other_task = _CELL["topshelf_task_failures_total", _OTHER]
        self._first_level = _CELL["topshelf_items_shown_total", LEVELS[0]]

    def status(self, status: int) -> None:
        """Count one answer by its HTTP status."""
        self._cells[self._status_cells.get(status, self._other_status)] += 1

    def add(self, name: str, count: int = 1) -> None:
        """Add to a counter that has no label."""
        self._cells[_CELL[name, ""]] += count

    def count_failures(self, tasks: Iterable[LastingTask]) -> None:
        """Add the failures of tasks since this was last done."""
        for task in tasks:
            cell = _CELL.get(("topshelf_task_failures_total", task.name), self._other_task)
            self._cells[cell] += task.take_failures()

    def tell_troubles(self, tasks: Iterable[LastingTask]) -> None:
        """Let the other processes of the host know which tasks do not work, and why (`lander_troubles`)."""
        text = "; ".join(f"{task.name}: {task.trouble}" for task in tasks if task.trouble is not None).encode()
        self._troubles[:] = text[:_TROUBLE_BYTES].ljust(_TROUBLE_BYTES, b"\0")

    def shown(self, levels: Sequence[int], degraded: Iterable[str], *, short: bool) -> None:
        """Count one answer's items by fill level, and what the answer had to do without."""
        cells, first_level = self._cells, self._first_level
        if levels:
            same = levels.count(levels[0])  # most answers are filled from one level
            cells[first_level + levels[0]] += same
            if same != len(levels):
                for level in levels:
                    cells[first_level + level] += level != levels[0]
        for reason in degraded:
            cells[self._degraded_cells.get(reason, self._other_degraded)] += 1
        if short:
            self.add("topshelf_short_answers_total")

    def observe(self, stamps: Sequence[int], components: Sequence[int]) -> None:
        """Observe the time between each two neighbours of `stamps` (`time.perf_counter_ns`).

        The n-th duration belongs to the n-th of `components`, which are indices into COMPONENTS.
        """
        cells, previous = self._cells, stamps[0]
        for index, component in enumerate(components, 1):
            took_ns = stamps[index] - previous
            previous = stamps[index]
            bucket = (took_ns >> 10).bit_length()
            first = FIRST_HISTOGRAM + component * HISTOGRAM_CELLS
            cells[first + (bucket if bucket < BUCKETS else BUCKETS - 1)] += 1
            cells[first + BUCKETS] += took_ns

    @property
    def erasures_read(self) -> int:
        """How many lines of the log of erasures this worker has read; setting it tells the other workers."""
        return self._cells[_ERASURES]

    @erasures_read.setter
    def erasures_read(self, count: int) -> None:
        self._cells[_ERASURES] = count

    def all_read_erasures(self, count: int) -> bool:
        """Whether every living worker of the host has read that many lines of the log of erasures."""
        workers = (process for process in self.processes() if process.role == ROLES[0] and process.alive)
        return all(worker.cells[_ERASURES] >= count for worker in workers)

    def processes(self) -> Iterator[ProcessCells]:
        """Those that counted since `serve` started."""
        with locked(self._folder / _CLAIM):
            paths = sorted(self._folder.glob(f"{_LAYOUT}-*.cells"))
            states = [(path.name.split("-")[1], _is_held(path), path.read_bytes()) for path in paths]
        for role, alive, data in states:
            yield ProcessCells(role, alive, memoryview(data)[:_CELL_BYTES].cast("q"))

    def lander_troubles(self) -> str | None:
        """What does not work in the host's lander, empty for nothing; None where no lander runs."""
        with locked(self._folder / _CLAIM):
            files = [path for path in self._folder.glob(f"{_LAYOUT}-lander-*.cells") if _is_held(path)]
            texts = [path.read_bytes()[_CELL_BYTES:].rstrip(b"\0").decode(errors="ignore") for path in files]
        return "; ".join(filter(None, texts)) if texts else None


def reserve(folder: Path, worker_count: int) -> None:
    """Remove the files of an earlier run, and make those of all processes. Raises OSError: there is no room."""
    with locked(folder / _CLAIM):
        for old in folder.glob("*.cells"):
            old.unlink(missing_ok=True)
        for role in ROLES:
            for number in range(1, worker_count + 1 if role == ROLES[0] else 2):
                descriptor = os.open(_path(folder, role, number), os.O_CREAT | os.O_RDWR, PRIVATE)
                try:
                    os.posix_fallocate(descriptor, 0, _BYTES)
                finally:
                    os.close(descriptor)


def _path(folder: Path, role: str, number: int) -> Path:
    return folder / f"{_LAYOUT}-{role}-{number}.cells"


def _is_held(path: Path) -> bool:
    """Whether a living process holds the file's lock."""
    descriptor = take_lock(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
