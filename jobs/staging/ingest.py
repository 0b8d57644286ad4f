"""Build `staging/{interactions,items,users,exposures,quarantine}` from what the shop landed, up to one day.

    topshelf stage ingest --ds 2026-01-31 --landing data/landing --lake data/lake

A day is built again only when a file of it, or the code, has changed; all days to build are built in one go. A row
that cannot be right is set aside in quarantine with its reason and counted; a file or a folder that cannot be read
stops the run with its name and the remedy.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.config.parameters import Parameters
from jobs.lake.contracts import contract
from jobs.lake.lake import Lake
from jobs.lake.partitions import LakeWriteError
from jobs.lake.tables import QUARANTINE, STAGED_AS
from jobs.landing.folders import LandedDay, Landing
from jobs.landing.rows import LandedFiles, inspect, landed_rows, unreadable_in
from jobs.spark.queries import query
from jobs.staging.quarantine import RowCounts, count_rows, quarantine, refuse_too_many, total

EARLIER = "event_id string, event_date date, ds date"


@dataclass
class IngestSummary:
    """What one run built, kept, set aside and did without."""

    ds: date
    days: int
    built: list[date] = field(default_factory=list)
    counts: dict[str, RowCounts] = field(default_factory=dict)
    """Rows of the days built, by landing table."""
    without: list[str] = field(default_factory=list)
    """What the landed files lack, in words."""
    unknown: list[str] = field(default_factory=list)
    """Columns that were passed over, in words."""

    def __str__(self) -> str:
        told = ", ".join(f"{counts.kept:,} {name}" for name, counts in self.counts.items() if counts.kept)
        aside = sum(sum(counts.set_aside.values()) for counts in self.counts.values())
        built = f"{len(self.built)} of {self.days} days built" + (f": {told}" if told else "")
        return built + (f"; {aside:,} rows set aside" if aside else "")

    def lines(self) -> list[str]:
        """Return the summary as lines for a terminal."""
        span = f" ({self.built[0]} to {self.built[-1]})" if self.built else ""
        lines = [f"ingest to {self.ds}: {len(self.built)} of {self.days} days built{span}, the others are current"]
        for name, counts in self.counts.items():
            if counts.landed:
                repeated = f", {counts.repeated:,} repeated rows" if counts.repeated else ""
                lines.append(f"{name}: kept {counts.kept:,} of {counts.landed:,} rows{repeated}")
            lines += [f"{name}: set aside {count:,} rows: {why}" for why, count in sorted(counts.set_aside.items())]
        return lines + [f"without {what}" for what in self.without] + [f"passed over {what}" for what in self.unknown]


def ingest(spark: SparkSession, lake: Lake, landing: str, ds: date, parameters: Parameters) -> IngestSummary:
    """Bring the staging tables up to `ds`, all days from the first landed one.

    Raises:
        UnmarkedDayError, UnreadableFileError, MissingColumnError, WrongTypeError: a folder or a file at fault.
        TooManyBadRowsError: a day of which too much was set aside; its quarantine stands, its staging does not.
        LakeWriteError: the lake could not be written.
    """
    source = Landing(landing)
    found = {name: {day.ds: day for day in source.days(name, ds)} for name in STAGED_AS}
    prints = _fingerprints(source, found)
    days = sorted({day for of_table in found.values() for day in of_table})
    stale = [day for day in days if not _is_current(lake, day, prints)]
    summary = IngestSummary(ds, len(days), stale)
    if not stale:
        return summary
    tables = {
        name: inspect(source, name, (file for day in stale if day in of_table for file in of_table[day].files))
        for name, of_table in found.items()
    }
    _tell_what_is_missing(summary, tables, found)
    cleaned = {name: _cleaned(spark, lake, source, table, stale, ds) for name, table in tables.items() if table.files}
    # Only now: Spark lets go of what it keeps of a view when the view's name is bound anew, as `landed` is by each.
    for frame in cleaned.values():
        frame.persist(StorageLevel.DISK_ONLY)
    try:
        _write(lake, landing, cleaned, tables, summary, prints, parameters.max_quarantine_share)
    finally:
        for frame in cleaned.values():
            frame.unpersist()
    return summary


def _fingerprints(source: Landing, found: Mapping[str, Mapping[date, LandedDay]]) -> dict[str, str]:
    every = [day for of_table in found.values() for day in of_table.values()]
    with ThreadPoolExecutor() as pool:
        return {
            _key(day.table, day.ds): told
            for day, told in zip(every, pool.map(source.fingerprint, every), strict=True)
        }


def _key(name: str, ds: date) -> str:
    return f"landing/{name}/ds={ds}"


def _is_current(lake: Lake, ds: date, prints: Mapping[str, str]) -> bool:
    """Tell whether a day's five tables are made of what lies in landing now, by this code."""
    events = lake.find_manifest(STAGED_AS["events"], ds)
    back = events.metrics.get("reaches_back_to") if events else None
    wanted = _inputs(ds, prints, date.fromisoformat(str(back)) if back else None)
    return not any(lake.is_stale(table, ds, wanted[table], {}) for table in (*STAGED_AS.values(), QUARANTINE))


def _inputs(ds: date, prints: Mapping[str, str], reaches_back_to: date | None) -> dict[str, dict[str, str]]:
    """Return each table's inputs on a day: its folder; for late events also the folders they may repeat."""
    inputs = {
        staged: {key: prints[key] for key in [_key(name, ds)] if key in prints} for name, staged in STAGED_AS.items()
    }
    if reaches_back_to:
        before = {key for key in prints if _key("events", reaches_back_to) <= key < _key("events", ds)}
        inputs[STAGED_AS["events"]] |= {key: prints[key] for key in sorted(before)}
    return inputs | {QUARANTINE: {key: told for of_table in inputs.values() for key, told in of_table.items()}}


def _cleaned(
    spark: SparkSession, lake: Lake, source: Landing, table: LandedFiles, stale: Sequence[date], ds: date
) -> DataFrame:
    """Return every landed row of the days to build as its staging query leaves it."""
    landed = landed_rows(spark, source, table)
    views = {"landed": landed}
    if table.name == "events":
        with _failures_told(table):
            views["earlier"] = _earlier(spark, lake, landed, table, stale)
    return query(spark, STAGED_AS[table.name], views, {"ds": ds})


def _earlier(
    spark: SparkSession, lake: Lake, landed: DataFrame, events: LandedFiles, stale: Sequence[date]
) -> DataFrame:
    """Return the event ids that stand already, of days that are not built now and that late events may repeat."""
    staged = STAGED_AS["events"]
    has_ids = any(name == "event_id" for layout in events.layouts for name, _ in layout.columns)
    days = [day for day in lake.days(staged) if has_ids and day not in set(stale) and day < stale[-1]]
    first = landed.agg(F.min(F.to_date("ts"))).collect()[0][0] if days else None
    days = [day for day in days if first and day >= first]
    if not days:
        return spark.range(0).selectExpr("'' AS event_id", "DATE'1970-01-01' AS event_date", "DATE'1970-01-01' AS ds")
    known = lake.read_days(spark, staged, days).select("event_id", "event_date", "ds")
    return known.where(F.col("event_id").isNotNull() & (F.col("event_date") >= F.lit(first)))


@contextmanager
def _failures_told(table: LandedFiles) -> Iterator[None]:
    """Turn a Spark job's failure over landed files into an error that names the file, or the full disk."""
    try:
        yield
    except Exception as error:
        if "No space left on device" in str(error):
            raise LakeWriteError(
                "Spark's working folder (SPARK_LOCAL_DIRS, else the temporary folder) is on a full disk; "
                "free space, then run the same command again"
            ) from error
        raise unreadable_in(error, table) from error


def _write(
    lake: Lake,
    landing: str,
    cleaned: Mapping[str, DataFrame],
    tables: Mapping[str, LandedFiles],
    summary: IngestSummary,
    prints: Mapping[str, str],
    max_share: float,
) -> None:
    """Count, write quarantine, refuse a day that is too bad, then write the four tables."""
    counts: dict[str, dict[date, RowCounts]] = {name: {} for name in tables}
    for name, frame in cleaned.items():
        with _failures_told(tables[name]):
            counts[name] = count_rows(frame)
    summary.counts = {name: total(of_table.values()) for name, of_table in counts.items()}
    events = counts["events"]
    inputs = {ds: _inputs(ds, prints, events[ds].reaches_back_to if ds in events else None) for ds in summary.built}
    of_quarantine = {ds: inputs[ds][QUARANTINE] for ds in summary.built}
    with_faults = {name: frame for name, frame in cleaned.items() if summary.counts[name].set_aside}
    set_aside = quarantine(with_faults) if with_faults else None
    lake.write_days(set_aside, QUARANTINE, summary.built, inputs=of_quarantine)
    for name, frame in cleaned.items():
        refuse_too_many(frame, name, counts[name], max_share=max_share, landing=landing)
    for name, staged in STAGED_AS.items():
        columns = [column.name for column in contract(staged).columns]
        lake.write_days(
            cleaned[name].where("reason IS NULL").select(*columns) if name in cleaned else None,
            staged,
            summary.built,
            inputs={ds: inputs[ds][staged] for ds in summary.built},
            metrics={ds: counts[name].get(ds, RowCounts()).to_metrics() for ds in summary.built},
        )


def _tell_what_is_missing(
    summary: IngestSummary, tables: Mapping[str, LandedFiles], found: Mapping[str, Mapping[date, LandedDay]]
) -> None:
    for name, table in tables.items():
        if not found[name]:
            summary.without.append(f"{name}: no folder has landed")
        for n, told in ((table.absent, summary.without), (table.unknown, summary.unknown)):
            everywhere = sorted(column for column, files in n.items() if files == table.files)
            if everywhere:
                told.append(f"{name}: {', '.join(everywhere)}")
            told += [
                f"{name}: {column} in {files} of {table.files} files"
                for column, files in sorted(n.items())
                if files < table.files
            ]
