"""Read landed files of any format as one table of typed rows: the view `landed` that `sql/staging/*.sql` clean.

A column of `landed` has the contract's type whatever the file held; a value that cannot have it leaves the column
null and names its fault in `fault`, so a query adds its own rules with COALESCE and loses no row.

`landed` has `ds`, `path` (the file's name within its day), the landing columns, `fault` (reason and column_name, or
null), of a row at fault `raw` (the row as JSON, cut to RAW_BYTES) and `raw_sha256` (of the whole row), and
`row_order` (rises with the rows of a file).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column as Expression
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.lake.contracts import Column, contract, spark_type
from jobs.lake.tables import STAGED_AS
from jobs.landing.column_types import arrow_reads_as, faults, parsed, typed
from jobs.landing.folders import LandedFile, Landing, unreadable

CORRUPT = "_corrupt_record"
RAW_BYTES = 4096
LISTING_TASKS = 8
FAULT = "struct<reason:string,column_name:string>"


class MissingColumnError(ValueError):
    """A file lacks a column that its table cannot do without."""


class WrongTypeError(ValueError):
    """A parquet column's type cannot hold what the column means."""


@dataclass(frozen=True)
class Layout:
    """What files that can be read together have in common: format, and columns with the types they are read as.

    A type of None means text of csv or jsonl. `columns` of a csv are in the header's order.
    """

    format: str
    columns: tuple[tuple[str, str | None], ...]


@dataclass
class LandedFiles:
    """The files of one landing table to be read, by layout; and what they had too little or too much of."""

    name: str
    layouts: dict[Layout, list[LandedFile]] = field(default_factory=dict)
    absent: dict[str, int] = field(default_factory=dict)
    """Files that lack an optional column, by column."""
    unknown: dict[str, int] = field(default_factory=dict)
    """Files that have a column Topshelf does not know, by column."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that may land in this table."""
        return contract(STAGED_AS[self.name]).landing

    @property
    def files(self) -> int:
        """How many files there are."""
        return sum(len(files) for files in self.layouts.values())


def inspect(landing: Landing, name: str, files: Iterable[LandedFile]) -> LandedFiles:
    """Look into every file's header or schema, and hold it against the contract.

    Raises:
        UnreadableFileError, MissingColumnError, WrongTypeError: naming the file, what is wrong, and the remedy.
    """
    table = LandedFiles(name)
    known = {column.name for column in table.columns}
    for file in files:
        layout, found = _layout(landing, file, table.columns)
        _refuse_missing(file, table.columns, found)
        for column in known - found:
            table.absent[column] = table.absent.get(column, 0) + 1
        for column in found - known:
            table.unknown[column] = table.unknown.get(column, 0) + 1
        table.layouts.setdefault(layout, []).append(file)
    return table


def _layout(landing: Landing, file: LandedFile, wanted: Sequence[Column]) -> tuple[Layout, set[str]]:
    if file.format == "parquet":
        schema, physical = landing.parquet_schema(file)
        columns = []
        for column in wanted:
            if schema.get_field_index(column.name) >= 0 and not pa.types.is_null(schema.field(column.name).type):
                arrow = schema.field(column.name).type
                columns.append((column.name, _read_as(file, column, arrow, physical.get(column.name))))
        return Layout("parquet", tuple(columns)), set(schema.names)
    names = landing.text_columns(file)
    if file.format == "jsonl":
        return Layout("jsonl", tuple((column.name, None) for column in wanted)), set(names)
    return Layout("csv", tuple((name, None) for name in names)), set(names)


def _read_as(file: LandedFile, column: Column, arrow: pa.DataType, physical: str | None) -> str:
    try:
        return arrow_reads_as(arrow, column.type, int96=physical == "INT96")
    except TypeError as error:
        raise WrongTypeError(
            f"{file.path}: column {column.name} is {arrow}, which cannot be {column.type} "
            f"({column.description or 'see sql/' + STAGED_AS[file.table] + '.yml'}); write it as "
            f"{column.type} or as text"
        ) from error


def _refuse_missing(file: LandedFile, wanted: Sequence[Column], found: set[str]) -> None:
    if file.format == "jsonl" and not found:
        return  # without a row there is no key to look for
    missing = [column.name for column in wanted if column.required and column.name not in found]
    if missing:
        only = next(iter(found)) if len(found) == 1 else ""
        hint = "; its columns must be separated by commas" if set(only) & set(";\t|") else ""
        raise MissingColumnError(
            f"{file.path} has no column {', '.join(missing)} (it has: {', '.join(sorted(found))}){hint}; "
            f"add the column and land the file again"
        )


def landed_rows(spark: SparkSession, landing: Landing, table: LandedFiles) -> DataFrame:
    """Return the rows of all files (there must be some) as the view `landed`."""
    # By default Spark lists hundreds of folders in a job with a task for each, which takes longer than to read them.
    spark.conf.set("spark.sql.sources.parallelPartitionDiscovery.parallelism", LISTING_TASKS)
    frames = [_read(spark, landing, table, layout, files) for layout, files in table.layouts.items()]
    return reduce(DataFrame.unionAll, frames)


def _read(
    spark: SparkSession, landing: Landing, table: LandedFiles, layout: Layout, files: Sequence[LandedFile]
) -> DataFrame:
    paths = [landing.address(file) for file in files]
    reader = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}[layout.format]
    frame = reader(spark, paths, layout)
    wanted = {column.name: column for column in table.columns}
    held = {name: (F.col(f"`{stored}`"), kind) for name, kind, stored in _stored(layout) if name in wanted}
    values, reasons = _values(table.columns, held)
    whole = F.to_json(F.struct(*(F.col(f"`{stored}`").alias(name) for name, _, stored in _stored(layout))))
    if layout.format != "parquet":
        broken = F.col(CORRUPT).isNotNull()
        whole = F.when(broken, F.to_json(F.struct(F.col(CORRUPT).alias("line")))).otherwise(whole)
        reasons = {("malformed_row", ""): broken} | reasons
    fault = F.coalesce(
        *(
            F.when(where, F.struct(F.lit(reason).alias("reason"), F.lit(column or None).alias("column_name")))
            for (reason, column), where in reasons.items()
        )
    )
    day = F.regexp_extract(F.col("_metadata.file_path"), r"/ds=(\d{4}-\d{2}-\d{2})/[^/]*$", 1)
    return frame.select(
        day.cast("date").alias("ds"),
        # Spark tells names as in a URL, where a plus is a plus.
        F.url_decode(F.replace(F.col("_metadata.file_name"), F.lit("+"), F.lit("%2B"))).alias("path"),
        *(values[column.name].alias(column.name) for column in table.columns),
        fault.cast(FAULT).alias("fault"),
        F.when(fault.isNotNull(), cut(whole, RAW_BYTES)).alias("raw"),
        F.when(fault.isNotNull(), F.sha2(whole, 256)).alias("raw_sha256"),
        F.monotonically_increasing_id().alias("row_order"),
    )


def _stored(layout: Layout) -> list[tuple[str, str | None, str]]:
    """Return each column's name, type and the name it has in the frame: a csv's go by their place."""
    by_place = layout.format == "csv"
    return [(name, kind, f"c{n}" if by_place else name) for n, (name, kind) in enumerate(layout.columns)]


def _values(
    wanted: Sequence[Column], held: Mapping[str, tuple[Expression, str | None]]
) -> tuple[dict[str, Expression], dict[tuple[str, str], Expression]]:
    """Return each wanted column's value, and where it is at fault, by reason and column."""
    values, reasons = {}, {}
    for column in wanted:
        if column.name not in held:
            values[column.name] = F.lit(None).cast(spark_type(column.type))
            continue
        given, kind = held[column.name]
        value = parsed(given, column.type) if kind is None else typed(given, kind, column.type)
        for reason, where in faults(column, given, kind, value).items():
            reasons[reason, column.name] = where
        if column.type == "string" and column.max_bytes:
            value = F.when(F.octet_length(value) <= F.lit(column.max_bytes), value)
        values[column.name] = value
    return values, reasons


def cut(text: Expression, limit: int) -> Expression:
    """Return the text, or as many of its first bytes as fit whole characters into `limit`."""
    head = F.substring(text.cast("binary"), 1, limit - 3).cast("string")
    return F.when(F.octet_length(text) <= limit, text).otherwise(F.make_valid_utf8(head))


def _parquet(spark: SparkSession, paths: list[str], layout: Layout) -> DataFrame:
    if any(kind == "nanoseconds" for _, kind in layout.columns):
        # Spark has no type for them; it reads them as integers where it is told to.
        spark.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")
    schema = T.StructType(
        [T.StructField(name, _parquet_type(kind or "string"), True) for name, kind in layout.columns]
    )
    return spark.read.schema(schema).parquet(*paths)


def _parquet_type(kind: str) -> T.DataType:
    special = {"nanoseconds": T.LongType(), "timestamp_ntz": T.TimestampNTZType(), "binary": T.BinaryType()}
    return special.get(kind) or spark_type(kind)


def _csv(spark: SparkSession, paths: list[str], layout: Layout) -> DataFrame:
    """Read csv whose fields may hold line breaks; in a file of Windows lines, such a break is read as a plain one."""
    stored = [T.StructField(name, T.StringType(), True) for _, _, name in _stored(layout)]
    schema = T.StructType([*stored, T.StructField(CORRUPT, T.StringType(), True)])
    reader = spark.read.schema(schema).options(header=True, multiLine=True, quote='"', escape='"')
    # Told to read few columns, the reader would not count a row's fields, and a torn row would pass.
    return reader.options(columnPruning=False, columnNameOfCorruptRecord=CORRUPT).csv(paths)


def _jsonl(spark: SparkSession, paths: list[str], layout: Layout) -> DataFrame:
    names = [*(name for name, _ in layout.columns), CORRUPT]
    schema = T.StructType([T.StructField(name, T.StringType(), True) for name in names])
    return spark.read.schema(schema).option("columnNameOfCorruptRecord", CORRUPT).json(paths)


def unreadable_in(error: Exception, table: LandedFiles) -> Exception:
    """Return the error that names the landed file on which a Spark job failed, or `error` where it names none."""
    text = str(error)
    for files in table.layouts.values():
        for file in files:
            if f"ds={file.ds}/{file.name}" in text:
                return unreadable(file, text.split("\n", 1)[0][:300])
    return error
