"""Read a landed file as batches of typed rows, of which none is lost: each is good, or has its fault.

The night and `topshelf landing check` both read by this. A cell of an optional column that cannot be read is null,
and its column's name stands in `unread`. A row is at fault where a required column or an id cannot be read, or where
its columns do not fit together.

>>> next(read_batches(Landing("data/landing"), plan)).column_names[:4]
['ds', 'path', 'user_id', 'item_id']
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.lake.contracts import Column, arrow_type, contract
from jobs.lake.tables import STAGED_AS
from jobs.landing.cells import REPLACEMENT, Cells, Mask, typed
from jobs.landing.csv_form import open_text, wrong_encoding
from jobs.landing.csv_records import csv_blocks
from jobs.landing.file_plans import FilePlan
from jobs.landing.folders import Landing, unreadable
from jobs.landing.json_lines import JsonLines, line_blocks

RAW_BYTES = 4096
"""Of a row at fault, so many bytes are kept."""
EXAMPLE_CHARACTERS = 40
UNREAD = pa.struct([("columns", pa.string()), ("example", pa.string())])
"""The columns of a row's unread cells, with a comma between, and these cells, with _BETWEEN."""
_BETWEEN = "\x1f"
PARQUET_BATCH_ROWS = 1 << 15
_Raw = Callable[[int], Mapping[str, object]]
"""A row of a batch as it stands in the file."""


def batch_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the columns of `read_batches` for a table whose landing columns these are.

    `ds` and `path` (the file's name within its day) come first, `local_day` is the day of `ts` in the landing's time
    zone, `line` is where a row begins (of parquet, the row's number), and `row_order` rises with the rows of a file.
    `absent` names the columns that a partial file lacks. `raw` is of rows at fault, as JSON that is cut to RAW_BYTES.
    `row_sha256` is over that JSON, whole, or over the values of a good row: rows of equal values have the same.
    """
    fault = pa.struct([("reason", pa.string()), ("column_name", pa.string())])
    return pa.schema(
        [
            ("ds", pa.date32()),
            ("path", pa.string()),
            *((column.name, arrow_type(column.type)) for column in columns),
            ("local_day", pa.date32()),
            ("fault", fault),
            ("raw", pa.string()),
            ("row_sha256", pa.string()),
            ("unread", UNREAD),
            ("absent", pa.list_(pa.string())),
            ("line", pa.int64()),
            ("row_order", pa.int64()),
        ]
    )


def read_batches(landing: Landing, plan: FilePlan) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file, in its order. Blank lines are no rows.

    Raises:
        UnreadableFileError: naming the file and what is wrong with it.
    """
    rows = _Rows(plan)
    read = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}[plan.file.format]
    try:
        yield from read(landing, plan, rows)
    except UnicodeDecodeError as error:
        raise wrong_encoding(plan.file, plan.encoding, error) from error
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        raise unreadable(plan.file, error) from error


def unread_cells(columns: str, example: str) -> Iterator[tuple[str, str]]:
    """Yield the column and the text of each cell that the two parts of UNREAD tell."""
    return zip(columns.split(","), example.split(_BETWEEN), strict=True)


class _Rows:
    """Makes batches of a file's rows."""

    def __init__(self, plan: FilePlan) -> None:
        self._plan = plan
        of = contract(STAGED_AS[plan.file.table])
        self._wanted, self._one_of = of.landing, of.landing_needs
        self._schema = batch_schema(self._wanted)
        has = {ours for ours, _ in plan.columns}
        self._absent = [column.name for column in self._wanted if column.name not in has] if plan.partial else None
        self._order = 0

    @property
    def read(self) -> int:
        """How many rows came before."""
        return self._order

    def skip(self, n_rows: int) -> None:
        """Leave out rows of the file that another reads."""
        self._order += n_rows

    def of_cells(self, cells: Mapping[str, pa.Array], lines: Sequence[int], raw: _Raw) -> pa.RecordBatch:
        """Return a batch of rows by the landed cells of the columns that the file has."""
        n_rows = len(lines)
        faults, unread, values = _Faults(n_rows), _Unread(n_rows), {}
        for column in self._wanted:
            if column.name in cells:
                read = typed(cells[column.name], column, self._plan.cells)
                values[column.name] = _judged(column, cells[column.name], read, faults, unread)
            else:
                values[column.name] = pa.nulls(n_rows, arrow_type(column.type))
        local_day = self._local_day(values["ts"]) if "ts" in values else None
        if local_day is not None:
            is_future = pc.fill_null(pc.greater(local_day, pa.scalar(self._plan.file.ds)), False)
            faults.add("future_timestamp", "ts", is_future.to_numpy(zero_copy_only=False))
        if self._one_of:
            nobody = np.logical_and.reduce(
                [pc.is_null(values[name]).to_numpy(zero_copy_only=False) for name in self._one_of]
            )
            faults.add(
                "no_" + "_or_".join(name.removesuffix("_id") for name in self._one_of), self._one_of[0], nobody
            )
        texts = {row: _as_json(raw(row)) for row in faults.rows()}
        return self._batch(values, local_day, faults, unread, texts, lines)

    def of_lines(self, malformed: Sequence[tuple[int, str]]) -> pa.RecordBatch:
        """Return a batch of lines that are no rows, each with its number."""
        n_rows = len(malformed)
        faults = _Faults(n_rows)
        faults.add("malformed_row", None, np.ones(n_rows, bool))
        values = {column.name: pa.nulls(n_rows, arrow_type(column.type)) for column in self._wanted}
        texts = {place: _as_json({"line": line}) for place, (_, line) in enumerate(malformed)}
        return self._batch(values, None, faults, _Unread(n_rows), texts, [line for line, _ in malformed])

    def _local_day(self, ts: pa.Array) -> pa.Array:
        zone = self._plan.cells.time_zone
        at = ts if zone == "UTC" else ts.cast(pa.timestamp("us", zone))
        return pc.local_timestamp(at).cast(pa.timestamp("s"), safe=False).cast(pa.date32(), safe=False)

    def _batch(
        self,
        values: Mapping[str, pa.Array],
        local_day: pa.Array | None,
        faults: "_Faults",
        unread: "_Unread",
        texts: Mapping[int, str],
        lines: Sequence[int],
    ) -> pa.RecordBatch:
        n_rows = len(lines)
        raw: list[str | None] = [None] * n_rows
        sha256 = row_hashes([values[column.name] for column in self._wanted])
        for row, text in texts.items():
            whole = text.encode(errors="replace")
            sha256[row] = hashlib.sha256(whole).hexdigest()
            raw[row] = whole[:RAW_BYTES].decode(errors="ignore")
        file = self._plan.file
        order = pa.array(np.arange(self._order, self._order + n_rows))
        self._order += n_rows
        absent = pa.scalar(self._absent, self._schema.field("absent").type)
        return pa.RecordBatch.from_arrays(
            [
                pa.repeat(pa.scalar(file.ds, pa.date32()), n_rows),
                pa.repeat(file.name, n_rows),
                *(values[column.name] for column in self._wanted),
                pa.nulls(n_rows, pa.date32()) if local_day is None else local_day,
                faults.array(),
                pa.array(raw, pa.string()),
                pa.array(sha256, pa.string()),
                unread.array(),
                pa.repeat(absent, n_rows),
                pa.array(lines, pa.int64()),
                order,
            ],
            schema=self._schema,
        )


class _Faults:
    """The fault of each row of a batch: the first that is added."""

    def __init__(self, n_rows: int) -> None:
        self._reasons, self._columns = np.full(n_rows, None, object), np.full(n_rows, None, object)
        self._is_good = np.ones(n_rows, bool)

    def add(self, reason: str, column: str | None, where: Mask) -> None:
        new = where & self._is_good
        if new.any():
            self._reasons[new], self._columns[new] = reason, column
            self._is_good &= ~new

    def rows(self) -> list[int]:
        return [int(row) for row in np.flatnonzero(~self._is_good)]

    def array(self) -> pa.Array:
        mask = pa.array(self._is_good)
        parts = [pa.array(self._reasons, pa.string()), pa.array(self._columns, pa.string())]
        return pa.StructArray.from_arrays(parts, names=["reason", "column_name"], mask=mask)


class _Unread:
    """The columns of each row whose cells could not be read, with these cells."""

    def __init__(self, n_rows: int) -> None:
        self._cells: dict[int, dict[str, str]] = {}
        self._n_rows = n_rows

    def add(self, column: str, where: Mask, landed: pa.Array) -> None:
        for row in np.flatnonzero(where).tolist():
            text = str(_printable(landed[row])).replace(_BETWEEN, " ")
            cut = text[:EXAMPLE_CHARACTERS] + ("…" if len(text) > EXAMPLE_CHARACTERS else "")
            self._cells.setdefault(row, {})[column] = cut

    def array(self) -> pa.Array:
        if not self._cells:
            return pa.nulls(self._n_rows, UNREAD)
        of_rows = [self._cells.get(row) for row in range(self._n_rows)]
        columns = pa.array([None if cells is None else ",".join(cells) for cells in of_rows], pa.string())
        examples = pa.array(
            [None if cells is None else _BETWEEN.join(cells.values()) for cells in of_rows], pa.string()
        )
        return pa.StructArray.from_arrays([columns, examples], names=["columns", "example"], mask=pc.is_null(columns))


def _judged(column: Column, landed: pa.Array, read: Cells, faults: _Faults, unread: _Unread) -> pa.Array:
    """Return a column's values, null where they are not to be used; say which rows are at fault or unread."""
    values, is_unread = read.values, read.unread
    is_key = column.required or column.name.endswith("_id")
    if column.type == "string" and column.max_bytes:
        is_long = _where(pc.greater(pc.binary_length(values), column.max_bytes))
        if is_long.any():
            if is_key:
                faults.add("id_too_long" if column.name.endswith("_id") else "field_too_long", column.name, is_long)
            else:
                is_unread = is_unread | is_long
    if column.name.endswith("_id") and column.type == "string":
        faults.add("invalid_text", column.name, _where(pc.match_substring(values, REPLACEMENT)))
    if column.values:
        values = pc.utf8_lower(values)
        known = pc.is_in(values, pa.array(column.values))
        faults.add(f"unknown_{column.name}", column.name, _where(pc.and_(pc.is_valid(values), pc.invert(known))))
    if column.min is not None:
        least = Decimal(column.min) if pa.types.is_decimal(values.type) else column.min
        is_below = _where(pc.less(values, pa.scalar(least, values.type)))
        if column.required:
            faults.add(f"negative_{column.name}", column.name, is_below)
        else:
            is_unread = is_unread | is_below
    if is_key:
        faults.add("wrong_type", column.name, is_unread)
        if column.required:
            faults.add("missing_value", column.name, pc.is_null(values).to_numpy(zero_copy_only=False))
        return values
    if is_unread.any():
        unread.add(column.name, is_unread, landed)
        values = pc.if_else(pa.array(is_unread), None, values)
    return values


def row_hashes(columns: Sequence[pa.Array]) -> list[str]:
    """Return the SHA-256 of each row's values, in hexadecimal digits.

    Values are joined as text, a missing one as a zero byte, with the separator of units (ASCII 31) between.
    """
    cells = [_as_bytes(column) for column in columns]
    joined = pc.binary_join_element_wise(*cells, b"\x1f", null_handling="replace", null_replacement=b"\0")
    ends = np.frombuffer(joined.buffers()[1], np.int32)[joined.offset : joined.offset + len(joined) + 1].tolist()
    text, sha256 = memoryview(joined.buffers()[2] or b""), hashlib.sha256
    return [sha256(text[begin:end]).hexdigest() for begin, end in pairwise(ends)]


def _as_bytes(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        numbers = [None if row is None else np.asarray(row, np.float32).tobytes() for row in column.to_numpy(False)]
        return pa.array(numbers, pa.binary())
    if pa.types.is_nested(kind):
        rows = column.to_pylist() if column.null_count < len(column) else [None] * len(column)
        return pa.array([None if row is None else json.dumps(row).encode() for row in rows], pa.binary())
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    return column.cast(pa.string()).cast(pa.binary())


def _where(condition: pa.Array) -> Mask:
    found: Mask = pc.fill_null(condition, False).to_numpy(zero_copy_only=False)
    return found


def _as_json(row: Mapping[str, object]) -> str:
    filled = {name: value for name, value in row.items() if value is not None and value != ""}
    return json.dumps(filled, ensure_ascii=False, separators=(",", ":"), default=str)


def _parquet(landing: Landing, plan: FilePlan, rows: _Rows) -> Iterator[pa.RecordBatch]:
    theirs = dict(plan.columns)
    with landing.filesystem.open_input_file(plan.file.path) as stream:
        file = pq.ParquetFile(stream, coerce_int96_timestamp_unit="us")
        groups = None if plan.row_group is None else [plan.row_group]
        metadata = file.metadata
        rows.skip(sum(metadata.row_group(group).num_rows for group in range(plan.row_group or 0)))
        before = rows.read
        for batch in file.iter_batches(PARQUET_BATCH_ROWS, groups, columns=sorted(theirs.values())):
            cells = {ours: batch.column(name) for ours, name in theirs.items()}

            def raw(row: int, cells: Mapping[str, pa.Array] = cells) -> dict[str, object]:
                return {ours: _printable(column[row]) for ours, column in cells.items()}

            yield rows.of_cells(cells, range(rows.read + 1, rows.read + len(batch) + 1), raw)
        told = metadata.num_rows if plan.row_group is None else metadata.row_group(plan.row_group).num_rows
        if rows.read - before != told:
            raise unreadable(plan.file, f"it says that it has {told:,} rows, and {rows.read - before:,} were read")


def _printable(cell: pa.Scalar) -> object:
    try:
        return cell.as_py()
    except (ValueError, OverflowError):  # a time that Python has no date for, or bytes that are no text
        return str(cell.cast(pa.int64())) if pa.types.is_timestamp(cell.type) else repr(cell)


def _csv(landing: Landing, plan: FilePlan, rows: _Rows) -> Iterator[pa.RecordBatch]:
    form = plan.form
    assert form is not None
    places = {ours: form.header.index(theirs) for ours, theirs in plan.columns}
    with open_text(landing, plan.file, form.encoding, form.line_end) as text:
        for block in csv_blocks(text, form):
            if block.rows:
                by_column = list(zip(*block.rows, strict=True))
                cells = {ours: pa.array(by_column[place], pa.string()) for ours, place in places.items()}

                def raw(row: int, of: list[list[str]] = block.rows) -> dict[str, str]:
                    return dict(zip(form.header, of[row], strict=True))

                yield rows.of_cells(cells, block.lines, raw)
            if block.malformed:
                yield rows.of_lines(block.malformed)


def _jsonl(landing: Landing, plan: FilePlan, rows: _Rows) -> Iterator[pa.RecordBatch]:
    reader, number = JsonLines(plan), 1
    with open_text(landing, plan.file, plan.encoding) as text:
        for lines in line_blocks(text, plan.is_torn):
            columns, numbers, malformed = reader.read(lines, number)
            number += len(lines)
            if numbers:
                cells = {name: _texts(column) for name, column in columns.items()}

                def raw(row: int, of: Mapping[str, list[str | None]] = columns) -> dict[str, str | None]:
                    return {name: column[row] for name, column in of.items()}

                yield rows.of_cells(cells, numbers, raw)
            if malformed:
                yield rows.of_lines(malformed)


def _texts(column: list[str | None]) -> pa.Array:
    try:
        return pa.array(column, pa.string())
    except (UnicodeEncodeError, pa.ArrowInvalid):  # half of a surrogate pair, escaped
        return pa.array([None if text is None else text.encode("utf-8", "replace").decode() for text in column])
