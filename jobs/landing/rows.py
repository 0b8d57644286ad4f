"""Landed files as one table of typed rows: the view `landed` that `sql/staging/*.sql` clean.

What one process reads in a few seconds is read here, and handed to Spark. Of more, each of Spark's tasks reads a bin
of files, or a row group of a large parquet file. Both read by `jobs.landing.file_rows`; the columns are those of its
`batch_schema`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column as Expression
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.landing.file_plans import FilePlan, LandedFiles
from jobs.landing.file_rows import batch_schema, read_batches
from jobs.landing.folders import Landing, UnreadableFileError

DRIVER_BYTES = 1 << 23
"""Up to so many bytes of files are read here: a Python worker of Spark takes seconds to start."""
BIN_BYTES = 1 << 25
"""A task reads about so many bytes of files."""
OPENING_BYTES = 1 << 18
"""What opening a file costs, as bytes read."""


def landed_rows(spark: SparkSession, landing: Landing, landed_files: LandedFiles) -> DataFrame:
    """Return the rows of all files as the view `landed`; there must be at least one file.

    Where a file cannot be read to its end, this fails with UnreadableFileError, or a job over the rows does, with an
    error of which `naming_file` makes one.
    """
    schema = batch_schema(landed_files.columns)
    cores = spark.sparkContext.defaultParallelism
    sized = [(plan, landing.size(plan.file)) for plan in landed_files.plans]
    if sum(size for _, size in sized) <= DRIVER_BYTES:
        rows = pa.Table.from_batches(
            (batch for plan in landed_files.plans for batch in read_batches(landing, plan)), schema
        )
        return spark.createDataFrame(rows, from_arrow_schema(schema)).coalesce(cores)
    bins = _bins(landing, sized, cores)
    return spark.range(0, len(bins), 1, len(bins)).mapInArrow(
        _ReadBins(landing.root, bins), from_arrow_schema(schema)
    )


def cut_to_bytes(text: Expression, limit: int) -> Expression:
    """Return the text, or as many of its first whole characters as fit into `limit` bytes."""
    head = F.substring(text.cast("binary"), 1, limit - 3).cast("string")
    return F.when(F.octet_length(text) <= limit, text).otherwise(F.make_valid_utf8(head))


def naming_file(error: Exception) -> Exception:
    """Return the error of a landed file on which a Spark job failed, or `error` where there is none."""
    told = re.search(r"UnreadableFileError: (.+)", str(error))
    return UnreadableFileError(told[1].strip()) if told else error


@dataclass(frozen=True)
class _ReadBins:
    """What a task runs: the number of its bin comes in, rows go out."""

    root: str
    bins: Sequence[Sequence[FilePlan]]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        landing = Landing(self.root)
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for plan in self.bins[number]:
                    yield from read_batches(landing, plan)


def _bins(landing: Landing, plans: Sequence[tuple[FilePlan, int]], cores: int) -> list[list[FilePlan]]:
    """Spread files, each with its bytes, over tasks: at least a task a core, and more where they are large."""
    sized = [part for plan, size in plans for part in _parts(landing, plan, size + OPENING_BYTES)]
    total = sum(size for _, size in sized)
    most = max(1, min(BIN_BYTES, -(-total // cores)))
    bins: list[list[FilePlan]] = []
    filled = most
    for plan, size in sized:
        if filled >= most:
            bins.append([])
            filled = 0
        bins[-1].append(plan)
        filled += size
    return bins


def _parts(landing: Landing, plan: FilePlan, size: int) -> Iterator[tuple[FilePlan, int]]:
    """Yield a file with its size; a large parquet file by its row groups."""
    if plan.file.format != "parquet" or size <= BIN_BYTES:
        yield plan, size
        return
    with landing.filesystem.open_input_file(plan.file.path) as stream:
        groups = pq.ParquetFile(stream).metadata.num_row_groups
    for group in range(groups):
        yield replace(plan, row_group=group), size // groups
