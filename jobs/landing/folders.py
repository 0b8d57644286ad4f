"""Find what a shop landed: `landing/<table>/ds=YYYY-MM-DD/*`, marked by `_SUCCESS`; FORMATS says what files may be.

topshelf landed --ds 2026-01-31 --landing s3://shop/landing
"""

import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import BinaryIO, cast

from pyarrow import fs

from jobs.lake.filesystems import filesystem_of

FORMAT_FILE = "_format.toml"
"""Beside a table's days: what the shop says about the form of its files."""
SUCCESS = "_SUCCESS"
"""The empty file that marks a day's folder as complete."""

FORMATS = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv", ".jsonl": "jsonl", ".jsonl.gz": "jsonl"}
BLOCK_BYTES = 1 << 22
_TOPIC_FILE = re.compile(r"topic-(?P<topic>.+)-\d{4,}-\d{12,}\.jsonl\.gz")


class UnmarkedDayError(LookupError):
    """A day that the night needs has no folder, or its folder is not marked as complete."""


class UnreadableFileError(ValueError):
    """A landed file cannot be read at all: it is empty, cut short, or not of the format that its name says."""


def topic_file(topic: str, partition: int, offset: int) -> str:
    """Return the name of the file of a topic's messages from an offset on."""
    return f"topic-{topic}-{partition:04d}-{offset:012d}.jsonl.gz"


def topic_of(name: str) -> str | None:
    """Return the topic that a file was landed from; None for any other file.

    >>> topic_of("topic-shop.events-0003-000000001742.jsonl.gz")
    'shop.events'
    """
    found = _TOPIC_FILE.fullmatch(name)
    return None if found is None else found["topic"]


@dataclass(frozen=True)
class LandedFile:
    """One landed file; `name` is its name within the day's folder, `path` its path in the file system."""

    table: str
    ds: date
    name: str
    path: str

    @property
    def format(self) -> str:
        """`parquet`, `csv` or `jsonl`."""
        name = self.name.lower()
        return next(file_format for suffix, file_format in FORMATS.items() if name.endswith(suffix))

    @property
    def may_be_torn(self) -> bool:
        """Whether its end may be torn: the endpoint appends to its exposures, and no mark says which is the last."""
        return self.table == "exposures" and self.name.endswith(".gz")


@dataclass(frozen=True)
class LandedDay:
    """A complete day of one table; its files in name order, possibly none."""

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

    @property
    def filesystem(self) -> fs.FileSystem:
        """The file system that holds the files."""
        return self._filesystem[0]

    def open(self, file: LandedFile) -> BinaryIO:
        """Return a file's bytes as a stream, decompressed if its name ends in `.gz`."""
        stream = self.filesystem.open_input_stream(file.path, compression=None)
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream) if file.name.lower().endswith(".gz") else stream)

    def size(self, file: LandedFile) -> int:
        """Return a file's bytes, as stored."""
        return int(self.filesystem.get_file_info(file.path).size)

    @cached_property
    def _format_files(self) -> dict[str, bytes | None]:
        return {}

    def format_file(self, table: str) -> bytes | None:
        """Return `landing/<table>/_format.toml`, read once, or None where there is none."""
        if table not in self._format_files:
            filesystem, base = self._filesystem
            path = f"{base}/{table}/{FORMAT_FILE}"
            self._format_files[table] = None
            if filesystem.get_file_info(path).type == fs.FileType.File:
                with filesystem.open_input_stream(path, compression=None) as stream:
                    self._format_files[table] = bytes(stream.readall())
        return self._format_files[table]

    def days(self, table: str, ds: date) -> list[LandedDay]:
        """Return a table's days up to `ds`, ascending.

        Raises:
            UnmarkedDayError: a folder lacks `_SUCCESS` (exposures need none), or `events` lack a day from the first
                one to `ds`.
            UnreadableFileError: a file's name ends in none of FORMATS.
        """
        folders = dict(self._folders(table))
        days = [self._day(table, day, path) for day, path in sorted(folders.items()) if day <= ds]
        if table == "events":
            self._refuse_gaps([day.ds for day in days], ds)
        return days

    def last_day(self) -> date | None:
        """Return the last day of which events have a folder; None if there is none."""
        return max((day for day, _ in self._folders("events")), default=None)

    def known_days(self, table: str) -> list[date]:
        """Return the days of a table that have a folder, marked or not, ascending."""
        return sorted(day for day, _ in self._folders(table))

    def files_of(self, table: str, ds: date) -> list[LandedFile]:
        """Return the files of a day, marked or not, that are of FORMATS; none where it has no folder."""
        folder = f"{self._filesystem[1]}/{table}/ds={ds}"
        names = (name for name in self.names_in(folder) if name.lower().endswith(tuple(FORMATS)))
        return [LandedFile(table, ds, name, f"{folder}/{name}") for name in names]

    def fingerprint(self, day: LandedDay) -> str:
        """Return the SHA-256 over the names and contents of a day's files, and what is said of their form."""
        digest = hashlib.sha256(self.format_file(day.table) or b"")
        for file in day.files:
            content = hashlib.sha256()
            with self.filesystem.open_input_stream(file.path, compression=None) as stream:
                while block := stream.read(BLOCK_BYTES):
                    content.update(block)
            digest.update(file.name.encode() + b"\0" + content.digest())
        return digest.hexdigest()

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
        infos = self.filesystem.get_file_info(fs.FileSelector(path))
        # The endpoint writes exposures and cannot know which one is a day's last. The night takes those that are
        # there; later ones change the day's fingerprint, so the next night stages the day again.
        if table != "exposures" and SUCCESS not in {info.base_name for info in infos}:
            raise UnmarkedDayError(
                f"{self.root}/{table}/ds={ds} is not marked as complete; when all of the day's files are there, "
                f"put an empty file {SUCCESS} beside them"
            )
        names = self.names_in(path)
        for name in names:
            if not name.lower().endswith(tuple(FORMATS)):
                raise UnreadableFileError(
                    f"{self.root}/{table}/ds={ds}/{name} is none of {', '.join(FORMATS)}; "
                    "convert it, or take it out of the folder"
                )
        return LandedDay(table, ds, tuple(LandedFile(table, ds, name, f"{path}/{name}") for name in names))

    def names_in(self, folder: str) -> list[str]:
        """Return the names of the files of a day's folder, sorted; folders below it, of hours or by Spark, count too.

        `folder` is a path within the file system.
        """
        found = []
        for info in self.filesystem.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True)):
            name = info.path[len(folder) + 1 :]
            if info.type == fs.FileType.File and not any(part.startswith(("_", ".")) for part in name.split("/")):
                found.append(name)
        return sorted(found)

    def _refuse_gaps(self, landed: list[date], ds: date) -> None:
        first = landed[0] if landed else ds
        expected = {first + timedelta(days=offset) for offset in range((ds - first).days + 1)}
        missing = sorted(expected - set(landed))
        if missing:
            more = f" and {len(missing) - 1} more days up to {missing[-1]}" if len(missing) > 1 else ""
            raise UnmarkedDayError(
                f"{self.root}/events has no ds={missing[0]}{more}; every day from the first to ds={ds} needs a "
                f"folder with {SUCCESS}: land the day, or make the folder and {SUCCESS} alone if nothing happened"
            )


def has_landed(landing: str, ds: date) -> bool:
    """Return whether `landing/events/ds=<day>` is marked as complete.

    `landing` is a folder or `s3://bucket/prefix`.
    """
    filesystem, base = filesystem_of(landing)
    return bool(filesystem.get_file_info(f"{base}/events/ds={ds}/{SUCCESS}").type == fs.FileType.File)


def unreadable(file: LandedFile, cause: object) -> UnreadableFileError:
    """Return the error that names the file, what is wrong with it, and the remedy."""
    text = re.sub(r"\s+", " ", str(cause)).strip() or type(cause).__name__
    return UnreadableFileError(
        f"{file.path} cannot be read: {text}; land the file again (folder {file.table}/ds={file.ds})"
    )
