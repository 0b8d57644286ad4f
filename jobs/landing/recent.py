"""Read without Spark what landed since the night. Its days are still being written, so only whole rows count.

>>> recent_rows("data/landing", "events", [date(2026, 2, 1)], ("item_id", "ts"))
"""

import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from datetime import date

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.lake.filesystems import filesystem_of
from serving.snapshot.manifest import NOT_JSON

_LINES = msgspec.json.Decoder(dict[str, object])


def recent_rows(landing: str, table: str, days: Iterable[date], columns: Sequence[str]) -> tuple[pa.Table, list[str]]:
    """Return the rows of some days as text columns, ordered by day and file, and a message for each skipped file.

    A column that a file lacks is null. A file that cannot be read is skipped: it may still be being written. If it
    stays unreadable, the night stops and names it.
    """
    filesystem, base = filesystem_of(landing)
    tables, skipped = [], []
    for ds in sorted(days):
        selector = fs.FileSelector(f"{base}/{table}/ds={ds}", allow_not_found=True)
        infos = [info for info in filesystem.get_file_info(selector) if not info.base_name.startswith(("_", "."))]
        for info in sorted(infos, key=lambda info: str(info.base_name)):
            try:
                with filesystem.open_input_stream(info.path, compression=None) as stream:
                    tables.append(_as_text(_read(info.base_name, stream.readall()), columns))
            except (pa.ArrowException, *NOT_JSON, OSError, EOFError, zlib.error) as error:
                skipped.append(f"{table}/ds={ds}/{info.base_name}: {str(error).splitlines()[0]}")
    empty = pa.schema([(name, pa.string()) for name in columns]).empty_table()
    return pa.concat_tables([empty, *tables]), skipped


def _read(name: str, content: bytes) -> pa.Table:
    if name.endswith(".parquet"):
        return pq.read_table(io.BytesIO(content))
    text = gzip.decompress(content) if name.endswith(".gz") else content
    if name.endswith((".csv", ".csv.gz")):
        header = text.split(b"\n", 1)[0].decode("utf-8-sig").strip().split(",")
        types = pa.csv.ConvertOptions(
            column_types={column.strip('"'): pa.string() for column in header}, strings_can_be_null=True
        )
        return pa.csv.read_csv(io.BytesIO(text), convert_options=types)
    whole_lines = text[: text.rfind(b"\n") + 1]  # the last line may still be being written
    rows = _LINES.decode_lines(whole_lines)
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [_text(row.get(name)) for row in rows] for name in names})


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _as_text(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    present = rows.column_names
    return pa.table(
        {
            name: rows[name].cast(pa.string()) if name in present else pa.nulls(len(rows), pa.string())
            for name in columns
        }
    )
