"""Read landed files as the night would, without Spark, and say what it would make of them.

>>> check = check_landing("data/landing", date(2026, 1, 31), StagingParameters())
>>> check.stops
["data/landing/items/ds=2026-01-31: nothing could be kept of a.csv (12 malformed_row)"]
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.parameters import StagingParameters
from jobs.landing.file_plans import FILE_ERRORS, LandedFiles, inspect
from jobs.landing.file_rows import read_batches, unread_cells
from jobs.landing.folders import LandedFile, Landing, UnmarkedDayError, UnreadableFileError
from jobs.landing.row_counts import EXACT_DUPLICATE, FEWEST_MET, RowCounts, by_day, refusal, strangers
from jobs.landing.vectors import VECTOR
from jobs.landing.volume import usual_events, volume_refusal, volume_remark
from jobs.spark.processes import available_cores

KEYS = {"events": ("event_id", "local_day"), "items": ("item_id",), "users": ("user_id",)}
"""Of which one row counts: of events, of all days; of the others, in a day."""
EXAMPLE_IDS = 3
POOL_BYTES = 1 << 26
"""From so many bytes on, files are read by a process a core."""
Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]


@dataclass
class Example:
    """A row that is set aside: where it stands in its file."""

    line: int
    column: str | None
    raw: str


@dataclass
class FileCheck:
    """What the night would make of one file."""

    file: LandedFile
    counts: RowCounts = field(default_factory=RowCounts)
    examples: dict[str, Example] = field(default_factory=dict)
    """By reason, the first row that is set aside for it."""
    embeddings: Counter[int] = field(default_factory=Counter)
    """Of items, by how many numbers it has: the good rows with a vector of the shop's own."""
    found: LandedFiles | None = None
    """Its columns, and what was guessed of it."""
    error: str = ""
    """Why it cannot be read."""
    keys: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    """Of its good rows, a hash of the key of which one counts."""
    items: set[str] = field(default_factory=set)
    """Of events and items, the products of its good rows."""
    rows: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    """Of the same rows, a hash of the whole."""


@dataclass
class LandingCheck:
    """What the night would make of a landing folder."""

    files: list[FileCheck]
    stops: list[str]
    """Why the night would stop; empty if it would go on."""
    few: str = ""
    """In words: that the last day has few events for its weekday; empty where it has not."""


def check_landing(landing: str, ds: date | None, limits: StagingParameters) -> LandingCheck:
    """Read what landed on a day, or all that landed if it is None, and hold it against what the night asks.

    Of all days that can be read, the last is also held against the same weekday before it.

    A file that cannot be read is told in `stops`, and the others are read.
    """
    source, stops, files = Landing(landing), [], []
    event_days: list[date] = []
    until = ds or source.last_day() or date.today()
    for name in KEYS:
        try:
            days = [day for day in source.days(name, until) if ds is None or day.ds == ds]
        except (UnmarkedDayError, UnreadableFileError) as error:
            stops.append(str(error))
            continue
        files += [file for day in days for file in day.files]
        if name == "events":
            event_days = [day.ds for day in days]
    checks = _checked(source, files)
    _count_repeats(checks)
    stops += [check.error for check in checks if check.error]
    stops += _refusals(landing, checks, limits.max_quarantine_share)
    events, catalogue = (_items_of(checks, name) for name in ("events", "items"))
    if ds is None and catalogue and len(events) >= FEWEST_MET and not events & catalogue:
        stops.append(strangers(landing, sorted(events)[:EXAMPLE_IDS], sorted(catalogue)[:EXAMPLE_IDS]))
    few = ""
    if ds is None and not stops and event_days:
        usual, kept = _volume(event_days, checks)
        few = volume_remark(usual, kept) or ""
        stops += filter(None, [volume_refusal(landing, event_days[-1], usual, kept, limits.min_volume_share)])
    return LandingCheck(checks, stops, f"events/ds={event_days[-1]}: {few}" if few else "")


def _volume(event_days: Sequence[date], checks: Sequence[FileCheck]) -> tuple[int | None, int]:
    """Return how many events the last day's weekday usually has, and how many the day has."""
    kept = dict.fromkeys(event_days, 0)
    for check in checks:
        if check.file.table == "events":
            kept[check.file.ds] += check.counts.kept
    return usual_events(event_days[-1], kept.get), kept[event_days[-1]]


def _items_of(checks: Sequence[FileCheck], table: str) -> set[str]:
    return set().union(*(check.items for check in checks if check.file.table == table))


def check_file(root: str, file: LandedFile) -> FileCheck:
    """Read one file to its end."""
    landing, check = Landing(root), FileCheck(file)
    keys, rows = [], []
    try:
        check.found = inspect(landing, file.table, [file])
        for batch in read_batches(landing, check.found.plans[0]):
            _take(check, batch)
            good = batch.filter(pc.is_null(batch.column("fault")))
            if "item_id" in good.schema.names:
                check.items.update(pc.unique(good.column("item_id")).to_pylist())
            if "embedding" in good.schema.names:
                check.embeddings.update(pc.list_value_length(good.column("embedding").drop_null()).to_pylist())
            key, row = _hashes(good, file.table)
            keys.append(key)
            rows.append(row)
    except FILE_ERRORS as error:
        check.error = str(error)
    check.keys = np.concatenate(keys) if keys else check.keys
    check.rows = np.concatenate(rows) if rows else check.rows
    return check


def _checked(source: Landing, files: Sequence[LandedFile]) -> list[FileCheck]:
    read = partial(check_file, source.root)
    if len(files) == 1 or sum(source.size(file) for file in files) < POOL_BYTES:
        return [read(file) for file in files]
    with ProcessPoolExecutor(available_cores(), get_context("spawn")) as pool:
        return list(pool.map(read, files, chunksize=max(1, len(files) // 64)))


def _take(check: FileCheck, batch: pa.RecordBatch) -> None:
    """Count the rows of a batch, and keep the first example of each reason."""
    fault = batch.column("fault")
    bad = batch.filter(pc.is_valid(fault))
    check.counts.kept += len(batch) - len(bad)
    for row in bad.select(["fault", "line", "raw"]).to_pylist():
        reason = row["fault"]["reason"]
        check.counts.take(reason, 1)
        check.examples.setdefault(reason, Example(row["line"], row["fault"]["column_name"], row["raw"]))
    unread = batch.column("unread").filter(pc.and_(pc.is_valid(batch.column("unread")), pc.is_null(fault)))
    for cells in unread.to_pylist():
        for column, example in unread_cells(cells["columns"], cells["example"]):
            check.counts.take_unread(column, 1, example)


def _hashes(good: pa.RecordBatch, table: str) -> tuple[Hashes, Hashes]:
    """Return hashes of keys and of rows; of events, of those with an id."""
    names = KEYS[table]
    if table == "events":
        good = good.filter(pc.is_valid(good.column("event_id")))
        key = pd.util.hash_pandas_object(_frame(good, names), index=False).to_numpy()
        return key, key
    frame = _frame(good, [name for name in good.schema.names if name not in _OWN])
    key = pd.util.hash_pandas_object(frame[list(names)], index=False).to_numpy()
    return key, pd.util.hash_pandas_object(frame, index=False).to_numpy()


_OWN = ("path", "fault", "raw", "row_sha256", "unread", "absent", "line", "row_order", "local_day")


def _frame(rows: pa.RecordBatch, names: Sequence[str]) -> pd.DataFrame:
    frame = rows.select(list(names)).to_pandas()
    for name in names:
        kind = rows.schema.field(name).type
        if kind == VECTOR:
            frame[name] = frame[name].map(lambda vector: None if vector is None else vector.tobytes())
        elif pa.types.is_nested(kind):
            frame[name] = frame[name].map(str)
    return frame


def _count_repeats(checks: Sequence[FileCheck]) -> None:
    """Move rows of which another stands for from `kept` to the reason that the night has for them."""
    seen: dict[tuple[str, date | None], list[FileCheck]] = {}
    for check in checks:
        of_all_days = check.file.table == "events"
        seen.setdefault((check.file.table, None if of_all_days else check.file.ds), []).append(check)
    for (table, _), of_table in seen.items():
        keys = np.concatenate([check.keys for check in of_table])
        rows = np.concatenate([check.rows for check in of_table])
        owner = np.repeat(np.arange(len(of_table)), [len(check.keys) for check in of_table])
        # Of events the first row counts, of the others the last.
        order = np.arange(len(keys)) if table == "events" else np.arange(len(keys))[::-1]
        _, first, of_key = np.unique(keys[order], return_index=True, return_inverse=True)
        stands = order[first][of_key]
        for place, stands_for in zip(order, stands, strict=True) if len(first) < len(keys) else ():
            if place != stands_for:
                counts = of_table[owner[place]].counts
                counts.kept -= 1
                standing = of_table[owner[stands_for]].found
                is_partial = standing is not None and standing.plans[0].partial
                counts.take(_reason(table, is_partial or rows[place] == rows[stands_for]), 1)


def _reason(table: str, is_equal: bool) -> str:
    if table == "events":
        return "duplicate_event_id"
    return EXACT_DUPLICATE if is_equal else "conflicting_row"


def _refusals(landing: str, checks: Sequence[FileCheck], max_share: float) -> Iterator[str]:
    for name in KEYS:
        files = {(check.file.ds, check.file.name): check.counts for check in checks if check.file.table == name}
        for ds, of_day in by_day(files).items():
            why = refusal(landing, name, ds, of_day, max_share)
            if why is not None:
                yield why
