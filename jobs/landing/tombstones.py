"""Which shoppers were erased, and how their rows leave landing.

Landing is the source of all tables, so its files are rewritten without the rows of erased users. That changes their
days' fingerprints, and the next night stages those days again.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.lake.filesystems import filesystem_of
from jobs.landing.folders import LandedFile
from jobs.landing.headers import torn_bytes
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
    lost_rows: dict[str, int] = {}
    for table in PERSONAL:
        folders = filesystem.get_file_info(fs.FileSelector(f"{base}/{table}", allow_not_found=True))
        for folder in sorted(folders, key=lambda info: str(info.base_name)):
            if not folder.base_name.startswith("ds=") or date.fromisoformat(folder.base_name[3:]) >= before:
                continue
            lost = _erase_from_folder(filesystem, table, folder, _erased_in(tombstones, folder.base_name[3:]))
            lost_rows |= {f"{table}/{folder.base_name}/{name}": rows for name, rows in lost.items()}
    return lost_rows


def _erased_in(tombstones: Tombstones, folder_day: str) -> IsErased:
    """Return the test of a folder's rows; a row without a readable time stamp is as old as its folder's day."""
    erased_at: dict[str, float | None] = {}

    def is_erased(user_id: str | None, ts: str | None) -> bool:
        if not user_id:
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
    filesystem: fs.FileSystem, table: str, folder: fs.FileInfo, is_erased: IsErased
) -> dict[str, int]:
    """Rewrite a folder's files without erased rows; return how many rows each changed file lost."""
    lost: dict[str, int] = {}
    for info in filesystem.get_file_info(fs.FileSelector(folder.path)):
        if info.base_name.startswith(("_", ".")):
            continue
        with filesystem.open_input_stream(info.path, compression=None) as stream:
            content = stream.readall()
        if LandedFile(table, date.fromisoformat(folder.base_name[3:]), info.base_name, info.path).may_be_torn:
            content = content[: len(content) - torn_bytes(content)]
        kept, lost_here = _without_erased(info.base_name, content, is_erased)
        if lost_here:
            _replace(filesystem, info.path, kept)
            lost[info.base_name] = lost_here
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


def _without_erased(name: str, content: bytes, is_erased: IsErased) -> tuple[bytes, int]:
    """Return a file's content without its erased rows, and how many there were."""
    if name.endswith(".parquet"):
        return _parquet_without(content, is_erased)
    text = gzip.decompress(content) if name.endswith(".gz") else content
    is_jsonl = name.removesuffix(".gz").endswith(".jsonl")
    kept, lost = _jsonl_without(text, is_erased) if is_jsonl else _csv_without(text, is_erased)
    return (gzip.compress(kept, mtime=0) if name.endswith(".gz") else kept), lost


def _parquet_without(content: bytes, is_erased: IsErased) -> tuple[bytes, int]:
    rows = pq.read_table(io.BytesIO(content))
    if "user_id" not in rows.column_names:
        return content, 0
    users = rows["user_id"].cast(pa.string()).to_pylist()
    times = rows["ts"].cast(pa.string()).to_pylist() if "ts" in rows.column_names else [None] * len(rows)
    kept = rows.filter(pa.array([not is_erased(user, ts) for user, ts in zip(users, times, strict=True)], pa.bool_()))
    if len(kept) == len(rows):
        return content, 0
    buffer = io.BytesIO()
    pq.write_table(kept, buffer)
    return buffer.getvalue(), len(rows) - len(kept)


def _jsonl_without(text: bytes, is_erased: IsErased) -> tuple[bytes, int]:
    lines = text.splitlines(keepends=True)
    kept = []
    for line in lines:
        try:
            row = _ROW.decode(line)
        except NOT_JSON:
            row = {}  # no row at all: ingest puts it into quarantine
        user, ts = row.get("user_id"), row.get("ts")
        if not is_erased(None if user is None else str(user), None if ts is None else str(ts)):
            kept.append(line)
    return b"".join(kept), len(lines) - len(kept)


def _csv_without(text: bytes, is_erased: IsErased) -> tuple[bytes, int]:
    rows = list(csv.reader(io.StringIO(text.decode("utf-8-sig"), newline="")))
    header = rows[0] if rows else []
    if "user_id" not in header:
        return text, 0
    user, ts = header.index("user_id"), header.index("ts") if "ts" in header else None
    kept = [
        row
        for row in rows[1:]
        if len(row) <= user or not is_erased(row[user], row[ts] if ts is not None and len(row) > ts else None)
    ]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([header, *kept])
    return buffer.getvalue().encode(), len(rows) - 1 - len(kept)
