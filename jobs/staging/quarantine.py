"""Build `staging/quarantine`: every landed row that was set aside, with its reason; stop when there are too many.

>>> refuse_too_many(cleaned, "events", counts, max_share=0.05, landing="data/landing")
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from functools import reduce

import msgspec
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from jobs.landing.rows import RAW_BYTES, cut_to_bytes

EXACT_DUPLICATE = "exact_duplicate"
FEW_ROWS = 20
"""Up to this many rows set aside in a day never stop a run, whatever their share: a small shop has small days."""
EXAMPLE_ROWS = 3
EXAMPLE_CHARACTERS = 300


class TooManyBadRowsError(ValueError):
    """So many rows of a day were set aside that the night would learn from a wrong picture of the day."""


class RowCounts(msgspec.Struct):
    """What became of the rows of one landing table, on one day or on several."""

    kept: int = 0
    repeated: int = 0
    """Rows that equal a kept row, in tables where a repeat adds nothing."""
    set_aside: dict[str, int] = {}
    """Rows in quarantine, by reason."""
    reaches_back_to: date | None = None
    """Events of one day: the earliest event_date of a late row with an event_id."""

    @property
    def set_aside_count(self) -> int:
        """All rows in quarantine."""
        return sum(self.set_aside.values())

    @property
    def landed(self) -> int:
        """All rows that came in."""
        return self.kept + self.repeated + self.set_aside_count

    def to_metrics(self) -> dict[str, object]:
        """Return the counts as a manifest's `metrics`; `Manifest.metrics_as` turns them back."""
        reaches_back_to = {"reaches_back_to": str(self.reaches_back_to)} if self.reaches_back_to else {}
        return {
            "landed": self.landed,
            "kept": self.kept,
            "repeated": self.repeated,
            "set_aside": dict(sorted(self.set_aside.items())),
        } | reaches_back_to


def count_rows(cleaned: DataFrame) -> dict[date, RowCounts]:
    """Return what became of a cleaned table's rows, by landing day; days without rows are not there."""
    late = F.lit(None).cast("date")
    if "event_id" in cleaned.columns:
        is_late = F.col("event_id").isNotNull() & (F.col("event_date") < F.col("ds"))
        late = F.when(is_late, F.col("event_date"))
    counts: dict[date, RowCounts] = {}
    grouped = cleaned.groupBy("ds", "reason").agg(F.count(F.lit(1)).alias("row_count"), F.min(late).alias("late"))
    for row in grouped.collect():
        of_day = counts.setdefault(row["ds"], RowCounts())
        if row["reason"] is None:
            of_day.kept = row["row_count"]
        elif row["reason"] == EXACT_DUPLICATE:
            of_day.repeated = row["row_count"]
        else:
            of_day.set_aside[row["reason"]] = row["row_count"]
        of_day.reaches_back_to = min(filter(None, (row["late"], of_day.reaches_back_to)), default=None)
    return counts


def total(counts: Iterable[RowCounts]) -> RowCounts:
    """Return the sum of several days' counts, without `reaches_back_to`."""
    days = list(counts)
    set_aside: Counter[str] = Counter()
    for of_day in days:
        set_aside.update(of_day.set_aside)
    return RowCounts(sum(of_day.kept for of_day in days), sum(of_day.repeated for of_day in days), dict(set_aside))


def quarantine(cleaned: Mapping[str, DataFrame]) -> DataFrame:
    """Return the rows set aside from cleaned tables, by landing table, as `staging/quarantine` with `ds`."""
    return reduce(DataFrame.unionAll, (_set_aside(frame, name) for name, frame in cleaned.items()))


def refuse_too_many(
    cleaned: DataFrame, name: str, counts: Mapping[date, RowCounts], *, max_share: float, landing: str
) -> None:
    """Check that no day has more rows set aside than `max_share` of its rows, or FEW_ROWS if that is more.

    Raises:
        TooManyBadRowsError: for the first such day: counts by reason, EXAMPLE_ROWS rows, the remedy.
    """
    for ds, of_day in sorted(counts.items()):
        if of_day.set_aside_count <= max(FEW_ROWS, max_share * of_day.landed):
            continue
        by_reason = sorted(of_day.set_aside.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in by_reason)
        raise TooManyBadRowsError(
            f"{landing}/{name}/ds={ds}: {of_day.set_aside_count:,} of {of_day.landed:,} rows had to be set aside, "
            f"more than the allowed {max_share:.0%} ({reasons}); for example\n{_examples(cleaned, ds)}\n"
            f"All of them stand in staging/quarantine/ds={ds}. Land the day again without the fault, or raise "
            "parameters.staging.max_quarantine_share in topshelf.toml"
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
