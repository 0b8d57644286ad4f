"""Write landing folders, a file a day: a repeat changes nothing, and a crash is never taken for a whole day.

Every adapter ends here: it hands over one Arrow table for each landing table, with the day of each row, and
`write_days` puts `landing/<table>/ds=<day>/<file>` and `_SUCCESS` in place.

    from jobs.landing.adapters.writer import LandedTable, write_days
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from jobs.landing.folders import SUCCESS

EVENTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("session_id", pa.string()),
        ("item_id", pa.string()),
        ("event_type", pa.string()),
        ("ts", pa.timestamp("us", tz="UTC")),
        ("quantity", pa.int32()),
        ("unit_price", pa.decimal128(18, 2)),
        ("region", pa.string()),
    ]
)
ITEMS = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("category", pa.string()),
        ("price", pa.decimal128(18, 2)),
        ("stock", pa.int32()),
    ]
)
USERS = pa.schema([("user_id", pa.string()), ("region", pa.string())])


class SourceError(Exception):
    """The published files cannot be read: the message names the file, the fault and the remedy."""


@dataclass
class Summary:
    """What an adapter landed, left out and did without.

    `left_out` counts source rows by the reason they were not landed; `without` says what the source lacks.
    """

    source: str
    first_day: date
    last_day: date
    rows: dict[str, int] = field(default_factory=dict)
    anonymous_events: int = 0
    days_without_events: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    files_written: int = 0
    files_unchanged: int = 0
    files_removed: int = 0

    @property
    def days(self) -> int:
        """Calendar days from the first to the last, both counted."""
        return (self.last_day - self.first_day).days + 1

    def lines(self) -> list[str]:
        """The summary as lines for a terminal."""
        rows = ", ".join(f"{count:,} {table}" for table, count in self.rows.items())
        lines = [
            f"{self.source}: {self.first_day} to {self.last_day}, {self.days} days, "
            f"{self.days_without_events} of them without events",
            f"landed {rows} ({self.anonymous_events:,} events without a user)",
        ]
        lines += [f"left out {count:,} rows: {reason}" for reason, count in self.left_out.items() if count]
        lines += [f"without {what}" for what in self.without]
        lines.append(
            f"{self.files_written} files written, {self.files_unchanged} unchanged, {self.files_removed} removed"
        )
        return lines


@dataclass(frozen=True)
class RowsByDay:
    """The rows of one landing table, sorted by day; `day[i]` (datetime64[D]) is the folder of row i."""

    name: str
    rows: pa.Table
    day: np.ndarray[Any, np.dtype[np.datetime64]]

    def by_day(self) -> Iterator[tuple[date, pa.Table]]:
        """Yield (day, its rows) for each day that has rows, in order."""
        if not len(self.day):
            return
        starts = np.flatnonzero(np.r_[True, self.day[1:] != self.day[:-1]])
        ends = np.r_[starts[1:], len(self.day)]
        for start, end in zip(starts, ends, strict=True):
            yield self.day[start].astype("datetime64[D]").item(), self.rows.slice(start, end - start)


def landed(name: str, frame: pd.DataFrame, schema: pa.Schema) -> RowsByDay:
    """Return `frame` as a LandedTable: columns of `schema` that it has, folder day from its column `day`."""
    fields = pa.schema([column for column in schema if column.name in frame.columns])
    rows = pa.Table.from_pandas(frame[fields.names], schema=fields, preserve_index=False)
    return RowsByDay(name, rows.replace_schema_metadata(None), frame["day"].to_numpy("datetime64[D]"))


def write_days(landing: Path, tables: list[RowsByDay], file_name: str, summary: Summary) -> Summary:
    """Write `tables` below `landing`, one parquet file a day; return `summary` with its counts filled in.

    `events` gets a marked folder for every day of the summary's span, empty where there was no trade; other
    tables only for days with rows. A file that is there with the same bytes is left alone; a day of the span
    that this source no longer fills loses its old file. `_SUCCESS` goes before a change and comes back last.
    """
    span = [summary.first_day + timedelta(days=n) for n in range(summary.days)]
    for table in tables:
        summary.rows[table.name] = table.rows.num_rows
        filled: set[date] = set()
        for day, rows in table.by_day():
            filled.add(day)
            _put(landing / table.name / f"ds={day}", file_name, rows, summary)
        for day in span:
            if day not in filled:
                folder = landing / table.name / f"ds={day}"
                _empty(folder, file_name, keep_folder=table.name == "events", summary=summary)
        if table.name == "events":
            summary.days_without_events = len(set(span) - filled)
    return summary


def _put(folder: Path, file_name: str, rows: pa.Table, summary: Summary) -> None:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd", write_statistics=True)
    target, marker = folder / file_name, folder / SUCCESS
    # Hidden names are skipped by every reader of a landing folder, so a kill leaves no half file.
    temporary = folder / f".{file_name}.tmp"
    if target.exists() and target.read_bytes() == buffer.getvalue():
        summary.files_unchanged += 1
        temporary.unlink(missing_ok=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(target)
        summary.files_written += 1
    _mark(marker)


def _empty(folder: Path, file_name: str, keep_folder: bool, summary: Summary) -> None:
    target, marker = folder / file_name, folder / SUCCESS
    (folder / f".{file_name}.tmp").unlink(missing_ok=True)
    if target.exists():
        marker.unlink(missing_ok=True)
        target.unlink()
        summary.files_removed += 1
        if not keep_folder and not any(folder.iterdir()):
            folder.rmdir()
            return
        _mark(marker)
    elif keep_folder:
        folder.mkdir(parents=True, exist_ok=True)
        _mark(marker)


def _mark(marker: Path) -> None:
    if not marker.exists():
        marker.touch()


def read_published(
    path: Path,
    columns: list[str],
    renamed: dict[str, str] | None = None,
    keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None,
) -> pd.DataFrame:
    """Read `columns` of one published `.csv` or `.csv.gz` as text, nothing taken for missing but ''.

    `renamed` maps other published names of a column to ours. `keep` filters block by block, for files that do
    not fit in memory. Raises SourceError when the file is empty, cut short or not a csv, and when a column is
    not there. Other columns are ignored.
    """
    try:
        found = _header(path)
        published = [name for name in found if (renamed or {}).get(name, name) in columns]
        require_columns(path, found, [(renamed or {}).get(name, name) for name in published], columns)
        try:
            rows = _read_text(path, published, keep, "utf8")
        except UnicodeError:
            rows = _read_text(path, published, keep, "latin-1")  # so is Kaggle's copy of Online Retail
    except (OSError, EOFError, zlib.error, pa.ArrowInvalid) as error:
        raise SourceError(f"{path} cannot be read ({error}); get the published file again") from error
    return rows.rename(columns=renamed or {})[columns]


def _header(path: Path) -> list[str]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        first = file.readline().decode("utf-8-sig", errors="replace")
    if not first.strip():
        raise SourceError(f"{path} is empty; get the published file again")
    return next(csv.reader([first.strip()]))


def _read_text(
    path: Path, names: list[str], keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None, encoding: str
) -> pd.DataFrame:
    """Read the named columns block by block as text; raises UnicodeError when they are not in `encoding`."""
    try:
        with pa_csv.open_csv(
            path,
            read_options=pa_csv.ReadOptions(block_size=16 << 20, encoding=encoding),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=names, strings_can_be_null=False
            ),
        ) as reader:
            blocks = [keep(block) if keep else block for block in reader]
            return pa.Table.from_batches(blocks, schema=reader.schema).to_pandas()
    except pa.ArrowInvalid as error:
        if "invalid UTF8" in str(error):
            raise UnicodeError(str(error)) from error
        raise


def require_columns(path: Path, header: list[str], found: list[str], wanted: list[str]) -> None:
    """Raise SourceError unless every wanted column was found in `path`."""
    missing = [column for column in wanted if column not in found]
    if missing:
        raise SourceError(
            f"{path} has no column {', '.join(missing)} (it has: {', '.join(header)}); "
            f"the published file has {','.join(wanted)}"
        )


def published_file(src: Path, stem: str) -> Path | None:
    """Return `src/<stem>.csv` or `src/<stem>.csv.gz`, whichever is there; None when neither is.

    Raises SourceError when both are: it cannot be known which one is meant.
    """
    found = [path for path in (src / f"{stem}.csv", src / f"{stem}.csv.gz") if path.is_file()]
    if len(found) > 1:
        raise SourceError(f"{src} holds {stem}.csv and {stem}.csv.gz; remove one of them")
    return found[0] if found else None
