"""Which shoppers were erased, and how their rows leave landing.

Landing is the source of all tables, so its files are rewritten without the rows of erased users. That changes their
days' fingerprints, and the next night stages those days again.
"""

import codecs
import gzip
import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.lake.contracts import Column
from jobs.lake.filesystems import filesystem_of
from jobs.landing.cells import CellForm, clean_id, typed
from jobs.landing.csv_form import csv_form
from jobs.landing.csv_records import CsvForm, csv_blocks
from jobs.landing.file_format import FileFormat, TableFormat
from jobs.landing.file_plans import matching_names, table_format
from jobs.landing.folders import LandedFile, Landing
from jobs.landing.torn_ends import torn_bytes
from serving.snapshot.manifest import NOT_JSON
from serving.snapshot.tombstones import FOLDER, Tombstones, UnknownErasuresError

REDACTED = "_redacted.json"
"""Beside a day's files: how many rows each of them has lost to erasures."""
PERSONAL = ("events", "exposures", "users")
"""Landing tables with a user_id."""
IsErased = Callable[[str | None, str | None], bool]
"""Whether the row of a user id with a time stamp has to go."""

_ROW = msgspec.json.Decoder(dict[str, object])
_LOST_ROWS = msgspec.json.Decoder(dict[str, int])


def erased_users(landing: str) -> Tombstones:
    """Return the erasures in `landing/tombstones/*.jsonl`; none where there is no such folder."""
    filesystem, base = filesystem_of(landing)
    tombstones = Tombstones()
    for info in filesystem.get_file_info(fs.FileSelector(f"{base}/{FOLDER}", allow_not_found=True)):
        if info.base_name.endswith(".jsonl"):
            with filesystem.open_input_stream(info.path) as stream:
                tombstones.take(stream.readall().splitlines())
    return tombstones


def known_erasures(landing: str) -> Tombstones:
    """Return the erasures under a landing folder. Raises UnknownErasuresError where the folder is not there."""
    filesystem, base = filesystem_of(landing)
    if filesystem.get_file_info(base).type == fs.FileType.NotFound:
        raise UnknownErasuresError(landing)
    return erased_users(landing)


def without(table: pa.Table, tombstones: Tombstones) -> pa.Table:
    """Return a table without the rows of users who were ever erased, whatever the rows' day.

    Every row must have a user_id.
    """
    if not len(tombstones):
        return table
    user_id = table["user_id"].cast(pa.string())
    distinct = pc.unique(user_id)
    is_erased = pa.array([tombstones.erased_at(user) is not None for user in distinct.to_pylist()], pa.bool_())
    return table.filter(pc.invert(pc.is_in(user_id, value_set=distinct.filter(is_erased))))


def erase_from_landing(landing: str, tombstones: Tombstones, before: date) -> dict[str, int]:
    """Rewrite the files of days before `before` that hold rows to erase; return how many rows each file lost.

    A row goes if it is not newer than its user's erasure: by its `ts`, or without one by its folder's day, as in
    `users`. REDACTED in the folder sums up how many rows each file has lost so far. Keys of the result are
    `<table>/ds=<day>/<file>`.
    """
    filesystem, base = filesystem_of(landing)
    source, lost_rows = Landing(landing), dict[str, int]()
    for table in PERSONAL:
        said = table_format(source, table)
        folders = filesystem.get_file_info(fs.FileSelector(f"{base}/{table}", allow_not_found=True))
        for folder in sorted(folders, key=lambda info: str(info.base_name)):
            if not folder.base_name.startswith("ds=") or date.fromisoformat(folder.base_name[3:]) >= before:
                continue
            is_erased = _erased_in(tombstones, folder.base_name[3:])
            lost = _erase_from_folder(source, said, table, folder, is_erased)
            lost_rows |= {f"{table}/{folder.base_name}/{name}": rows for name, rows in lost.items()}
    return lost_rows


def _erased_in(tombstones: Tombstones, folder_day: str) -> IsErased:
    """Return the test of a folder's rows; a row without a readable time stamp is as old as its folder's day."""
    erased_at: dict[str, float | None] = {}

    def is_erased(user_id: str | None, ts: str | None) -> bool:
        user_id = clean_id(user_id)
        if user_id is None:
            return False
        if user_id not in erased_at:
            erased_at[user_id] = tombstones.erased_at(user_id)
        until = erased_at[user_id]
        if until is None:
            return False
        try:
            at = datetime.fromisoformat(ts or folder_day)
        except ValueError:  # no time at all: ingest puts the row into quarantine
            at = datetime.fromisoformat(folder_day)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() <= until

    return is_erased


def _erase_from_folder(
    source: Landing, said: TableFormat, table: str, folder: fs.FileInfo, is_erased: IsErased
) -> dict[str, int]:
    """Rewrite a folder's files without erased rows; return how many rows each changed file lost."""
    filesystem, lost = source.filesystem, dict[str, int]()
    for name in source.names_in(folder.path):
        file = LandedFile(table, date.fromisoformat(folder.base_name[3:]), name, f"{folder.path}/{name}")
        with filesystem.open_input_stream(file.path, compression=None) as stream:
            content = stream.readall()
        if file.may_be_torn:
            content = content[: len(content) - torn_bytes(content)]
        kept, lost_here = _without_erased(source, file, content, said.of(name), is_erased)
        if lost_here:
            _replace(filesystem, file.path, kept)
            lost[name] = lost_here
    if lost:
        _add_to_note(filesystem, f"{folder.path}/{REDACTED}", lost)
    return lost


def _add_to_note(filesystem: fs.FileSystem, path: str, lost: dict[str, int]) -> None:
    earlier: dict[str, int] = {}
    if filesystem.get_file_info(path).type == fs.FileType.File:
        with filesystem.open_input_stream(path) as stream:
            earlier = _LOST_ROWS.decode(stream.readall())
    total = {name: earlier.get(name, 0) + lost.get(name, 0) for name in sorted({*earlier, *lost})}
    _replace(filesystem, path, json.dumps(total, indent=1).encode())


def _replace(filesystem: fs.FileSystem, path: str, content: bytes) -> None:
    folder, _, name = path.rpartition("/")
    partial = f"{folder}/.{name}.partial"  # every reader of landing skips hidden names
    with filesystem.open_output_stream(partial, compression=None) as stream:
        stream.write(content)
    filesystem.move(partial, path)


def _without_erased(
    source: Landing, file: LandedFile, content: bytes, said: FileFormat, is_erased: IsErased
) -> tuple[bytes, int]:
    """Return a file's content without its erased rows, and how many there were."""
    if file.format == "parquet":
        return _parquet_without(content, said, is_erased)
    is_gzip = file.name.lower().endswith(".gz")
    text = gzip.decompress(content) if is_gzip else content
    if file.format == "jsonl":
        kept, lost = _jsonl_without(text, said, is_erased)
    else:
        kept, lost = _csv_without(text, csv_form(source, file, said), said, is_erased)
    return (gzip.compress(kept, mtime=0) if is_gzip else kept), lost


def _parquet_without(content: bytes, said: FileFormat, is_erased: IsErased) -> tuple[bytes, int]:
    rows = pq.read_table(io.BytesIO(content))
    user, ts = _user_and_ts(rows.column_names, said)
    if user is None:
        return content, 0
    users = typed(rows[user].combine_chunks(), Column("user_id", "string"), CellForm()).values.to_pylist()
    times = rows[ts].cast(pa.string()).to_pylist() if ts is not None else [None] * len(rows)
    kept = rows.filter(pa.array([not is_erased(user, ts) for user, ts in zip(users, times, strict=True)], pa.bool_()))
    if len(kept) == len(rows):
        return content, 0
    buffer = io.BytesIO()
    pq.write_table(kept, buffer)
    return buffer.getvalue(), len(rows) - len(kept)


def _jsonl_without(text: bytes, said: FileFormat, is_erased: IsErased) -> tuple[bytes, int]:
    lines = text.splitlines(keepends=True)
    kept = []
    names: dict[tuple[str, ...], tuple[str | None, str | None]] = {}
    """What rows of these keys call `user_id` and `ts`: most rows of a file have the same keys."""
    for line in lines:
        try:
            row = _ROW.decode(line)
        except NOT_JSON:
            row = {}  # no row at all: ingest puts it into quarantine
        keys = tuple(row)
        if keys not in names:
            names[keys] = _user_and_ts(keys, said)
        user, ts = (None if name is None else row[name] for name in names[keys])
        if not is_erased(None if user is None else str(user), None if ts is None else str(ts)):
            kept.append(line)
    return b"".join(kept), len(lines) - len(kept)


def _csv_without(content: bytes, form: CsvForm, said: FileFormat, is_erased: IsErased) -> tuple[bytes, int]:
    """Return the lines of a csv without those of erased rows; all others stay byte for byte.

    A line that is no row goes too, if one of its cells is an erased user's id.
    """
    user, ts = _user_and_ts(form.header, said)
    if user is None:
        return content, 0
    text = content.decode(form.encoding, "surrogateescape")
    at_user, at_ts = form.header.index(user), None if ts is None else form.header.index(ts)
    gone: dict[int, list[bool]] = {}
    """Of each line on which rows begin, whether each of them goes."""
    for block in csv_blocks(io.StringIO(text, newline=form.line_end), form):
        for line, row in zip(block.lines, block.rows, strict=True):
            gone.setdefault(line, []).append(is_erased(row[at_user], None if at_ts is None else row[at_ts]))
        for line, malformed in block.malformed:
            cells = malformed.replace(form.quote, "").split(form.separator)
            gone[line] = [any(is_erased(cell, None) for cell in cells)]
    lost = sum(map(sum, gone.values()))
    if not lost:
        return content, 0
    kept, goes = [], False
    for number, whole in enumerate(io.StringIO(text, newline=form.line_end), start=1):
        rows = gone.get(number)
        goes = goes if rows is None else all(rows)
        if rows is not None and any(rows) and not goes:  # several rows that end in carriage returns
            parts = whole.strip("\r\n").split("\r")
            kept.append("\r".join(part for part, is_gone in zip(parts, rows, strict=True) if not is_gone) + "\n")
        elif not goes:
            kept.append(whole)
    has_mark = content.startswith(codecs.BOM_UTF8)
    encoding = "utf-8" if form.encoding == "utf-8-sig" and not has_mark else form.encoding
    return "".join(kept).encode(encoding, "surrogateescape"), lost


def _user_and_ts(names: Sequence[str], said: FileFormat) -> tuple[str | None, str | None]:
    """Return what a file calls `user_id` and `ts`; None for what it lacks."""
    found = matching_names(names, ("user_id", "ts"), said)
    return found.get("user_id"), found.get("ts")
