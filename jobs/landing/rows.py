"""Landed files as one table of typed rows: the view `landed` that `sql/staging/*.sql` clean.

What one process reads in a few seconds is read here. Of more, each process reads a bin of files, or a row group of a
large parquet file. Both read by `jobs.landing.file_rows`; the columns are those of its `batch_schema`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.landing.file_plans import FilePlan, LandedFiles
from jobs.landing.file_rows import batch_schema, read_batches
from jobs.landing.folders import Landing, UnreadableFileError
from jobs.spark.engine import Engine, Rows
from jobs.spark.processes import available_cores

HERE_BYTES = 1 << 23
"""Up to so many bytes of files are read here: other processes take seconds to start."""
BIN_BYTES = 1 << 25
"""A process reads about so many bytes of files at a time."""
OPENING_BYTES = 1 << 18
"""What opening a file costs, as bytes read."""
BYTES_A_ROW = 20
"""Of a row in a file, at least about; compressed parquet has the fewest."""


def landed_rows(engine: Engine, landing: Landing, landed_files: LandedFiles) -> Rows:
    """Return the rows of all files as the view `landed`; there must be at least one file.

    Where a file cannot be read to its end, this fails with UnreadableFileError, or a job of Spark over the rows does,
    with an error of which `naming_file` makes one.
    """
    schema = batch_schema(landed_files.columns)
    sized = [(plan, landing.size(plan.file)) for plan in landed_files.plans]
    if sum(size for _, size in sized) <= HERE_BYTES:
        batches = (batch for plan in landed_files.plans for batch in read_batches(landing, plan))
        return engine.table(pa.Table.from_batches(batches, schema))
    bins = _bins(landing, sized, available_cores())
    return engine.made(schema, _ReadBins(landing.root, bins), len(bins))


def about_rows(landing: Landing, landed_files: Iterable[LandedFiles]) -> int:
    """Return about how many rows files have at most, by their sizes."""
    return sum(landing.size(plan.file) for files in landed_files for plan in files.plans) // BYTES_A_ROW


def naming_file(error: Exception) -> Exception:
    """Return the error of a landed file on which a Spark job failed, or `error` where there is none."""
    told = re.search(r"UnreadableFileError: (.+)", str(error))
    return UnreadableFileError(told[1].strip()) if told else error


@dataclass(frozen=True)
class _ReadBins:
    """Reads the files of a bin."""

    root: str
    bins: Sequence[Sequence[FilePlan]]

    def __call__(self, number: int) -> Iterator[pa.RecordBatch]:
        landing = Landing(self.root)
        for plan in self.bins[number]:
            yield from read_batches(landing, plan)


def _bins(landing: Landing, plans: Sequence[tuple[FilePlan, int]], cores: int) -> list[list[FilePlan]]:
    """Spread files, each with its bytes, over bins: at least one a core, and more where they are large."""
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
