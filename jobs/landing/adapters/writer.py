"""Write landing folders, one file a day. Writing again changes nothing; a crash never leaves a half day marked.

Every adapter ends here: it hands over the rows of each landing table with each row's day, and `write_days` writes
`landing/<table>/ds=<day>/<file>` and `_SUCCESS`.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
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


@dataclass
class LandingSummary:
    """What an adapter landed and left out, and what the source lacks."""

    source: str
    first_day: date
    last_day: date
    rows: dict[str, int] = field(default_factory=dict)
    """Landed rows by table."""
    anonymous_events: int = 0
    days_without_events: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    """Source rows that were not landed, by reason."""
    without: list[str] = field(default_factory=list)
    """What the source lacks."""
    files_written: int = 0
    files_unchanged: int = 0
    files_removed: int = 0

    @property
    def days(self) -> int:
        """Calendar days from the first to the last, both counted."""
        return (self.last_day - self.first_day).days + 1

    def lines(self) -> list[str]:
        """Return the summary as lines for a terminal."""
        rows = ", ".join(f"{count:,} {table}" for table, count in self.rows.items())
        return [
            f"{self.source}: {self.first_day} to {self.last_day}, {self.days} days, "
            f"{self.days_without_events} of them without events",
            f"landed {rows} ({self.anonymous_events:,} events without a user)",
            *(f"left out {count:,} rows: {reason}" for reason, count in self.left_out.items() if count),
            *(f"without {what}" for what in self.without),
            f"{self.files_written} files written, {self.files_unchanged} unchanged, {self.files_removed} removed",
        ]


@dataclass(frozen=True)
class RowsByDay:
    """The rows of one landing table, sorted by day; row i goes to the folder of `day[i]`."""

    name: str
    rows: pa.Table
    day: npt.NDArray[np.datetime64]

    @classmethod
    def from_frame(cls, name: str, frame: pd.DataFrame, schema: pa.Schema) -> "RowsByDay":
        """Take the columns of `schema` that `frame` has, and each row's folder day from its column `day`."""
        fields = pa.schema([column for column in schema if column.name in frame.columns])
        rows = pa.Table.from_pandas(frame[fields.names], schema=fields, preserve_index=False)
        return cls(name, rows.replace_schema_metadata(None), frame["day"].to_numpy("datetime64[D]"))

    def by_day(self) -> Iterator[tuple[date, pa.Table]]:
        """Yield each day that has rows, with its rows, in order."""
        if not len(self.day):
            return
        starts = np.flatnonzero(np.r_[True, self.day[1:] != self.day[:-1]])
        ends = np.r_[starts[1:], len(self.day)]
        for start, end in zip(starts, ends, strict=True):
            yield self.day[start].astype("datetime64[D]").item(), self.rows.slice(start, end - start)


def write_days(landing: Path, tables: Sequence[RowsByDay], file_name: str, summary: LandingSummary) -> LandingSummary:
    """Write `tables` below `landing`, one parquet file a day; return `summary` with its counts filled in.

    `events` gets a marked folder for every day from the summary's first to its last, empty where nothing happened.
    Other tables get folders only for days with rows. A file with the same bytes is not written again. If the source
    has no more rows of a day, its old file is removed. `_SUCCESS` is removed before a change and written after it.
    """
    days = [summary.first_day + timedelta(days=offset) for offset in range(summary.days)]
    for table in tables:
        summary.rows[table.name] = table.rows.num_rows
        filled: set[date] = set()
        for day, rows in table.by_day():
            filled.add(day)
            _write_file(landing / table.name / f"ds={day}", file_name, rows, summary)
        for day in days:
            if day not in filled:
                folder = landing / table.name / f"ds={day}"
                _remove_file(folder, file_name, keep_folder=table.name == "events", summary=summary)
        if table.name == "events":
            summary.days_without_events = len(set(days) - filled)
    return summary


def _write_file(folder: Path, file_name: str, rows: pa.Table, summary: LandingSummary) -> None:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd", write_statistics=True)
    target, marker = folder / file_name, folder / SUCCESS
    # Readers of landing skip hidden names, so a kill leaves no half file behind.
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


def _remove_file(folder: Path, file_name: str, keep_folder: bool, summary: LandingSummary) -> None:
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
    if not marker.exists():  # touch() would change the time of an unchanged day
        marker.touch()
