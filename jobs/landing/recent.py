"""Read what landed since the night, without Spark: days still being written, so whole rows of whole files only.

>>> recent_rows("data/landing", "events", [date(2026, 2, 1)], ("item_id", "ts"))
"""

import gzip
import io
from collections.abc import Iterable, Sequence
from datetime import date

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.lake.filesystems import filesystem_of

_LINES = msgspec.json.Decoder(dict[str, object])


def recent_rows(landing: str, table: str, days: Iterable[date], columns: Sequence[str]) -> tuple[pa.Table, list[str]]:
    """Return the rows of some days' files as text columns, in order of day and file, and what was passed over.

    A column that a file lacks is null there. A file that cannot be read is passed over and told: it may still be on
    its way, and the night will name it if it stays so.
    """
    filesystem, base = filesystem_of(landing)
    parts, passed_over = [], []
    for ds in sorted(days):
        selector = fs.FileSelector(f"{base}/{table}/ds={ds}", allow_not_found=True)
        infos = [info for info in filesystem.get_file_info(selector) if not info.base_name.startswith(("_", "."))]
        for info in sorted(infos, key=lambda info: str(info.base_name)):
            try:
                with filesystem.open_input_stream(info.path, compression=None) as stream:
                    parts.append(_as_text(_read(info.base_name, stream.readall()), columns))
            except (pa.ArrowException, msgspec.MsgspecError, OSError, EOFError, ValueError) as error:
                passed_over.append(f"{table}/ds={ds}/{info.base_name}: {str(error).splitlines()[0]}")
    empty = pa.schema([(name, pa.string()) for name in columns]).empty_table()
    return pa.concat_tables([empty, *parts]), passed_over


def _read(name: str, content: bytes) -> pa.Table:
    if name.endswith(".parquet"):
        return pq.read_table(io.BytesIO(content))
    if name.endswith((".csv", ".csv.gz")):
        text = gzip.decompress(content) if name.endswith(".gz") else content
        header = text.split(b"\n", 1)[0].decode("utf-8-sig").strip().split(",")
        types = pa.csv.ConvertOptions(
            column_types={column.strip('"'): pa.string() for column in header}, strings_can_be_null=True
        )
        return pa.csv.read_csv(io.BytesIO(text), convert_options=types)
    whole = content[: content.rfind(b"\n") + 1]  # the last line may still be being written
    lines = _LINES.decode_lines(whole)
    names = dict.fromkeys(name for line in lines for name in line)
    return pa.table({name: [_text(line.get(name)) for line in lines] for name in names})


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _as_text(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    found = {
        name: rows[name].cast(pa.string()) if name in rows.column_names else pa.nulls(len(rows), pa.string())
        for name in columns
    }
    return pa.table(found)
