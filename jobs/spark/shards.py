"""Run a function for every user shard; a table that is keyed by user has one file a shard.

Each call opens the files of its shard itself, so tables of the same users are joined without a shuffle. The calls run
in processes of this machine, one a core, which are kept for the next stage; with TOPSHELF_SPARK_MASTER on a cluster,
on Spark's executors.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from jobs.lake.contracts import arrow_schema, contract, spark_schema
from jobs.lake.lake import Lake, as_schema
from jobs.lake.manifest import Manifest
from jobs.lake.tables import SHARDS
from jobs.spark.processes import in_processes
from jobs.spark.session import on_cluster, session

ShardFunction = Callable[[int], Iterator[pa.RecordBatch]]
"""Yields the batches of one shard. It is sent to other processes, so it must be picklable: a frozen dataclass with
`__call__` over plain values."""


def write_shards(
    lake: Lake,
    table: str,
    ds: date,
    run: ShardFunction,
    *,
    inputs: Mapping[str, str],
    parameters: Mapping[str, object] | None = None,
) -> Manifest:
    """Write one day of a table from the batches that `run` yields for each user shard, in order of the grain.

    A batch has the contract's stored columns, by position.

    Raises:
        LakeWriteError: a file could not be written.
        ProcessEndedError: a process was killed.
    """
    if on_cluster():
        frame = _on_spark(session(), spark_schema(contract(table)), run)
        return lake.write(frame, table, ds, inputs=inputs, parameters=parameters, in_shards=True)
    write = partial(in_processes, partial(_write_shard, lake, table, ds, run), SHARDS)
    return lake.write_by(write, table, ds, inputs=inputs, parameters=parameters)


def rows_of_shards(columns: pa.Schema, run: ShardFunction) -> pa.Table:
    """Return all batches of `columns` that `run` yields, shard after shard. Raises as `write_shards` does."""
    if on_cluster():
        from pyspark.sql.pandas.types import from_arrow_schema  # loads pandas

        return _on_spark(session(), from_arrow_schema(columns), run).toArrow().cast(columns)
    return pa.concat_tables([columns.empty_table(), *in_processes(partial(_shard_rows, columns, run), SHARDS)])


def _write_shard(lake: Lake, table: str, ds: date, run: ShardFunction, shard: int) -> None:
    schema = arrow_schema(contract(table))
    lake.write_part(table, ds, shard, (as_schema(batch, schema) for batch in run(shard) if batch.num_rows))


def _shard_rows(columns: pa.Schema, run: ShardFunction, shard: int) -> pa.Table:
    return pa.Table.from_batches([as_schema(batch, columns) for batch in run(shard)], columns)


def _on_spark(spark: SparkSession, columns: StructType, run: ShardFunction) -> DataFrame:
    def run_all(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for shard in batch.column(0).to_pylist():
                yield from run(int(shard))

    return spark.range(0, SHARDS, 1, SHARDS).mapInArrow(run_all, columns)
