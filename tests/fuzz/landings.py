"""Landed files of any bytes: each is read, or ends in an error of ours, and no row of it is lost.

How many rows a file has is counted here by other means than the reader's.
"""

import io
import json
import tempfile
from codecs import BOM_UTF8
from datetime import date
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.landing.check import FileCheck, check_file
from jobs.landing.folders import Landing

DAY = "2026-01-01"
ROW = {
    "event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "purchase", "ts": f"{DAY}T10:00:00Z",
    "quantity": 2, "unit_price": "12.50", "value": 4.5, "session_id": "s",
}  # fmt: skip
_LINES = [",".join(ROW), ",".join(map(str, ROW.values())), 'e2,u2,"i, ""2""",view,2026-01-01,,"1,299.00",,s']


@lru_cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="fuzz-landing-")
    _KEPT.append(folder)
    day = Path(folder.name) / "events" / f"ds={DAY}"
    day.mkdir(parents=True)
    (day / "_SUCCESS").touch()
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


def _read(name: str, data: bytes) -> FileCheck:
    """Read a file of these bytes. Raises whatever is no error of ours."""
    root = _folder()
    path = root / "events" / f"ds={DAY}" / name
    path.write_bytes(data)
    try:
        (day,) = Landing(str(root)).days("events", date.fromisoformat(DAY))
        (file,) = day.files
        return check_file(str(root), file)
    finally:
        path.unlink()


def csv_file(data: bytes) -> None:
    """Read bytes as a csv. Its first byte says whether a header of ours is put before the others."""
    check = _read("a.csv", (",".join(ROW) + "\n").encode() + data[1:] if data[:1] < b"\x80" else data[1:])
    if not check.error and b'"' not in data and b"\r" not in data and data[:1] < b"\x80":
        lines = data[1:].decode("utf-8-sig").split("\n")
        assert check.counts.landed == sum(bool(line.replace(",", "").strip()) for line in lines)


def jsonl_file(data: bytes) -> None:
    """Read bytes as a jsonl."""
    check = _read("a.jsonl", data)
    # The beginning of a mark alone is no text, and no row either.
    if not check.error and not data.startswith((b"\xff\xfe", b"\xfe\xff")) and not BOM_UTF8.startswith(data):
        lines = data.decode("utf-8-sig").split("\n")
        assert check.counts.landed == sum(bool(line.strip()) for line in lines)


def parquet_file(data: bytes) -> None:
    """Read bytes as a parquet."""
    check = _read("a.parquet", data)
    if not check.error:
        assert check.counts.landed == pq.ParquetFile(io.BytesIO(data)).metadata.num_rows


def _parquet(rows: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, **options)
    return buffer.getvalue()


CSV_SEEDS = (
    ("\0" + "\n".join(_LINES[1:]) + "\n").encode(),
    ("\x80" + "\r\n".join(_LINES) + "\r\n").encode("latin-1"),
    b"\x80" + "\n".join(_LINES).replace(",", ";").encode(),
)
JSONL_SEEDS = ((json.dumps(ROW) + "\n" + json.dumps(ROW | {"user_id": None, "ts": "noon"}) + "\n").encode(),)
PARQUET_SEEDS = (
    _parquet(pa.Table.from_pylist([ROW, ROW | {"event_id": None}]), compression="none"),
    _parquet(pa.Table.from_pylist([ROW] * 20), compression="zstd"),
)
WORDS = (
    b'"',
    b'""',
    b'\\"',
    b",",
    b";",
    b"\r\n",
    b"\r",
    b"\n",
    b"sep=;\n",
    b"#",
    b"\xff",
    b"\xc3",
    b"\0",
    b"NULL",
    b"1e9999",
)
