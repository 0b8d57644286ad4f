"""Run queries of `sql/` in this process, on DuckDB: for as many rows as one machine holds, without starting Spark.

    with InProcess() as engine:
        users = engine.stored(lake, "staging/users", days)
        latest = engine.query("features/latest_user", {"users": users}, {"ds": ds})

The text of a query is the one that Spark runs; sqlglot writes it in DuckDB's dialect. `tests/sql` runs every case on
both, so they give the same rows. Rows are named by views of one connection. What does not fit MEMORY_SHARE of the
memory that DuckDB would take goes to a temporary folder.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import lru_cache, partial
from itertools import groupby
from operator import itemgetter
from typing import NewType, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel
from sqlglot.optimizer.scope import traverse_scope

from jobs.lake.contracts import Column, Contract, arrow_schema, check_names, contract
from jobs.lake.lake import Lake, as_schema, shard_column, without_zones
from jobs.lake.manifest import Manifest
from jobs.lake.partitions import LakeWriteError
from jobs.lake.tables import SHARDS
from jobs.spark.processes import in_processes
from jobs.spark.queries import QueryParameter, check_bound, read_query
from serving.snapshot.record import shard_of

MEMORY_SHARE = 0.35
"""Of what DuckDB would take, four fifths of the machine's or the container's memory. The rest is for other processes,
and for the files that the system keeps cached."""
BYTES_OF = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
BATCH_ROWS = 1 << 16
NOT_IN_PATHS = frozenset("*?[=")
"""Characters that DuckDB takes for a pattern, or for a column that a folder's name tells. A lake of such a path is
read by Arrow, which takes twice as long."""
MACROS = (  # functions of Spark that DuckDB does not have, and sqlglot has no words for
    "CREATE MACRO pmod(a, b) AS ((a % b) + b) % b",
    # CONV(text, 16, 10) of Spark, for numbers below 2^63; it returns text as there.
    "CREATE MACRO conv(digits, of, into_base) AS CAST(CAST(concat('0x', digits) AS BIGINT) AS VARCHAR)",
    "CREATE MACRO make_dt_interval(d, h, m) AS to_days(d) + to_hours(h) + to_minutes(m)",
    "CREATE MACRO timestamp_micros(micros) AS make_timestamp(CAST(micros AS BIGINT))",
    # What would overflow is null, as with Spark's TRY_MULTIPLY and TRY_SUM.
    "CREATE MACRO safe_multiply(a, b) AS TRY_CAST(CAST(a AS HUGEINT) * b AS BIGINT)",
    # TO_JSON of Spark: fields that are null are left out.
    "CREATE MACRO json_of(x) AS CAST(json_merge_patch('{}', to_json(x)) AS VARCHAR)",
    "CREATE MACRO try_sum(x) AS TRY_CAST(sum(x) AS BIGINT)",
)
View = NewType("View", str)
"""The name of a view or a table of a connection."""


class InProcess:
    """One connection to DuckDB, in memory, and the views that were made in it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="topshelf-duckdb-")
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": self._folder.name,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._connection = duckdb.connect(":memory:", config=config)
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(f"SET memory_limit = '{int(self._memory_limit() * MEMORY_SHARE)}B'")
        for macro in MACROS:
            self._connection.execute(macro)
        self._numbers = itertools.count()

    def _memory_limit(self) -> float:
        """Return how many bytes DuckDB takes at most; it sets that by the machine, or by the container's limit."""
        told = self._connection.execute("SELECT current_setting('memory_limit')").fetchone()
        assert told is not None
        number, unit = str(told[0]).split()
        return float(number) * BYTES_OF[unit]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()
        self._folder.cleanup()

    def stored(self, lake: Lake, table: str, days: Iterable[date]) -> View:
        """Return days of a table, with `ds`.

        Raises:
            MissingPartitionError: one of the days has no manifest.
        """
        folder = lake.local_folder
        if folder is None or not NOT_IN_PATHS.isdisjoint(folder):
            return self._view_of(lake.dataset(table, days))
        files = [path for path, _ in lake.files(table, days)]
        if not files:
            return self._view_of(lake.dataset(table, ()))
        listed = ", ".join(_text(path) for path in files)
        # union_by_name: a column that some files lack is null there.
        read = f"read_parquet([{listed}], union_by_name=true, hive_partitioning=true, hive_types={{'ds': DATE}})"
        stored = {name for name, *_ in self._connection.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()}
        columns = [_read_as(column, column.name in stored) for column in contract(table).stored_columns]
        return self._create("VIEW", f"SELECT {', '.join(columns)}, ds FROM {read}")

    def table(self, rows: pa.Table) -> View:
        """Return rows that are at hand."""
        return self._view_of(rows.cast(without_zones(rows.schema)))

    def made(self, schema: pa.Schema, make: Callable[[int], Iterator[pa.RecordBatch]], count: int) -> View:
        """Return the rows that `make(0)` to `make(count - 1)` yield, in other processes: a file each, for DuckDB."""
        folder = tempfile.mkdtemp(dir=self._folder.name)
        with _told():
            in_processes(partial(_make_file, without_zones(schema), make, folder), count)
            names = ", ".join(f"'{folder}/{number}.parquet'" for number in range(count))
            return self._create("VIEW", f"SELECT * FROM read_parquet([{names}])")

    def query(self, name: str, views: Mapping[str, View], params: Mapping[str, QueryParameter]) -> View:
        """Return `sql/<name>.sql` over `views` with `params` bound; lazily.

        Raises:
            QueryError, QueryBindingError: as `jobs.spark.queries.query` does.
        """
        read = read_query(name)
        check_bound(name, "parameter", read.parameters, params)
        check_bound(name, "view", read.reads, views)
        return self._create("VIEW", _in_duckdb(read.text, views, params))

    def select(self, text: str, views: Mapping[str, View]) -> View:
        """Return what a SELECT gives, in Spark's SQL, of the views that it names; lazily."""
        return self._create("VIEW", _in_duckdb(text, views, {}))

    def columns(self, rows: View) -> list[str]:
        """Return the names of the columns."""
        return list(self._connection.table(rows).columns)

    def keep(self, rows: View) -> View:
        """Compute rows now, once, for several readers."""
        return self._create("TABLE", f'SELECT * FROM "{rows}"')

    def keep_on_disk(self, rows: View) -> View:
        """Compute rows now, once, for several readers, into a file that ends with the engine."""
        path = f"{self._folder.name}/kept-{next(self._numbers)}.parquet"
        with _told():
            self._connection.execute(f"COPY (SELECT * FROM \"{rows}\") TO '{path}' (FORMAT parquet, COMPRESSION lz4)")
        return self._create("VIEW", f"SELECT * FROM read_parquet('{path}')")

    def release(self, rows: View) -> None:
        """Forget rows that were kept; whoever still reads them fails."""
        self._connection.execute(f'DROP TABLE "{rows}"')

    def arrow(self, rows: View) -> pa.Table:
        """Return all rows."""
        with _told():
            return self._connection.sql(f'SELECT * FROM "{rows}"').to_arrow_table()

    def typed(self, rows: View, of: Contract) -> pa.Table:
        """Return all rows as a table's columns and types, in order of its grain.

        Raises:
            ContractMismatchError: the rows have other columns than the contract.
        """
        check_names(of, self.columns(rows))
        return pa.Table.from_batches(self._batches(rows, of, "TRUE"), arrow_schema(of))

    def count(self, rows: View, column: str) -> int:
        """Return how many different values a column has."""
        found = self._connection.execute(f'SELECT COUNT(DISTINCT "{column}") FROM "{rows}"').fetchone()
        assert found is not None
        return int(found[0])

    def write(
        self,
        lake: Lake,
        rows: View,
        table: str,
        ds: date,
        *,
        inputs: Mapping[str, str],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
    ) -> Manifest:
        """Write one day of a table whole, laid out as `Lake.write` does.

        Raises:
            ContractMismatchError: the rows have other columns than the contract.
            LakeWriteError: a file could not be written.
        """
        of = contract(table)
        check_names(of, self.columns(rows))
        kept = self.keep(rows)
        try:
            parts = self._parts(kept, of)
            return lake.write_parts(parts, table, ds, inputs=inputs, parameters=parameters, metrics=metrics)
        finally:
            self.release(kept)

    def write_days(
        self,
        lake: Lake,
        rows: View | None,
        table: str,
        days: Sequence[date],
        *,
        inputs: Mapping[date, Mapping[str, str]],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[date, Mapping[str, object]] | None = None,
    ) -> None:
        """Write several days of a table, one file a day; `rows` carry `ds` as a date. None is no row at all.

        Raises:
            ContractMismatchError: the rows have other columns than the contract.
            LakeWriteError: a file could not be written.
            ValueError: the rows have a day that is none of `days`; the days before it are written.
        """
        if rows is not None:
            check_names(contract(table), self.columns(rows))
        told, found = metrics or {}, groupby(self._days(rows, contract(table)) if rows else (), itemgetter(0))
        ds_of_next, batches = next(found, (None, iter(())))
        for ds in sorted(days):
            of_day: Iterable[pa.RecordBatch] = ()
            if ds_of_next is not None and ds_of_next <= ds:
                _refuse_other_day(table, ds_of_next, ds)
                of_day = (batch for _, batch in batches)
            lake.write_parts([(0, of_day)], table, ds, inputs=inputs[ds], parameters=parameters, metrics=told.get(ds))
            if ds == ds_of_next:
                ds_of_next, batches = next(found, (None, iter(())))
        _refuse_other_day(table, ds_of_next, None)

    def _days(self, rows: View, of: Contract) -> Iterator[tuple[date, pa.RecordBatch]]:
        """Yield the rows with their day, day after day, each in order of the grain, as the contract's types."""
        columns, order = _stored(of), ", ".join(["ds", *_order(of)])
        schema = arrow_schema(of)
        with _told():
            ordered = self._connection.sql(f'SELECT ds, {columns} FROM "{rows}" ORDER BY {order}')
            for batch in ordered.to_arrow_reader(BATCH_ROWS):
                days = pc.run_end_encode(batch.column(0), pa.int32())
                begin = 0
                for day, end in zip(days.values.to_pylist(), days.run_ends.to_pylist(), strict=True):
                    part = batch.slice(begin, end - begin)
                    yield day, as_schema(pa.RecordBatch.from_arrays(part.columns[1:], part.schema.names[1:]), schema)
                    begin = end

    def _parts(self, rows: View, of: Contract) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
        unit = shard_column(of.grain)
        if unit is None:
            yield 0, self._batches(rows, of, "TRUE")
            return
        ids = self._connection.sql(f'SELECT DISTINCT "{unit}" FROM "{rows}"').to_arrow_table()
        shard = [shard_of(one, SHARDS) for one in ids[unit].to_pylist()]
        shards = self._create(
            "TABLE", f'SELECT * FROM "{self.table(ids.append_column("shard", pa.array(shard, pa.int32())))}"'
        )
        try:
            for number in range(SHARDS):
                chosen = f'"{unit}" IN (SELECT "{unit}" FROM "{shards}" WHERE shard = {number})'
                yield number, self._batches(rows, of, chosen)
        finally:
            self.release(shards)

    def _batches(self, rows: View, of: Contract, where: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows where a condition holds, in order of the grain, as the contract's types."""
        columns, order = _stored(of), ", ".join(_order(of))
        ordered = f"ORDER BY {order}" if order else ""
        schema = arrow_schema(of)
        with _told():
            found = self._connection.sql(f'SELECT {columns} FROM "{rows}" WHERE {where} {ordered}')
            for batch in found.to_arrow_reader(BATCH_ROWS):
                yield as_schema(batch, schema)

    def _view_of(self, source: object) -> View:
        name = View(f"rows_{next(self._numbers)}")
        self._connection.register(name, source)
        return name

    def _create(self, kind: str, select: str) -> View:
        name = View(f"rows_{next(self._numbers)}")
        with _told():
            self._connection.execute(f'CREATE TEMP {kind} "{name}" AS {select}')
        return name


@contextmanager
def _told() -> Iterator[None]:
    """Turn DuckDB's error of a query for which there is no room into one that says what to do.

    Raises:
        LakeWriteError: memory is used up, and so is the temporary folder's disk.
    """
    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        if isinstance(error, duckdb.IOException) and "No space left" not in str(error):
            raise
        raise LakeWriteError(
            f"a query needs more room than memory and the temporary folder have ({str(error).splitlines()[0]}); free "
            "space there, name a larger folder in TMPDIR, or a cluster in TOPSHELF_SPARK_MASTER, and run the same "
            "command again"
        ) from error


def _stored(of: Contract) -> str:
    """Return a table's stored columns as its contract's types, for a SELECT."""
    return ", ".join(f'CAST("{column.name}" AS {_type_of(column.type)})' for column in of.stored_columns)


def _read_as(column: Column, is_stored: bool) -> str:
    """Return a column of files for a SELECT: a time is in UTC without a zone, a column that no file has is null."""
    if not is_stored:
        return f'CAST(NULL AS {_type_of(column.type)}) AS "{column.name}"'
    return (
        f'CAST("{column.name}" AS TIMESTAMP) AS "{column.name}"' if column.type == "timestamp" else f'"{column.name}"'
    )


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _order(of: Contract) -> list[str]:
    """Return what orders a day of a table by its grain."""
    return [f'"{name}" NULLS FIRST' for name in of.grain if name != "ds"]


def _type_of(ddl: str) -> str:
    """Return DuckDB's type for a type of a contract."""
    return str(exp.DataType.build(ddl, dialect="spark").sql(dialect="duckdb"))


def _refuse_other_day(table: str, of_rows: date | None, wanted: date | None) -> None:
    if of_rows != wanted:
        raise ValueError(f"{table}: there are rows of ds={of_rows}, which is not among the days to write")


def _make_file(schema: pa.Schema, make: Callable[[int], Iterator[pa.RecordBatch]], folder: str, number: int) -> None:
    with pq.ParquetWriter(f"{folder}/{number}.parquet", schema, compression="lz4") as file:
        for batch in make(number):
            file.write_batch(as_schema(batch, schema))


@lru_cache(maxsize=256)
def _parsed(text: str) -> exp.Expr:
    return sqlglot.parse_one(text, dialect="spark")


def _in_duckdb(text: str, views: Mapping[str, View], params: Mapping[str, QueryParameter]) -> str:
    """Return a query in DuckDB's dialect, over the views' names and with its parameters written out."""
    select = _parsed(text).copy()
    for table in [
        source
        for scope in traverse_scope(select)
        for source in scope.sources.values()
        if isinstance(source, exp.Table)
    ]:
        if table.name in views:
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
            table.set("this", exp.to_identifier(views[table.name], quoted=True))
    for call, name, second in (
        (exp.ArgMax, "ARG_MAX_NULL", "expression"),  # DuckDB's own MAX_BY passes over values that are null
        (exp.ArgMin, "ARG_MIN_NULL", "expression"),
        (exp.Quantile, "QUANTILE_CONT", "quantile"),  # its QUANTILE does not interpolate, as Spark's PERCENTILE does
    ):
        for found in list(select.find_all(call)):
            found.replace(exp.Anonymous(this=name, expressions=[found.this, found.args[second]]))
    for as_json in list(select.find_all(exp.JSONFormat)):
        as_json.replace(exp.Anonymous(this="json_of", expressions=[as_json.this]))
    for placeholder in list(select.find_all(exp.Placeholder)):
        placeholder.replace(_literal(params[placeholder.name]))
    return str(select.sql(dialect="duckdb", comments=False, unsupported_level=ErrorLevel.IGNORE))


def _literal(value: QueryParameter) -> exp.Expr:
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, date):
        return exp.cast(exp.Literal.string(str(value)), "DATE")
    return exp.Literal.string(value) if isinstance(value, str) else exp.Literal.number(value)
