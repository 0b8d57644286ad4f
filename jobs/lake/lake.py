"""The lake: parquet under `<table>/ds=<day>/`, local or on `s3://`, each partition with its manifest.

>>> Lake("data/lake").manifest("features/item", date(2026, 1, 31)).row_count
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.lake.contracts import arrow_schema, check_columns, check_names, contract, spark_schema
from jobs.lake.manifest import Manifest
from jobs.lake.partitions import Partitions, write_error
from jobs.lake.tables import SHARDS

if TYPE_CHECKING:
    from pyarrow import dataset


@dataclass(frozen=True)
class Lake(Partitions):
    """Reads and writes whole partitions. `root` is a folder or `s3://bucket/prefix`."""

    def location(self, table: str, ds: date | None = None) -> str:
        """Return the address that Spark reads: of one day, or of the whole table."""
        base = self.root.replace("s3://", "s3a://") if self.root.startswith("s3://") else self._filesystem[1]
        return f"{base}/{table}" + (f"/ds={ds}" if ds else "")

    # Tables ------------------------------------------------------------------------------------------------

    def write(
        self,
        frame: DataFrame,
        table: str,
        ds: date,
        *,
        inputs: Mapping[str, str],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
        in_shards: bool = False,
    ) -> Manifest:
        """Write one day of a table whole: contract held, partitions fixed by the grain, manifest last.

        `in_shards` tells that the frame comes from `map_shards`, its partitions already the shards, in order.

        Raises:
            ContractMismatchError: the frame is not what the contract says.
            LakeWriteError: Spark could not write (a full disk, a store that is gone).
        """
        want = contract(table)
        check_columns(want, frame.schema)
        names = [column.name for column in want.stored_columns]
        grain = [name for name in want.grain if name != "ds"]
        ordered = frame.select(*names) if in_shards else _fixed_partitions(frame.select(*names), grain)
        self._begin(table, ds)
        try:
            ordered.write.mode("append").parquet(self.location(table, ds))
        except Exception as error:
            raise write_error(error, f"{table}/ds={ds}") from error
        return self._finish(table, ds, inputs, parameters or {}, metrics or {})

    def write_parts(
        self,
        parts: Iterable[tuple[int, Iterable[pa.RecordBatch]]],
        table: str,
        ds: date,
        *,
        inputs: Mapping[str, str],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
    ) -> Manifest:
        """Write one day of a table whole from the Arrow batches of its files, by number; manifest last.

        A file is a user shard where the table is keyed by user. Its batches are of the contract's types and in order
        of the grain. A number without batches gets no file.

        Raises:
            LakeWriteError: a file could not be written.
        """

        def write() -> None:
            for number, batches in parts:
                self.write_part(table, ds, number, batches)

        return self.write_by(write, table, ds, inputs=inputs, parameters=parameters, metrics=metrics)

    def write_by(
        self,
        write: Callable[[], object],
        table: str,
        ds: date,
        *,
        inputs: Mapping[str, str],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
    ) -> Manifest:
        """Write one day of a table whole; `write` makes its files by `write_part`, here or in other processes.

        Raises:
            LakeWriteError: a file could not be written.
        """
        self._begin(table, ds)
        try:
            write()
        except OSError as error:
            raise write_error(error, f"{table}/ds={ds}") from error
        return self._finish(table, ds, inputs, parameters or {}, metrics or {})

    def write_table(
        self,
        rows: pa.Table,
        table: str,
        ds: date,
        *,
        inputs: Mapping[str, str],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
    ) -> Manifest:
        """Write one day of a table that is not keyed by user, from rows at hand; they get in order of the grain.

        Raises:
            ContractMismatchError: the rows have other columns than the contract.
            LakeWriteError: a file could not be written.
        """
        of = contract(table)
        check_names(of, rows.column_names)
        schema = arrow_schema(of)
        grain = [(name, "ascending") for name in of.grain if name != "ds"]
        parts = [(0, rows.select(schema.names).cast(schema).sort_by(grain).to_batches())]
        return self.write_parts(parts, table, ds, inputs=inputs, parameters=parameters, metrics=metrics)

    def write_part(self, table: str, ds: date, number: int, batches: Iterable[pa.RecordBatch]) -> None:
        """Write one file of a day, of a day that `write_by` writes."""
        schema, writer = arrow_schema(contract(table)), None
        path = self._inside(table, ds, f"part-{number:05d}-0.zstd.parquet")
        with ExitStack() as open_files:
            for batch in batches:
                if writer is None:
                    stream = open_files.enter_context(self._filesystem[0].open_output_stream(path))
                    writer = open_files.enter_context(pq.ParquetWriter(stream, schema, compression="zstd"))
                writer.write_batch(batch)

    def write_days(
        self,
        frame: DataFrame | None,
        table: str,
        days: Sequence[date],
        *,
        inputs: Mapping[date, Mapping[str, str]],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[date, Mapping[str, object]] | None = None,
    ) -> dict[date, Manifest]:
        """Write several days of a table in one job, one file a day; `frame` carries `ds` as a date.

        Days without rows get an empty partition with a manifest; a frame of None has no rows at all.

        Raises:
            ContractMismatchError: the frame is not what the contract says.
            LakeWriteError: Spark could not write (a full disk, a store that is gone).
        """
        if frame is not None:
            check_columns(contract(table), frame.schema)
        for ds in days:
            self._begin(table, ds)
        if frame is not None:
            self._append_days(frame, table, f"{table}/ds={days[0]} to ds={days[-1]}")
        told = metrics or {}
        return {ds: self._finish(table, ds, inputs[ds], parameters or {}, told.get(ds, {})) for ds in days}

    def _append_days(self, frame: DataFrame, table: str, where: str) -> None:
        want = contract(table)
        names = [column.name for column in want.stored_columns]
        ordered = frame.select("ds", *names).repartition("ds").sortWithinPartitions(*want.grain)
        try:
            ordered.write.mode("append").partitionBy("ds").parquet(self.location(table))
        except Exception as error:
            raise write_error(error, where) from error

    def read(self, spark: SparkSession, table: str, ds: date) -> DataFrame:
        """Return one day of a table, with `ds`.

        Raises:
            MissingPartitionError: the day was never built, or not to its end.
        """
        return self.read_days(spark, table, [ds])

    def read_days(self, spark: SparkSession, table: str, days: Iterable[date]) -> DataFrame:
        """Return several days of a table, with `ds`.

        Raises:
            MissingPartitionError: one of the days has no manifest.
        """
        schema = spark_schema(contract(table))
        wanted = [ds for ds in days if self.manifest(table, ds).files]
        if not wanted:
            return spark.createDataFrame([], schema).withColumn("ds", F.lit(None).cast("date"))
        reader = spark.read.schema(schema.add("ds", "date")).option("basePath", self.location(table))
        return reader.parquet(*(self.location(table, ds) for ds in wanted))

    def files(self, table: str, days: Iterable[date]) -> list[tuple[str, date]]:
        """Return the path of each file of days of a table, on the lake's file system, with its day.

        Raises:
            MissingPartitionError: one of the days has no manifest.
        """
        return [
            (self._inside(table, ds, name), ds)
            for ds in days
            for name in sorted(self.manifest(table, ds).files)
            if name.endswith(".parquet")
        ]

    @property
    def local_folder(self) -> str | None:
        """The lake's folder on this machine's disk, absolute and without links; None where it is elsewhere."""
        filesystem, base = self._filesystem
        return base if isinstance(filesystem, fs.LocalFileSystem) else None

    def dataset(self, table: str, days: Iterable[date]) -> "dataset.Dataset":
        """Return days of a table as an Arrow dataset, with `ds`; times are in UTC and carry no zone.

        Raises:
            MissingPartitionError: one of the days has no manifest.
        """
        from pyarrow import dataset  # loads pandas: a second that the processes of shards need not spend

        files = self.files(table, days)
        schema = without_zones(arrow_schema(contract(table))).append(pa.field("ds", pa.date32()))
        if not files:
            return dataset.dataset(schema.empty_table())
        options = dataset.ParquetReadOptions(coerce_int96_timestamp_unit="us")
        return dataset.FileSystemDataset.from_paths(
            [path for path, _ in files],
            schema=schema,
            format=dataset.ParquetFileFormat(read_options=options),
            filesystem=self._filesystem[0],
            partitions=[dataset.field("ds") == pa.scalar(ds, pa.date32()) for _, ds in files],
        )

    def arrow(self, table: str, ds: date, columns: Sequence[str] | None = None) -> pa.Table:
        """Return one day of a table as Arrow, files in name order, without `ds`; without a file, no rows.

        Raises:
            MissingPartitionError: the day was never built, or not to its end.
        """
        names = sorted(name for name in self.manifest(table, ds).files if name.endswith(".parquet"))
        if not names:
            return _no_rows(table, columns)
        parts = []
        for name in names:
            with self._filesystem[0].open_input_file(self._inside(table, ds, name)) as stream:
                parts.append(pq.ParquetFile(stream).read(columns=list(columns) if columns else None))
        return pa.concat_tables(parts)

    def arrow_where(
        self, table: str, ds: date, column: str, values: Iterable[str], columns: Sequence[str]
    ) -> pa.Table:
        """Return the rows of one day whose `column` is one of `values`, as Arrow; files are filtered when read.

        Raises:
            MissingPartitionError: the day was never built, or not to its end.
        """
        names = sorted(name for name in self.manifest(table, ds).files if name.endswith(".parquet"))
        if not names:
            return _no_rows(table, columns)
        paths = [self._inside(table, ds, name) for name in names]
        wanted = pc.field(column).isin(pa.array(sorted(values), pa.string()))
        return pq.read_table(
            paths, columns=list(columns), filters=wanted, filesystem=self._filesystem[0], partitioning=None
        )

    def shard(
        self,
        table: str,
        ds: date,
        shard: int,
        columns: Sequence[str] | None = None,
        dictionaries: Sequence[str] = (),
    ) -> pa.Table:
        """Return one user shard of one day of a table as Arrow, sorted by the grain.

        Columns of strings that repeat are read several times faster as `dictionaries`, and are of that type then.

        Raises:
            MissingPartitionError: the day was never built, or not to its end.
        """
        names = [name for name in self.manifest(table, ds).files if name.startswith(f"part-{shard:05d}-")]
        if not names:
            return _no_rows(table, columns)
        with self._filesystem[0].open_input_file(self._inside(table, ds, names[0])) as stream:
            file = pq.ParquetFile(stream, read_dictionary=list(dictionaries))
            return file.read(columns=list(columns) if columns else None)

    def shard_batches(self, table: str, ds: date, shard: int, size: int) -> Iterator[pa.Table]:
        """Yield the rows of one user shard as `shard` has them, `size` at a time; the last may be fewer.

        No more of the file is held than that, and what is compressed of it.

        Raises:
            MissingPartitionError: the day was never built, or not to its end.
        """
        for name in (name for name in self.manifest(table, ds).files if name.startswith(f"part-{shard:05d}-")):
            with self._filesystem[0].open_input_file(self._inside(table, ds, name)) as stream:
                file = pq.ParquetFile(stream)
                rows = file.schema_arrow.empty_table()
                for batch in file.iter_batches(size):
                    rows = pa.concat_tables([rows, pa.Table.from_batches([batch])])
                    while len(rows) >= size:
                        yield rows.slice(0, size)
                        rows = rows.slice(size)
                if len(rows):
                    yield rows

    # Artifacts ---------------------------------------------------------------------------------------------

    def write_artifact(
        self,
        name: str,
        ds: date,
        arrays: Mapping[str, npt.NDArray[Any]],
        *,
        texts: Mapping[str, str] | None = None,
        inputs: Mapping[str, str],
        parameters: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
    ) -> Manifest:
        """Write an artifact whole: each array as `<key>.npy`, each text under its key, the manifest last.

        Raises:
            LakeWriteError: a file could not be written.
        """

        def write() -> None:
            for key, array in arrays.items():
                with self._filesystem[0].open_output_stream(self._inside(name, ds, f"{key}.npy")) as stream:
                    np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
            for key, text in (texts or {}).items():
                with self._filesystem[0].open_output_stream(self._inside(name, ds, key)) as stream:
                    stream.write(text.encode())

        return self.write_by(write, name, ds, inputs=inputs, parameters=parameters, metrics=metrics)

    def array(self, name: str, ds: date, key: str) -> npt.NDArray[Any]:
        """Return one array of an artifact: memory-mapped on a local lake, so that workers share its pages.

        Raises:
            MissingPartitionError: the artifact was never built, or not to its end.
        """
        self.manifest(name, ds)
        path = self._inside(name, ds, f"{key}.npy")
        if self.local_folder is not None:
            return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
        with self._filesystem[0].open_input_stream(path) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))

    def text(self, name: str, ds: date, key: str) -> str:
        """Return one text file of an artifact.

        Raises:
            MissingPartitionError: the artifact was never built, or not to its end.
        """
        self.manifest(name, ds)
        with self._filesystem[0].open_input_stream(self._inside(name, ds, key)) as stream:
            return str(stream.readall().decode())


def as_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with its columns, by position, as the schema's; a value that does not fit its type raises."""
    arrays = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def shard_column(grain: Sequence[str]) -> str | None:
    """Return the column of a grain by which its table is laid out in shards; None for a table of one file."""
    return next((name for name in ("user_id", "unit_id", "owner") if name in grain), None)


def without_zones(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose times carry no zone; they are UTC in every table."""
    return pa.schema(
        [
            pa.field(field.name, pa.timestamp("us") if pa.types.is_timestamp(field.type) else field.type)
            for field in schema
        ]
    )


def _no_rows(table: str, columns: Sequence[str] | None) -> pa.Table:
    schema = arrow_schema(contract(table))
    return schema.empty_table().select(list(columns) if columns else schema.names)


def _fixed_partitions(frame: DataFrame, grain: Sequence[str]) -> DataFrame:
    """Lay rows into files by the grain alone: by the user's shard, else into one sorted file."""
    unit = shard_column(grain)
    if unit:
        shard = (F.crc32(F.col(unit)) % F.lit(SHARDS)).cast("int")
        return frame.repartitionById(SHARDS, shard).sortWithinPartitions(*grain)
    return frame.coalesce(1).sortWithinPartitions(*grain) if grain else frame.coalesce(1)
