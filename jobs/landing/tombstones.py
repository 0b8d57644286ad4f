"""Which shoppers were erased, and how their rows leave landing.

A file is rewritten without the rows of erased users, so that the next night stages its day anew.
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
from serving.snapshot.tombstones import Tombstones

REDACTED = "_redacted.json"
PERSONAL = ("events", "exposures", "users")
_LINE = msgspec.json.Decoder(dict[str, object])
Gone = Callable[[str | None, str | None], bool]
"""Whether the row of a user id with a time stamp is to go."""


def erased_users(landing: str) -> Tombstones:
    """Return the erasures that stand in `landing/tombstones/*.jsonl`."""
    filesystem, base = filesystem_of(landing)
    stones = Tombstones()
    for info in filesystem.get_file_info(fs.FileSelector(f"{base}/tombstones", allow_not_found=True)):
        if info.base_name.endswith(".jsonl"):
            with filesystem.open_input_stream(info.path) as stream:
                stones.take(stream.readall().splitlines())
    return stones


def without(table: pa.Table, erased: Tombstones) -> pa.Table:
    """Return a table without the rows of erased users."""
    if not len(erased):
        return table
    owner = table["user_id"].cast(pa.string())
    known = pc.unique(owner)
    gone = known.filter(
        pa.array([erased.erased_at(user_id) is not None for user_id in known.to_pylist()], pa.bool_())
    )
    return table.filter(pc.invert(pc.is_in(owner, value_set=gone)))


def erase_from_landing(landing: str, stones: Tombstones, before: date) -> dict[str, int]:
    """Rewrite the files of days before `before` that hold erased rows; return how many rows went, by file.

    A row goes if its user was erased after it: by `ts`, in `users` by the folder's day. The folder keeps a note of
    how many rows each file has lost.
    """
    filesystem, base = filesystem_of(landing)
    went: dict[str, int] = {}
    for table in PERSONAL:
        folders = filesystem.get_file_info(fs.FileSelector(f"{base}/{table}", allow_not_found=True))
        for folder in sorted(folders, key=lambda info: str(info.base_name)):
            if not folder.base_name.startswith("ds=") or date.fromisoformat(folder.base_name[3:]) >= before:
                continue
            lost = _erase_from_folder(filesystem, folder, _gone_by(stones, folder.base_name[3:]))
            went |= {f"{table}/{folder.base_name}/{name}": rows for name, rows in lost.items()}
    return went


def _gone_by(stones: Tombstones, folder_day: str) -> Gone:
    """Return the test of a folder's rows; a row without a time stamp is as old as its folder."""
    remembered: dict[str, float | None] = {}

    def gone(user_id: str | None, ts: str | None) -> bool:
        if not user_id:
            return False
        if user_id not in remembered:
            remembered[user_id] = stones.erased_at(user_id)
        erased_at = remembered[user_id]
        if erased_at is None:
            return False
        at = datetime.fromisoformat(ts or folder_day)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() <= erased_at

    return gone


def _erase_from_folder(filesystem: fs.FileSystem, folder: fs.FileInfo, gone: Gone) -> dict[str, int]:
    lost: dict[str, int] = {}
    for info in filesystem.get_file_info(fs.FileSelector(folder.path)):
        if info.base_name.startswith(("_", ".")):
            continue
        with filesystem.open_input_stream(info.path, compression=None) as stream:
            content = stream.readall()
        kept, rows = _without(info.base_name, content, gone)
        if rows:
            _replace(filesystem, info.path, kept)
            lost[info.base_name] = rows
    if lost:
        note = f"{folder.path}/{REDACTED}"
        before: dict[str, int] = {}
        if filesystem.get_file_info(note).type == fs.FileType.File:
            with filesystem.open_input_stream(note) as stream:
                before = json.loads(stream.readall())
        total = {name: before.get(name, 0) + lost.get(name, 0) for name in sorted({*before, *lost})}
        _replace(filesystem, note, json.dumps(total, indent=1).encode())
    return lost


def _replace(filesystem: fs.FileSystem, path: str, content: bytes) -> None:
    folder, _, name = path.rpartition("/")
    partial = f"{folder}/.{name}.partial"  # passed over by every reader of landing
    with filesystem.open_output_stream(partial, compression=None) as stream:
        stream.write(content)
    filesystem.move(partial, path)


def _without(name: str, content: bytes, gone: Gone) -> tuple[bytes, int]:
    """Return a file's content without the rows that go, and how many went."""
    if name.endswith(".parquet"):
        return _parquet_without(content, gone)
    text = gzip.decompress(content) if name.endswith(".gz") else content
    kept, rows = _jsonl_without(text, gone) if name.endswith(".jsonl") else _csv_without(text, gone)
    return (gzip.compress(kept, mtime=0) if name.endswith(".gz") else kept), rows


def _parquet_without(content: bytes, gone: Gone) -> tuple[bytes, int]:
    rows = pq.read_table(io.BytesIO(content))
    if "user_id" not in rows.column_names:
        return content, 0
    users = rows["user_id"].cast(pa.string()).to_pylist()
    times = rows["ts"].cast(pa.string()).to_pylist() if "ts" in rows.column_names else [None] * len(rows)
    stay = pa.array([not gone(user, ts) for user, ts in zip(users, times, strict=True)], pa.bool_())
    kept = rows.filter(stay)
    if len(kept) == len(rows):
        return content, 0
    out = io.BytesIO()
    pq.write_table(kept, out)
    return out.getvalue(), len(rows) - len(kept)


def _jsonl_without(text: bytes, gone: Gone) -> tuple[bytes, int]:
    kept, went = [], 0
    for line in text.splitlines(keepends=True):
        try:
            row = _LINE.decode(line)
        except msgspec.MsgspecError:
            row = {}  # no row at all; quarantine tells of it
        user, ts = row.get("user_id"), row.get("ts")
        if gone(None if user is None else str(user), None if ts is None else str(ts)):
            went += 1
        else:
            kept.append(line)
    return b"".join(kept), went


def _csv_without(text: bytes, gone: Gone) -> tuple[bytes, int]:
    rows = list(csv.reader(io.StringIO(text.decode("utf-8-sig"), newline="")))
    header = rows[0] if rows else []
    if "user_id" not in header:
        return text, 0
    user, ts = header.index("user_id"), header.index("ts") if "ts" in header else None
    kept = [
        row
        for row in rows[1:]
        if len(row) <= user or not gone(row[user], row[ts] if ts is not None and len(row) > ts else None)
    ]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([header, *kept])
    return out.getvalue().encode(), len(rows) - 1 - len(kept)
