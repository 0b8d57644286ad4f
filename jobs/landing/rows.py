"""Read landed files of any format as one table of typed rows: the view `landed` that `sql/staging/*.sql` clean.

Each landing column of `landed` has its contract's type, whatever the file held. A value that cannot become that type
is null, and its reason is in `fault`, so a query can add its own rules with COALESCE and loses no row.

`landed` has these columns:

- `ds`, and `path`: the file's name within its day
- the landing columns
- `fault`: reason and column_name, or null
- `raw`: of a row at fault, the row as JSON, cut to RAW_BYTES
- `raw_sha256`: of a row at fault, over the whole row
- `row_order`: rises with the rows of a file
"""

from collections import Counter
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
from jobs.landing.column_types import NANOSECONDS, converted, faults, parsed, stored_type
from jobs.landing.folders import LandedFile, Landing, unreadable
from jobs.landing.headers import is_torn, parquet_schema, text_columns
from jobs.landing.listed_rows import CORRUPT, one_row_each

RAW_BYTES = 4096
LISTING_TASKS = 8
FAULT = "struct<reason:string,column_name:string>"


class MissingColumnError(ValueError):
    """A file lacks a column that its table requires."""


class WrongTypeError(ValueError):
    """A parquet column has a type that cannot become the contract's type."""


@dataclass(frozen=True)
class FileLayout:
    """What files that are read together have in common: their format, and each column's name and stored type.

    The stored type None means text of csv or jsonl. `columns` of a csv are in the header's order.
    """

    format: str
    columns: tuple[tuple[str, str | None], ...]
    lists: tuple[tuple[str, str], ...] = ()
    """Of rows that each stand for several: the columns that have a list, with its name."""
    is_torn: bool = False
    """The files end within a gzip member, and are read up to there."""

    @property
    def frame_columns(self) -> list[tuple[str, str | None, str]]:
        """Each column's name, stored type and name in the frame: Spark reads a csv's columns by their place."""
        by_place = self.format == "csv"
        return [
            (name, stored, f"c{place}" if by_place else name) for place, (name, stored) in enumerate(self.columns)
        ]


@dataclass
class LandedFiles:
    """The files of one landing table that are to be read, by layout, and which columns they lack or have too many."""

    name: str
    layouts: dict[FileLayout, list[LandedFile]] = field(default_factory=dict)
    absent: Counter[str] = field(default_factory=Counter)
    """How many files lack each optional column."""
    unknown: Counter[str] = field(default_factory=Counter)
    """How many files have each column that the contract does not name."""
    torn: list[LandedFile] = field(default_factory=list)
    """Files of which the end cannot be read yet."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that may land in this table."""
        return contract(STAGED_AS[self.name]).landing

    @property
    def file_count(self) -> int:
        """How many files there are."""
        return sum(len(files) for files in self.layouts.values())


def inspect(landing: Landing, name: str, files: Iterable[LandedFile]) -> LandedFiles:
    """Read every file's header or schema, and check it against the contract of the landing table `name`.

    Raises:
        UnreadableFileError, MissingColumnError, WrongTypeError: naming the file, what is wrong, and the remedy.
    """
    landed_files = LandedFiles(name)
    wanted = {column.name for column in landed_files.columns}
    for file in files:
        layout, present = _layout(landing, file, landed_files.columns)
        _refuse_missing(file, landed_files.columns, present)
        landed_files.absent.update(wanted - present)
        landed_files.unknown.update(present - wanted)
        landed_files.torn += [file] if layout.is_torn else []
        landed_files.layouts.setdefault(layout, []).append(file)
    return landed_files


def landed_rows(spark: SparkSession, landing: Landing, landed_files: LandedFiles) -> DataFrame:
    """Return the rows of all files as the view `landed`; there must be at least one file."""
    # By default Spark lists hundreds of folders in a job with one task each, which takes longer than reading them.
    spark.conf.set("spark.sql.sources.parallelPartitionDiscovery.parallelism", LISTING_TASKS)
    frames = [
        _read(spark, landing, landed_files.columns, layout, files) for layout, files in landed_files.layouts.items()
    ]
    return reduce(DataFrame.unionAll, frames)


def cut_to_bytes(text: Expression, limit: int) -> Expression:
    """Return the text, or as many of its first whole characters as fit into `limit` bytes."""
    head = F.substring(text.cast("binary"), 1, limit - 3).cast("string")
    return F.when(F.octet_length(text) <= limit, text).otherwise(F.make_valid_utf8(head))


def naming_file(error: Exception, landed_files: LandedFiles) -> Exception:
    """Return an error that names the landed file on which a Spark job failed, or `error` where it names none."""
    text = str(error)
    for files in landed_files.layouts.values():
        for file in files:
            if f"ds={file.ds}/{file.name}" in text:
                return unreadable(file, text.split("\n", 1)[0][:300])
    return error


def _layout(landing: Landing, file: LandedFile, wanted: Sequence[Column]) -> tuple[FileLayout, set[str]]:
    """Return a file's layout, and the names of all its columns; for a list, the name of the column that it holds."""
    if file.format == "parquet":
        schema, physical = parquet_schema(landing, file)
        columns = []
        for column in wanted:
            # A name that stands twice has no index.
            if schema.get_field_index(column.name) >= 0 and not pa.types.is_null(schema.field(column.name).type):
                arrow = schema.field(column.name).type
                columns.append((column.name, _stored_type(file, column, arrow, physical.get(column.name))))
        return FileLayout("parquet", tuple(columns)), set(schema.names)
    names = text_columns(landing, file)
    if file.format == "jsonl":
        lists = {column.name: column.listed_as for column in wanted if column.listed_as}
        listed = {listed_as: name for name, listed_as in lists.items() if listed_as in names}
        layout = FileLayout(
            "jsonl",
            tuple((column.name, None) for column in wanted),
            tuple(lists.items()) if listed else (),
            file.may_be_torn and is_torn(landing, file),
        )
        return layout, {listed.get(name, name) for name in names}
    return FileLayout("csv", tuple((name, None) for name in names)), set(names)


def _stored_type(file: LandedFile, column: Column, arrow: pa.DataType, physical: str | None) -> str:
    try:
        return stored_type(arrow, column.type, int96=physical == "INT96")
    except TypeError as error:
        raise WrongTypeError(
            f"{file.path}: column {column.name} is {arrow}, which cannot be {column.type} "
            f"({column.description or 'see sql/' + STAGED_AS[file.table] + '.yml'}); write it as "
            f"{column.type} or as text"
        ) from error


def _refuse_missing(file: LandedFile, wanted: Sequence[Column], present: set[str]) -> None:
    if file.format == "jsonl" and not present:
        return  # without a row there is no key to look for
    missing = [column.name for column in wanted if column.required and column.name not in present]
    if missing:
        only = next(iter(present)) if len(present) == 1 else ""
        hint = "; its columns must be separated by commas" if set(only) & set(";\t|") else ""
        raise MissingColumnError(
            f"{file.path} has no column {', '.join(missing)} (it has: {', '.join(sorted(present))}){hint}; "
            f"add the column and land the file again"
        )


def _read(
    spark: SparkSession, landing: Landing, wanted: Sequence[Column], layout: FileLayout, files: Sequence[LandedFile]
) -> DataFrame:
    paths = [landing.spark_path(file) for file in files]
    read = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_jsonl}[layout.format]
    columns = {name: (F.col(f"`{in_frame}`"), stored) for name, stored, in_frame in layout.frame_columns}
    values, reasons = _values(wanted, columns)
    row = F.to_json(F.struct(*(column.alias(name) for name, (column, _) in columns.items())))
    if layout.format != "parquet":
        is_malformed = F.col(CORRUPT).isNotNull()
        row = F.when(is_malformed, F.to_json(F.struct(F.col(CORRUPT).alias("line")))).otherwise(row)
        reasons = {("malformed_row", ""): is_malformed} | reasons
    fault = F.coalesce(
        *(
            F.when(where, F.struct(F.lit(reason).alias("reason"), F.lit(column or None).alias("column_name")))
            for (reason, column), where in reasons.items()
        )
    )
    day = F.regexp_extract(F.col("_metadata.file_path"), r"/ds=(\d{4}-\d{2}-\d{2})/[^/]*$", 1)
    return read(spark, paths, layout).select(
        day.cast("date").alias("ds"),
        # Spark gives names as in a URL, and url_decode would make a plus a space.
        F.url_decode(F.replace(F.col("_metadata.file_name"), F.lit("+"), F.lit("%2B"))).alias("path"),
        *(values[column.name].alias(column.name) for column in wanted),
        fault.cast(FAULT).alias("fault"),
        F.when(fault.isNotNull(), cut_to_bytes(row, RAW_BYTES)).alias("raw"),
        F.when(fault.isNotNull(), F.sha2(row, 256)).alias("raw_sha256"),
        F.monotonically_increasing_id().alias("row_order"),
    )


def _values(
    wanted: Sequence[Column], columns: Mapping[str, tuple[Expression, str | None]]
) -> tuple[dict[str, Expression], dict[tuple[str, str], Expression]]:
    """Return each wanted column's value, and where a row is at fault, by reason and column."""
    values, reasons = {}, {}
    for column in wanted:
        if column.name not in columns:
            values[column.name] = F.lit(None).cast(spark_type(column.type))
            continue
        landed, stored = columns[column.name]
        value = parsed(landed, column.type) if stored is None else converted(landed, stored, column.type)
        for reason, where in faults(column, landed, stored, value).items():
            reasons[reason, column.name] = where
        if column.type == "string" and column.max_bytes:
            value = F.when(F.octet_length(value) <= F.lit(column.max_bytes), value)
        values[column.name] = value
    return values, reasons


def _read_parquet(spark: SparkSession, paths: list[str], layout: FileLayout) -> DataFrame:
    if any(stored == NANOSECONDS for _, stored in layout.columns):
        # Spark has no type for nanoseconds; with this setting it reads them as integers.
        spark.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")
    schema = T.StructType(
        [T.StructField(name, _parquet_type(stored or "string"), True) for name, stored in layout.columns]
    )
    return spark.read.schema(schema).parquet(*paths)


def _parquet_type(stored: str) -> T.DataType:
    special = {NANOSECONDS: T.LongType(), "timestamp_ntz": T.TimestampNTZType(), "binary": T.BinaryType()}
    return special.get(stored) or spark_type(stored)


def _read_csv(spark: SparkSession, paths: list[str], layout: FileLayout) -> DataFrame:
    """Read csv whose fields may hold line breaks; in a file with Windows line ends they become plain line breaks."""
    reader = spark.read.schema(_text_schema(in_frame for _, _, in_frame in layout.frame_columns))
    reader = reader.options(header=True, multiLine=True, quote='"', escape='"')
    # With column pruning the reader would not count a row's fields, and would take a torn row for a whole one.
    return reader.options(columnPruning=False, columnNameOfCorruptRecord=CORRUPT).csv(paths)


def _read_jsonl(spark: SparkSession, paths: list[str], layout: FileLayout) -> DataFrame:
    lists = dict(layout.lists)
    schema = _text_schema(name for name, _ in layout.columns if name not in lists)
    for listed in lists.values():
        schema = schema.add(listed, T.ArrayType(T.StringType()))
    reader = spark.read.schema(schema).options(columnNameOfCorruptRecord=CORRUPT, ignoreCorruptFiles=layout.is_torn)
    return one_row_each(reader.json(paths), lists) if lists else reader.json(paths)


def _text_schema(names: Iterable[str]) -> T.StructType:
    return T.StructType([T.StructField(name, T.StringType(), True) for name in (*names, CORRUPT)])
