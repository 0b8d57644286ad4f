"""Find and check what a shop landed: `landing/<table>/ds=YYYY-MM-DD/*.{parquet,csv,csv.gz,jsonl}` and `_SUCCESS`.

topshelf landed --ds 2026-01-31 --landing s3://shop/landing
"""

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.lake.filesystems import filesystem_of

SUCCESS = "_SUCCESS"

FORMATS = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv", ".jsonl": "jsonl"}
JSONL_SAMPLE_LINES = 1000
BLOCK_BYTES = 1 << 22


class UnmarkedDayError(LookupError):
    """A day that a night needs has no folder, or one that is not marked as complete."""


class UnreadableFileError(ValueError):
    """A landed file as a whole cannot be read: empty, cut short, or not what its name says."""


@dataclass(frozen=True)
class LandedFile:
    """One file as it lies there; `path` is its address, `name` the name within its day."""

    table: str
    ds: date
    name: str
    path: str

    @property
    def format(self) -> str:
        """`parquet`, `csv` or `jsonl`."""
        return next(form for suffix, form in FORMATS.items() if self.name.endswith(suffix))


@dataclass(frozen=True)
class LandedDay:
    """A complete day's folder of one table; its files in name order, maybe none."""

    table: str
    ds: date
    files: tuple[LandedFile, ...]


@dataclass(frozen=True)
class Landing:
    """Reads a landing folder. `root` is a folder or `s3://bucket/prefix`."""

    root: str

    @cached_property
    def _filesystem(self) -> tuple[fs.FileSystem, str]:
        return filesystem_of(self.root)

    def address(self, file: LandedFile) -> str:
        """Return the address that Spark reads a file by; it would take [a] or {b} for patterns."""
        path = re.sub(r"([\[\]{}*?\\])", r"\\\1", file.path)
        return f"s3a://{path}" if self.root.startswith("s3://") else path

    def days(self, table: str, ds: date) -> list[LandedDay]:
        """Return a table's days up to `ds`, ascending.

        Raises:
            UnmarkedDayError: a folder without `_SUCCESS` (exposures need none); for `events` also a day without one.
            UnreadableFileError: a file whose name has none of the known endings.
        """
        folders = dict(self._folders(table))
        days = [self._day(table, day, path) for day, path in sorted(folders.items()) if day <= ds]
        if table == "events":
            self._refuse_gaps([day.ds for day in days], ds)
        return days

    def _folders(self, table: str) -> Iterator[tuple[date, str]]:
        filesystem, base = self._filesystem
        for info in filesystem.get_file_info(fs.FileSelector(f"{base}/{table}", allow_not_found=True)):
            if not info.base_name.startswith("ds="):
                continue
            try:
                yield date.fromisoformat(info.base_name[3:]), info.path
            except ValueError as error:
                raise UnmarkedDayError(
                    f"{self.root}/{table}/{info.base_name} is no day; name the folder ds=YYYY-MM-DD"
                ) from error

    def _day(self, table: str, ds: date, path: str) -> LandedDay:
        infos = self._filesystem[0].get_file_info(fs.FileSelector(path))
        # The endpoint writes exposures itself and cannot know its own last one: that day's rows count as they stand,
        # and what comes later makes the day stale.
        if table != "exposures" and SUCCESS not in {info.base_name for info in infos}:
            raise UnmarkedDayError(
                f"{self.root}/{table}/ds={ds} is not marked as complete; when all of the day's files are there, "
                f"put an empty file {SUCCESS} beside them"
            )
        names = sorted(info.base_name for info in infos if not info.base_name.startswith(("_", ".")))
        for name in names:
            if not any(name.endswith(suffix) for suffix in FORMATS):
                raise UnreadableFileError(
                    f"{self.root}/{table}/ds={ds}/{name} is none of {', '.join(FORMATS)}; "
                    "convert it, or take it out of the folder"
                )
            if ":" in name:
                raise UnreadableFileError(
                    f"{path}/{name} has a colon in its name, which Spark cannot read; rename it"
                )
        return LandedDay(table, ds, tuple(LandedFile(table, ds, name, f"{path}/{name}") for name in names))

    def _refuse_gaps(self, found: list[date], ds: date) -> None:
        first = found[0] if found else ds
        expected = [first + timedelta(days=n) for n in range((ds - first).days + 1)]
        missing = sorted(set(expected) - set(found))
        if missing:
            more = f" and {len(missing) - 1} more days up to {missing[-1]}" if len(missing) > 1 else ""
            raise UnmarkedDayError(
                f"{self.root}/events has no ds={missing[0]}{more}; every day from the first to ds={ds} needs a "
                f"folder with {SUCCESS}: land the day, or make the folder and {SUCCESS} alone if nothing happened"
            )

    # Files -------------------------------------------------------------------------------------------------

    def fingerprint(self, day: LandedDay) -> str:
        """Return the SHA-256 over the names and contents of a day's files."""
        digest = hashlib.sha256()
        for file in day.files:
            content = hashlib.sha256()
            with self._filesystem[0].open_input_stream(file.path, compression=None) as stream:
                while block := stream.read(BLOCK_BYTES):
                    content.update(block)
            digest.update(file.name.encode() + b"\0" + content.digest())
        return digest.hexdigest()

    def parquet_schema(self, file: LandedFile) -> tuple[pa.Schema, dict[str, str]]:
        """Return a parquet file's Arrow schema, and the physical type of each plain column.

        Raises:
            UnreadableFileError: the file is empty, cut short, or no parquet.
        """
        try:
            with self._filesystem[0].open_input_file(file.path) as stream:
                parquet = pq.ParquetFile(stream)
                leaves = [parquet.schema.column(n) for n in range(len(parquet.schema))]
                return parquet.schema_arrow, {leaf.path: leaf.physical_type for leaf in leaves}
        except (pa.ArrowException, OSError) as error:
            raise unreadable(file, error) from error

    def text_columns(self, file: LandedFile) -> tuple[str, ...]:
        """Return a csv's header, or the keys of a jsonl's first lines; the whole text is read and checked once.

        Raises:
            UnreadableFileError: empty where a header is due, cut short, not UTF-8, or a quote is never closed.
        """
        try:
            if file.format == "jsonl":
                return self._jsonl_keys(file)
            header = self._csv_header(file)
            self._refuse_open_quote(file)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            raise unreadable(file, error) from error
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise unreadable(file, f"its header names {', '.join(repeated)} more than once")
        return header

    def _open(self, file: LandedFile) -> Any:
        stream = self._filesystem[0].open_input_stream(file.path, compression=None)
        return gzip.GzipFile(fileobj=stream) if file.name.endswith(".gz") else stream

    def _text(self, file: LandedFile) -> io.TextIOWrapper:
        return io.TextIOWrapper(self._open(file), encoding="utf-8-sig", newline="")

    def _csv_header(self, file: LandedFile) -> tuple[str, ...]:
        with self._text(file) as text:
            header = next(csv.reader(text), None)
        if not header:
            raise unreadable(file, "it is empty, and a csv begins with a header")
        # Spreadsheets leave a comma at the end of every line.
        return tuple(name.strip() or f"(column {place})" for place, name in enumerate(header, start=1))

    def _refuse_open_quote(self, file: LandedFile) -> None:
        """Read a csv to its end; a quote that is never closed would make one field of all rows after it."""
        quotes = 0
        with self._open(file) as stream:
            while block := stream.read(BLOCK_BYTES):
                quotes += block.count(b'"')
        if quotes % 2 == 0:
            return
        # An odd count may be an inch mark within a plain field; only a strict reader knows.
        csv.field_size_limit(1 << 30)
        with self._text(file) as text:
            try:
                for _ in csv.reader(text, strict=True):
                    pass
            except csv.Error as error:
                if "unexpected end of data" in str(error):
                    raise unreadable(file, "a quote is opened and never closed") from error

    def _jsonl_keys(self, file: LandedFile) -> tuple[str, ...]:
        """Return the keys of the first lines, in order; a line that is no JSON object is left to the rows."""
        keys: dict[str, None] = {}
        with self._text(file) as text:
            for _, line in zip(range(JSONL_SAMPLE_LINES), text, strict=False):
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                keys |= dict.fromkeys(row if isinstance(row, dict) else ())
        return tuple(keys)


def has_landed(landing: str, ds: date) -> bool:
    """Tell whether `landing/events/ds=<day>` is marked as complete; `landing` is a folder or `s3://bucket/prefix`."""
    filesystem, base = filesystem_of(landing)
    return bool(filesystem.get_file_info(f"{base}/events/ds={ds}/{SUCCESS}").type == fs.FileType.File)


def unreadable(file: LandedFile, why: object) -> UnreadableFileError:
    """Return the error that names the file, what is wrong with it, and the remedy."""
    told = re.sub(r"\s+", " ", str(why)).strip() or type(why).__name__
    return UnreadableFileError(
        f"{file.path} cannot be read: {told}; land the file again (folder {file.table}/ds={file.ds})"
    )
