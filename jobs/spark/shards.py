"""Run a function for every user shard on Spark's executors; a table that is keyed by user has one file a shard.

Each task opens the files of its shard itself, so tables of the same users are joined without a shuffle.
"""

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from jobs.lake.contracts import contract, spark_schema
from jobs.lake.tables import SHARDS

ShardFunction = Callable[[int], Iterator[pa.RecordBatch]]


def map_shards(spark: SparkSession, table: str, run: ShardFunction) -> DataFrame:
    """Return a frame of the stored columns of `table`, as `rows_of_shards` does."""
    return rows_of_shards(spark, spark_schema(contract(table)), run)


def rows_of_shards(spark: SparkSession, columns: StructType, run: ShardFunction) -> DataFrame:
    """Return a frame of `columns`: the batches that `run` yields for each user shard, in order.

    `run` gets the number of the shard. It is sent to the executors, so it must be picklable (a frozen dataclass with
    `__call__` over plain values).
    """

    def run_all(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for shard in batch.column(0).to_pylist():
                yield from run(int(shard))

    return spark.range(0, SHARDS, 1, SHARDS).mapInArrow(run_all, columns)
