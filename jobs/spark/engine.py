"""What runs the queries of a stage: DuckDB in this process, or Spark where that is on a cluster or the rows are many.

    with engine_for(row_count) as engine:
        events = engine.stored(lake, "staging/interactions", days)
        rows = engine.query("features/visible_events", {"interactions": events}, {"ds": ds})
        engine.write(lake, rows, ...)

Both run the same texts of `sql/` and give the same rows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Protocol, Self, TypeAlias

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.spark.in_process import InProcess
from jobs.spark.queries import QueryParameter, query
from jobs.spark.session import on_cluster, session

MOST_ROWS_HERE = 100_000_000
"""A stage that reads more rows than this runs on Spark, which spills and spreads them."""

Rows: TypeAlias = Any
"""Rows of an engine: a frame of Spark, or the name of a view in DuckDB."""


class Engine(Protocol):
    """Runs queries of `sql/` over days of tables. Rows of one engine are no other's."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def stored(self, lake: Lake, table: str, days: Iterable[date]) -> Rows:
        """Return days of a table, with `ds`. Raises MissingPartitionError: one of the days has no manifest."""

    def table(self, rows: pa.Table) -> Rows:
        """Return rows that are at hand."""

    def made(self, schema: pa.Schema, make: Callable[[int], Iterator[pa.RecordBatch]], count: int) -> Rows:
        """Return the rows that `make(0)` to `make(count - 1)` yield, each in some process; so `make` is picklable."""

    def query(self, name: str, views: Mapping[str, Rows], params: Mapping[str, QueryParameter]) -> Rows:
        """Return `sql/<name>.sql` over `views` with `params` bound; lazily. Errors as of `jobs.spark.queries`."""

    def select(self, text: str, views: Mapping[str, Rows]) -> Rows:
        """Return what a SELECT in Spark's SQL gives of the views that it names; lazily."""

    def columns(self, rows: Rows) -> list[str]:
        """Return the names of the columns."""

    def keep(self, rows: Rows) -> Rows:
        """Return the same rows, computed once for several readers, until `release` or the engine's end."""

    def keep_on_disk(self, rows: Rows) -> Rows:
        """As `keep`, for rows that memory may not hold."""

    def release(self, rows: Rows) -> None:
        """Forget rows that were kept."""

    def arrow(self, rows: Rows) -> pa.Table:
        """Return all rows."""

    def count(self, rows: Rows, column: str) -> int:
        """Return how many different values a column has."""

    def write(
        self,
        lake: Lake,
        rows: Rows,
        table: str,
        ds: date,
        *,
        inputs: Mapping[str, str],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
    ) -> Manifest:
        """Write one day of a table whole, as `Lake.write` does, with its errors."""

    def write_days(
        self,
        lake: Lake,
        rows: Rows | None,
        table: str,
        days: Sequence[date],
        *,
        inputs: Mapping[date, Mapping[str, str]],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[date, Mapping[str, object]] | None = None,
    ) -> None:
        """Write several days of a table, a file each, as `Lake.write_days` does; `rows` have `ds`, None is no row."""


class OnSpark:
    """Spark as an engine."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._kept: list[DataFrame] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for frame in self._kept:
            frame.unpersist()

    def stored(self, lake: Lake, table: str, days: Iterable[date]) -> DataFrame:
        return lake.read_days(self._spark, table, days)

    def table(self, rows: pa.Table) -> DataFrame:
        return self._spark.createDataFrame(rows)

    def made(self, schema: pa.Schema, make: Callable[[int], Iterator[pa.RecordBatch]], count: int) -> DataFrame:
        from pyspark.sql.pandas.types import from_arrow_schema  # loads pandas

        def of_numbers(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for number in batch.column(0).to_pylist():
                    yield from make(number)

        return self._spark.range(0, count, 1, count).mapInArrow(of_numbers, from_arrow_schema(schema))

    def query(self, name: str, views: Mapping[str, Rows], params: Mapping[str, QueryParameter]) -> DataFrame:
        return query(self._spark, name, views, params)

    def select(self, text: str, views: Mapping[str, Rows]) -> DataFrame:
        for view, frame in views.items():
            frame.createOrReplaceTempView(view)
        return self._spark.sql(text)

    def columns(self, rows: DataFrame) -> list[str]:
        return rows.columns

    def keep(self, rows: DataFrame) -> DataFrame:
        self._kept.append(rows.persist(StorageLevel.MEMORY_AND_DISK))
        return rows

    def keep_on_disk(self, rows: DataFrame) -> DataFrame:
        self._kept.append(rows.persist(StorageLevel.DISK_ONLY))
        return rows

    def release(self, rows: DataFrame) -> None:
        self._kept.remove(rows)
        rows.unpersist()

    def arrow(self, rows: DataFrame) -> pa.Table:
        return rows.toArrow()

    def count(self, rows: DataFrame, column: str) -> int:
        return rows.select(F.col(column)).distinct().count()

    def write(self, lake: Lake, rows: DataFrame, table: str, ds: date, **made_of: Any) -> Manifest:
        return lake.write(rows, table, ds, **made_of)

    def write_days(
        self, lake: Lake, rows: DataFrame | None, table: str, days: Sequence[date], **made_of: Any
    ) -> None:
        lake.write_days(rows, table, days, **made_of)


def engine_for(rows: int) -> Engine:
    """Return an engine that suits a stage which reads so many rows."""
    return OnSpark(session()) if on_cluster() or rows > MOST_ROWS_HERE else InProcess()
