"""Build `staging/quarantine`: every landed row that was set aside, with its reason; stop when there are too many.

>>> refuse_too_many(cleaned, "events", counts, max_share=0.05, landing="data/landing")
"""

from collections.abc import Mapping
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from jobs.landing.file_rows import RAW_BYTES, unread_cells
from jobs.landing.row_counts import EXACT_DUPLICATE, RowCounts, by_day, refusal
from jobs.landing.rows import cut_to_bytes

EXAMPLE_ROWS = 3
EXAMPLE_CHARACTERS = 300


class TooManyBadRowsError(ValueError):
    """So many rows of a day were set aside that the night would learn from a wrong picture of the day."""


def count_rows(cleaned: DataFrame) -> dict[date, RowCounts]:
    """Return what became of a cleaned table's rows, by landing day; days without rows are not there."""
    late = F.lit(None).cast("date")
    if "event_id" in cleaned.columns:
        is_late = F.col("event_id").isNotNull() & (F.col("event_date") < F.col("ds"))
        late = F.when(is_late, F.col("event_date"))
    embedding = F.col("embedding") if "embedding" in cleaned.columns else F.lit(None)
    files: dict[tuple[date, str], RowCounts] = {}
    grouped = cleaned.groupBy("ds", "path", "reason", F.col("unread.columns").alias("unread")).agg(
        F.count(F.lit(1)).alias("row_count"),
        F.count(embedding).alias("with_embedding"),
        F.min(late).alias("late"),
        F.min("unread.example").alias("example"),
    )
    for row in grouped.collect():
        of_file, count = files.setdefault((row["ds"], row["path"]), RowCounts()), row["row_count"]
        of_file.take(row["reason"], count)
        if row["reason"] is None:
            of_file.with_embedding += row["with_embedding"]
        if row["reason"] is None and row["unread"] is not None:
            for column, example in unread_cells(row["unread"], row["example"]):
                of_file.take_unread(column, count, example)
        of_file.reaches_back_to = min(filter(None, (row["late"], of_file.reaches_back_to)), default=None)
    return by_day(files)


def quarantine(cleaned: Mapping[str, DataFrame]) -> DataFrame:
    """Return the rows set aside from cleaned tables, by landing table, as `staging/quarantine` with `ds`."""
    return reduce(DataFrame.unionAll, (_set_aside(frame, name) for name, frame in cleaned.items()))


def refuse_too_many(
    cleaned: DataFrame, name: str, counts: Mapping[date, RowCounts], *, max_share: float, landing: str
) -> None:
    """Check that no day has more rows set aside than `max_share` of its rows, or FEW_ROWS if that is more.

    A file of which nothing is kept stops the run at any size.

    Raises:
        TooManyBadRowsError: for the first such day: counts by reason, EXAMPLE_ROWS rows, the remedy.
    """
    for ds, of_day in sorted(counts.items()):
        why = refusal(landing, name, ds, of_day, max_share)
        if why is not None:
            remedy = (
                "take the file out of the folder"
                if of_day.nothing_kept
                else "raise parameters.staging.max_quarantine_share in topshelf.toml"
            )
            raise TooManyBadRowsError(
                f"{why}; for example\n{_examples(cleaned, ds)}\n"
                f"All of them stand in staging/quarantine/ds={ds}; topshelf landing check shows each file. "
                f"Land the day again without the fault, or {remedy}"
            )


def _set_aside(cleaned: DataFrame, name: str) -> DataFrame:
    equal_rows = Window.partitionBy("ds", "path", "row_sha256").orderBy("reason", "column_name")
    return _bad_rows(cleaned).select(
        "ds",
        F.lit(name).alias("table_name"),
        "reason",
        "column_name",
        "path",
        F.col("row_sha256").alias("raw_sha256"),
        F.row_number().over(equal_rows).alias("ordinal"),
        cut_to_bytes(F.col("raw"), RAW_BYTES).alias("raw"),
    )


def _bad_rows(cleaned: DataFrame) -> DataFrame:
    return cleaned.where(F.col("reason").isNotNull() & (F.col("reason") != EXACT_DUPLICATE))


def _examples(cleaned: DataFrame, ds: date) -> str:
    rows = _bad_rows(cleaned).where(F.col("ds") == F.lit(ds)).orderBy("path", "row_sha256", "reason")
    return "\n".join(
        _example(row["reason"], row["column_name"], row["path"], row["raw"])
        for row in rows.limit(EXAMPLE_ROWS).collect()
    )


def _example(reason: str, column: str | None, path: str, raw: str) -> str:
    where = f"{reason} in {column}" if column else reason
    return f"  {path}: {where}: {raw if len(raw) <= EXAMPLE_CHARACTERS else raw[:EXAMPLE_CHARACTERS] + '…'}"
