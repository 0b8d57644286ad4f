"""Counters and histograms that cost a fraction of a microsecond, summed over all workers of a host at `/metrics`.

Every worker adds to cells of its own in a mapped file; whichever worker is asked sums the files. A worker that died
leaves its file, so that counters never fall; `serve` clears the folder when it starts.

    FOLDER/<layout>-<pid>-<nanoseconds>.cells      int64 cells in the order of CELLS
"""

import mmap
import os
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from serving.shelf.fill_levels import LEVELS

COMPONENTS = ("parse", "store", "state", "filter", "fill", "explore", "encode", "log", "request")
STATUSES = (200, 202, 204, 400, 401, 403, 404, 405, 408, 413, 415, 429, 500, 503, 507, 0)
DEGRADED = (
    "store_unavailable", "record_unreadable", "record_newer", "snapshot_stale", "item_state_stale", "other",
)  # fmt: skip
_BUCKETS = 21  # the first ends at 1.024 us, each further one at twice that; the last is open
_HELP = {
    "topshelf_requests_total": "Requests answered, by status.",
    "topshelf_degraded_total": "Answers that had to do without something, by what.",
    "topshelf_items_shown_total": "Items shown, by the level they were filled from.",
    "topshelf_short_answers_total": "Answers for which the catalogue had too few items.",
    "topshelf_exposures_dropped_total": "Answers whose exposures could not be kept.",
    "topshelf_exposures_kept_total": "Answers whose exposures were kept.",
    "topshelf_items_changed_total": "Rows of live price, stock and moderation that were taken.",
    "topshelf_items_refused_total": "Rows of live price, stock and moderation that were refused.",
    "topshelf_events_taken_total": "Events taken.",
    "topshelf_events_refused_total": "Events refused.",
    "topshelf_snapshot_swaps_total": "Snapshots that were swapped in.",
    "topshelf_leases_unshared_total": "Rate leases that a worker granted by itself, for the shared count was away.",
}
_PLAIN = [name for name in _HELP if name not in {
    "topshelf_requests_total", "topshelf_degraded_total", "topshelf_items_shown_total",
}]  # fmt: skip
CELLS = (
    [f'topshelf_requests_total{{status="{status or "other"}"}}' for status in STATUSES]
    + [f'topshelf_degraded_total{{reason="{reason}"}}' for reason in DEGRADED]
    + [f'topshelf_items_shown_total{{level="{level}"}}' for level in LEVELS]
    + _PLAIN
)
_HISTOGRAMS = len(CELLS)
_SIZE = 8 * (_HISTOGRAMS + len(COMPONENTS) * (_BUCKETS + 1) + 1)
_ACK = _SIZE // 8 - 1  # how many lines of the log of erasures the worker has read
_LAYOUT = f"{zlib.crc32(repr((CELLS, COMPONENTS, _BUCKETS)).encode()):08x}"


class Metrics:
    """One worker's cells."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_LAYOUT}-{os.getpid()}-{time.time_ns()}.cells"
        with path.open("w+b") as file:
            file.truncate(_SIZE)
            self.cells = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("q")
        self._status = {status: at for at, status in enumerate(STATUSES)}
        self._degraded = {reason: len(STATUSES) + at for at, reason in enumerate(DEGRADED)}
        self._plain = {name: at for at, name in enumerate(CELLS)}
        self._levels = len(STATUSES) + len(DEGRADED)

    def status(self, status: int) -> None:
        self.cells[self._status.get(status, len(STATUSES) - 1)] += 1

    def add(self, name: str, count: int = 1) -> None:
        self.cells[self._plain[name]] += count

    def shown(self, levels: Sequence[int], degraded: Iterable[str], *, short: bool) -> None:
        """Count one answer's items and what it had to do without."""
        cells, base = self.cells, self._levels
        if levels:
            first = levels.count(levels[0])
            cells[base + levels[0]] += first
            if first != len(levels):
                for level in levels:
                    cells[base + level] += level != levels[0]
        for reason in degraded:
            cells[self._degraded.get(reason, self._degraded["other"])] += 1
        if short:
            self.add("topshelf_short_answers_total")

    def laps(self, stamps: Sequence[int], components: Sequence[int]) -> None:
        """Observe durations between stamps of `time.perf_counter_ns`, one component each."""
        cells, before = self.cells, stamps[0]
        for at, component in enumerate(components, 1):
            took = stamps[at] - before
            before = stamps[at]
            bucket = (took >> 10).bit_length()
            base = _HISTOGRAMS + component * (_BUCKETS + 1)
            cells[base + (bucket if bucket < _BUCKETS else _BUCKETS - 1)] += 1
            cells[base + _BUCKETS] += took

    def took_erasures(self, count: int) -> None:
        """Tell the other workers how many lines of the log of erasures this one has read."""
        self.cells[_ACK] = count

    @property
    def erasures(self) -> int:
        """How many lines of the log of erasures this worker has read."""
        return self.cells[_ACK]

    def all_took_erasures(self, count: int) -> bool:
        """Whether every living worker of the host has read so many lines of the log of erasures."""
        return all(cells[_ACK] >= count for pid, cells in self._read() if _alive(pid))

    def _read(self) -> Iterable[tuple[int, memoryview]]:
        for path in sorted(self._folder.glob(f"{_LAYOUT}-*.cells")):
            data = path.read_bytes()
            if len(data) == _SIZE:
                yield int(path.name.split("-")[1]), memoryview(data).cast("q")

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """The exposition format of Prometheus: all workers' cells summed, and the given gauges (help, value)."""
        total = [0] * (_SIZE // 8)
        workers = 0
        for pid, cells in self._read():
            workers += _alive(pid)
            total = [a + b for a, b in zip(total, cells, strict=True)]
        lines, said = [], ""
        for name, value in zip(CELLS, total, strict=False):
            family = name.partition("{")[0]
            if family != said:
                lines += [f"# HELP {family} {_HELP[family]}", f"# TYPE {family} counter"]
                said = family
            lines.append(f"{name} {value}")
        lines += _histograms(total)
        for name, (told, now) in {**gauges, "topshelf_workers": ("Workers that are alive.", workers)}.items():
            lines += [f"# HELP {name} {told}", f"# TYPE {name} gauge", f"{name} {_number(now)}"]
        return "\n".join(lines) + "\n"


def _histograms(total: Sequence[int]) -> list[str]:
    name = "topshelf_seconds"
    told = "Time of an answer: of all the whole, of one in eight by component."
    lines = [f"# HELP {name} {told}", f"# TYPE {name} histogram"]
    for number, component in enumerate(COMPONENTS):
        base = _HISTOGRAMS + number * (_BUCKETS + 1)
        count = 0
        for bucket in range(_BUCKETS):
            count += total[base + bucket]
            edge = "+Inf" if bucket == _BUCKETS - 1 else f"{2 ** (10 + bucket) / 1e9:.9g}"
            lines.append(f'{name}_bucket{{component="{component}",le="{edge}"}} {count}')
        lines.append(f'{name}_sum{{component="{component}"}} {total[base + _BUCKETS] / 1e9:.9g}')
        lines.append(f'{name}_count{{component="{component}"}} {count}')
    return lines


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else f"{value:.12g}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
