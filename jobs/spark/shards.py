"""Run a function over every user shard on Spark's executors; tables keyed by user lie in one file a shard.

A shard's task opens the files of that shard itself, so tables of the same users are joined without a shuffle.
"""

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.lake.contracts import contract, spark_schema
from jobs.lake.tables import SHARDS

ShardFunction = Callable[[int], Iterator[pa.RecordBatch]]


def map_shards(spark: SparkSession, table: str, run: ShardFunction) -> DataFrame:
    """Return a frame of `table`'s stored columns: what `run` yields for each of the user shards, in its order.

    `run` gets the shard's number; it is sent to the executors, so it must be picklable (a frozen dataclass with
    `__call__` over plain values).
    """

    def run_all(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for shard in batch.column(0).to_pylist():
                yield from run(int(shard))

    return spark.range(0, SHARDS, 1, SHARDS).mapInArrow(run_all, spark_schema(contract(table)))
