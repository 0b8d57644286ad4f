"""Take erased shoppers' rows out of landing, and drop what the lake derived from them.

Landing is what everything is made from, so it is what is rewritten: the next night finds the days' fingerprints
changed and stages them anew, quarantine with them. Derived partitions that hold an erased shopper are removed; what
is still needed is built again. Snapshots leave by their own retention. The endpoint serves nothing personal from the
moment of the erasure (`serving.stores.tombstones`), so this may take its time: a few of the latest days, which the
endpoint still writes, are left for the next run.
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

from jobs.filesystems import filesystem_of
from jobs.lake import Lake
from jobs.manifest import MANIFEST_NAME
from serving.stores.tombstones import Tombstones

REDACTED = "_redacted.json"
PERSONAL = ("events", "exposures", "users")
DERIVED = (
    "features/user",
    "features/newcomer",
    "features/user_item",
    "features/user_category",
    "marts/candidates",
    "marts/top_n",
    "marts/examples",
    "marts/labels",
    "marts/shown",
)
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


def redacted_until(lake: Lake, ds: date) -> float:
    """Return the moment in UTC seconds up to which landing was rid of erased rows when `ds` ended; 0 for never."""
    filesystem, base = filesystem_of(lake.root)
    told = filesystem.get_file_info(fs.FileSelector(f"{base}/runs/maintenance", allow_not_found=True))
    days = [date.fromisoformat(info.base_name[:10]) for info in told if info.base_name.endswith(".json")]
    reports = [lake.get_json(f"runs/maintenance/{day}.json") for day in sorted(days) if day <= ds]
    before = [date.fromisoformat(report["redacted_before"]) for report in reports if report.get("redacted_before")]
    return datetime(*before[-1].timetuple()[:3], tzinfo=UTC).timestamp() if before else 0.0


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


def drop_from_lake(lake: Lake, stones: Tombstones) -> list[str]:
    """Remove the derived partitions that hold users erased since their day; return them as `table/ds=day`."""
    dropped = []
    for table in DERIVED:
        for ds in lake.days(table):
            day_start = datetime(ds.year, ds.month, ds.day, tzinfo=UTC).timestamp()
            users = pc.unique(lake.arrow(table, ds, ["user_id"])["user_id"]).to_pylist()
            if any((at := stones.erased_at(user)) is not None and at >= day_start for user in users if user):
                drop(lake, table, ds)
                dropped.append(f"{table}/ds={ds}")
    return dropped


def drop(lake: Lake, table: str, ds: date) -> None:
    """Remove one partition of a lake, its manifest first, so that nobody trusts what is half gone."""
    filesystem, base = filesystem_of(lake.root)
    folder = f"{base}/{table}/ds={ds}"
    if filesystem.get_file_info(f"{folder}/{MANIFEST_NAME}").type == fs.FileType.File:
        filesystem.delete_file(f"{folder}/{MANIFEST_NAME}")
    filesystem.delete_dir(folder)
