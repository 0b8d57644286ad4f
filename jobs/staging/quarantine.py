"""Build `staging/quarantine`: every landed row that was set aside, with its reason; and stop when there are too many.

>>> refuse_too_many(cleaned, "events", counts, max_share=0.05, landing="data/landing")
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from jobs.landing.rows import RAW_BYTES, cut

EXACT_DUPLICATE = "exact_duplicate"
FEW_ROWS = 20
"""So few rows set aside in a day never stop a run, whatever their share: a small shop has small days."""


class TooManyBadRowsError(ValueError):
    """So much of a day was set aside that the night would learn from the wrong rows."""


@dataclass
class RowCounts:
    """What became of one day's rows of one landing table."""

    kept: int = 0
    repeated: int = 0
    """Rows equal to one that is kept, where a repeat says nothing new."""
    set_aside: dict[str, int] = field(default_factory=dict)
    """Rows in quarantine, by reason."""
    reaches_back_to: date | None = None
    """Events: the earliest event_date of a late row with an event_id."""

    @property
    def landed(self) -> int:
        """All rows that came in."""
        return self.kept + self.repeated + sum(self.set_aside.values())

    def to_metrics(self) -> dict[str, object]:
        """Return the counts as a manifest's `metrics`."""
        back = {"reaches_back_to": str(self.reaches_back_to)} if self.reaches_back_to else {}
        return {
            "landed": self.landed,
            "kept": self.kept,
            "repeated": self.repeated,
            "set_aside": dict(sorted(self.set_aside.items())),
        } | back


def count_rows(cleaned: DataFrame) -> dict[date, RowCounts]:
    """Return what became of the rows of a cleaned table, by landing day; days without rows are left out."""
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


def quarantine(cleaned: Mapping[str, DataFrame]) -> DataFrame:
    """Return the rows set aside from the cleaned tables (by landing name) as `staging/quarantine`, with `ds`."""
    return reduce(DataFrame.unionAll, (_set_aside(frame, name) for name, frame in cleaned.items()))


def _set_aside(cleaned: DataFrame, name: str) -> DataFrame:
    equal = Window.partitionBy("ds", "path", "row_sha256").orderBy("reason", "column_name")
    bad = cleaned.where(F.col("reason").isNotNull() & (F.col("reason") != EXACT_DUPLICATE))
    return bad.select(
        "ds",
        F.lit(name).alias("table_name"),
        "reason",
        "column_name",
        "path",
        F.col("row_sha256").alias("raw_sha256"),
        F.row_number().over(equal).alias("ordinal"),
        cut(F.col("raw"), RAW_BYTES).alias("raw"),
    )


def refuse_too_many(
    cleaned: DataFrame, name: str, counts: Mapping[date, RowCounts], *, max_share: float, landing: str
) -> None:
    """Hold each day's share of rows set aside against `max_share`.

    Raises:
        TooManyBadRowsError: for the first day over it: counts by reason, three example rows, the remedy.
    """
    for ds, of_day in sorted(counts.items()):
        bad = sum(of_day.set_aside.values())
        if bad <= max(FEW_ROWS, max_share * of_day.landed):
            continue
        by_reason = sorted(of_day.set_aside.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in by_reason)
        raise TooManyBadRowsError(
            f"{landing}/{name}/ds={ds}: {bad:,} of {of_day.landed:,} rows had to be set aside, more than the allowed "
            f"{max_share:.0%} ({reasons}); for example\n{_examples(cleaned, ds)}\n"
            f"All of them stand in staging/quarantine/ds={ds}. Land the day again without the fault, or raise "
            "max_quarantine_share in the file that TOPSHELF_PARAMETERS names"
        )


def _examples(cleaned: DataFrame, ds: date) -> str:
    bad = cleaned.where((F.col("ds") == F.lit(ds)) & F.col("reason").isNotNull())
    rows = bad.where(F.col("reason") != EXACT_DUPLICATE).orderBy("path", "row_sha256", "reason").limit(3)
    return "\n".join(_example(row["reason"], row["column_name"], row["path"], row["raw"]) for row in rows.collect())


def _example(reason: str, column: str | None, path: str, raw: str, width: int = 300) -> str:
    where = f"{reason} in {column}" if column else reason
    return f"  {path}: {where}: {raw if len(raw) <= width else raw[:width] + '…'}"


def total(counts: Iterable[RowCounts]) -> RowCounts:
    """Return the sum of several days' counts."""
    whole = RowCounts()
    for one in counts:
        whole.kept += one.kept
        whole.repeated += one.repeated
        for reason, count in one.set_aside.items():
            whole.set_aside[reason] = whole.set_aside.get(reason, 0) + count
    return whole
