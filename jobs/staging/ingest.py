"""Build `staging/{interactions,items,users,exposures,quarantine}` from what the shop landed, up to one day.

    topshelf stage ingest --ds 2026-01-31 --landing data/landing --lake data/lake

A day is built again only when one of its files or the code has changed; all stale days are built together. A row that
cannot be used is put into quarantine with its reason, and counted. A file or a folder that cannot be read stops the
run with its name and the remedy.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.parameters import Parameters, StagingParameters
from jobs.lake.contracts import contract
from jobs.lake.lake import Lake
from jobs.lake.partitions import LakeWriteError, log_stale
from jobs.lake.tables import INTERACTIONS, ITEMS, QUARANTINE, STAGED_AS
from jobs.landing.file_plans import LandedFiles, inspect
from jobs.landing.folders import LandedDay, Landing
from jobs.landing.row_counts import FEWEST_MET, RowCounts, strangers, total
from jobs.landing.rows import about_rows, landed_rows, naming_file
from jobs.landing.volume import usual_events, volume_refusal, volume_remark
from jobs.spark.engine import Engine, Rows, engine_for
from jobs.spark.queries import QueryParameter
from jobs.staging.quarantine import count_rows, quarantine, refuse_too_many
from jobs.staging.remarks import remarks_as_metrics

LandedDays = Mapping[str, Mapping[date, LandedDay]]
"""The days of each landing table."""


EXAMPLE_IDS = 3
FIRST_EVENTS = 1_000
"""If a product of so many events is in the catalogue, as in every right landing, the others are not looked up."""


class StrangersError(ValueError):
    """Events and catalogue have no product in common: their ids are of two kinds."""


class TooFewEventsError(ValueError):
    """A day has a small part of what its weekday usually has: it was marked before all of it had landed."""


@dataclass
class IngestSummary:
    """What one run built, kept and set aside, and what the landed files lack."""

    ds: date
    days: int
    built: list[date] = field(default_factory=list)
    counts: dict[str, RowCounts] = field(default_factory=dict)
    """Rows of the days built, by landing table."""
    without: list[str] = field(default_factory=list)
    """In words: tables that never landed, optional columns that files lack, and torn ends of files."""
    unknown: list[str] = field(default_factory=list)
    """In words: columns of files that the contract does not name; they are ignored."""
    taken_for: list[str] = field(default_factory=list)
    """In words: columns that were matched by another name, and what was guessed of how files are written."""
    few: str = ""
    """In words: that the day has few events for its weekday; empty where it has not."""

    def __str__(self) -> str:
        kept = ", ".join(f"{counts.kept:,} {name}" for name, counts in self.counts.items() if counts.kept)
        set_aside = sum(counts.set_aside_count for counts in self.counts.values())
        built = f"{len(self.built)} of {self.days} days built" + (f": {kept}" if kept else "")
        return built + (f"; {set_aside:,} rows set aside" if set_aside else "")

    def lines(self) -> list[str]:
        """Return the summary as lines for a terminal."""
        span = f" ({self.built[0]} to {self.built[-1]})" if self.built else ""
        built = f"ingest to {self.ds}: {len(self.built)} of {self.days} days built{span}, the others are current"
        return [built, *self.remarks()]

    def remarks(self) -> list[str]:
        """Return a line for each thing to know about what was read."""
        lines = []
        for name, counts in self.counts.items():
            if counts.landed:
                repeated = f", {counts.repeated:,} repeated rows" if counts.repeated else ""
                lines.append(f"{name}: kept {counts.kept:,} of {counts.landed:,} rows{repeated}")
            lines += [f"{name}: set aside {count:,} rows: {why}" for why, count in sorted(counts.set_aside.items())]
            lines += [f"{name}: {told}" for told in counts.unread_in_words()]
        if self.few:
            lines.append(f"few events: ds={self.ds} has {self.few}")
        lines += [f"took {what}" for what in self.taken_for]
        return lines + [f"without {what}" for what in self.without] + [f"passed over {what}" for what in self.unknown]


def ingest(lake: Lake, landing: str, ds: date, parameters: Parameters) -> IngestSummary:
    """Build the stale days of the staging tables, from the first landed day up to `ds`.

    Raises:
        UnmarkedDayError, UnreadableFileError, MissingColumnError, WrongTypeError: a folder or a file at fault.
        TooManyBadRowsError: too many rows of a day were set aside. Quarantine is written, the other tables are not.
        StrangersError: no event is about a product of the catalogue. Only quarantine is written.
        TooFewEventsError: the day `ds` has far fewer events than its weekday usually has. Only quarantine is written.
        LakeWriteError: the lake could not be written.
    """
    source = Landing(landing)
    landed = {name: {day.ds: day for day in source.days(name, ds)} for name in STAGED_AS}
    fingerprints = _fingerprints(source, landed)
    days = sorted({day for days_of_table in landed.values() for day in days_of_table})
    reasons = {day: _why_stale(lake, day, fingerprints) for day in days}
    log_stale("staging", reasons)
    stale = [day for day, why in reasons.items() if why]
    summary = IngestSummary(ds, len(days), stale)
    if not stale:
        return summary
    files = {
        name: inspect(source, name, (file for day in stale if day in by_day for file in by_day[day].files))
        for name, by_day in landed.items()
    }
    _note_columns(summary, files, landed)
    with engine_for(about_rows(source, files.values())) as engine, _errors_naming_files():
        cleaned = {
            name: _cleaned(engine, lake, source, landed_files, stale, ds)
            for name, landed_files in files.items()
            if landed_files.plans
        }
        # Only now: when a view's name is bound again, as `landed` is for each table, Spark drops what it kept of it.
        cleaned = {name: engine.keep_on_disk(rows) for name, rows in cleaned.items()}
        _write(engine, lake, landing, cleaned, files, summary, fingerprints, parameters.staging)
    return summary


def _fingerprints(source: Landing, landed: LandedDays) -> dict[str, str]:
    days = [day for by_day in landed.values() for day in by_day.values()]
    with ThreadPoolExecutor() as pool:
        fingerprints = pool.map(source.fingerprint, days)
        return {
            _input_name(day.table, day.ds): fingerprint for day, fingerprint in zip(days, fingerprints, strict=True)
        }


def _input_name(table: str, ds: date) -> str:
    return f"landing/{table}/ds={ds}"


def _why_stale(lake: Lake, ds: date, fingerprints: Mapping[str, str]) -> list[str]:
    """Return why the first stale one of a day's five tables is not made of what landing holds now, by this code."""
    interactions = lake.find_manifest(INTERACTIONS, ds)
    reaches_back_to = interactions.metrics_as(RowCounts).reaches_back_to if interactions else None
    inputs = _inputs(ds, fingerprints, reaches_back_to)
    reasons = (lake.why_stale(table, ds, inputs[table], {}) for table in (*STAGED_AS.values(), QUARANTINE))
    return next((why for why in reasons if why), [])


def _inputs(ds: date, fingerprints: Mapping[str, str], reaches_back_to: date | None) -> dict[str, dict[str, str]]:
    """Return the inputs of each of a day's tables.

    A table's input is its landing folder. With late events, interactions also depend on the event folders from
    `reaches_back_to` on, as those may hold the same event ids.
    """
    inputs = {
        staged: {name: fingerprints[name] for name in [_input_name(table, ds)] if name in fingerprints}
        for table, staged in STAGED_AS.items()
    }
    if reaches_back_to:
        first, own = _input_name("events", reaches_back_to), _input_name("events", ds)
        inputs[INTERACTIONS] |= {name: fingerprints[name] for name in sorted(fingerprints) if first <= name < own}
    of_all_tables = {name: fingerprint for of_table in inputs.values() for name, fingerprint in of_table.items()}
    return inputs | {QUARANTINE: of_all_tables}


def _cleaned(
    engine: Engine, lake: Lake, source: Landing, landed_files: LandedFiles, stale: Sequence[date], ds: date
) -> Rows:
    """Return every landed row of the stale days as its staging query leaves it."""
    landed = landed_rows(engine, source, landed_files)
    views = {"landed": landed}
    if landed_files.name == "events":
        views["earlier"] = _earlier(engine, lake, landed, landed_files, stale)
    parameters: dict[str, QueryParameter] = {"ds": ds}
    if landed_files.name == "items":
        parameters["partial"] = any(plan.partial for plan in landed_files.plans)
    return engine.query(STAGED_AS[landed_files.name], views, parameters)


def _earlier(engine: Engine, lake: Lake, landed: Rows, events: LandedFiles, stale: Sequence[date]) -> Rows:
    """Return the event ids that late events may repeat: those of staged days that are not stale."""
    has_ids = events.has("event_id")
    days = [day for day in lake.days(INTERACTIONS) if has_ids and day not in set(stale) and day < stale[-1]]
    ((first,),) = _rows(engine, "SELECT MIN(CAST(ts AS DATE)) FROM landed", {"landed": landed}) if days else [(None,)]
    staged = engine.stored(lake, INTERACTIONS, [day for day in days if first and day >= first])
    of_late_days = f"event_date >= DATE'{first or stale[0]}'"
    text = f"SELECT event_id, event_date, ds FROM staged WHERE event_id IS NOT NULL AND {of_late_days}"
    return engine.select(text, {"staged": staged})


def _rows(engine: Engine, text: str, views: Mapping[str, Rows]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in engine.arrow(engine.select(text, views)).to_pylist()]


@contextmanager
def _errors_naming_files() -> Iterator[None]:
    """Turn a Spark job's failure over landed files into an error that names the file, or the full disk."""
    try:
        yield
    except Exception as error:
        if "No space left on device" in str(error):
            raise LakeWriteError(
                "Spark's working folder (SPARK_LOCAL_DIRS, else the temporary folder) is on a full disk; "
                "free space, then run the same command again"
            ) from error
        named = naming_file(error)
        if named is error:
            raise
        raise named from error


def _write(
    engine: Engine,
    lake: Lake,
    landing: str,
    cleaned: Mapping[str, Rows],
    files: Mapping[str, LandedFiles],
    summary: IngestSummary,
    fingerprints: Mapping[str, str],
    limits: StagingParameters,
) -> None:
    """Count rows, write quarantine, refuse days with too many bad rows or too few, then write the four tables."""
    counts: dict[str, dict[date, RowCounts]] = {name: {} for name in files}
    counts |= {name: count_rows(engine, rows) for name, rows in cleaned.items()}
    summary.counts = {name: total(by_day.values()) for name, by_day in counts.items()}
    usual, kept = _volume(lake, counts["events"], summary)
    summary.few = volume_remark(usual, kept) or ""
    inputs = {
        ds: _inputs(ds, fingerprints, counts["events"].get(ds, RowCounts()).reaches_back_to) for ds in summary.built
    }
    with_bad_rows = {name: rows for name, rows in cleaned.items() if summary.counts[name].set_aside}
    engine.write_days(
        lake,
        quarantine(engine, with_bad_rows) if with_bad_rows else None,
        QUARANTINE,
        summary.built,
        inputs={ds: inputs[ds][QUARANTINE] for ds in summary.built},
        metrics=dict.fromkeys(summary.built, remarks_as_metrics(summary.built, summary.remarks())),
    )
    if "events" in cleaned:
        _refuse_strangers(engine, lake, landing, cleaned, summary.built)
    for name, rows in cleaned.items():
        refuse_too_many(engine, rows, name, counts[name], max_share=limits.max_quarantine_share, landing=landing)
    if why := volume_refusal(landing, summary.ds, usual, kept, limits.min_volume_share):
        raise TooFewEventsError(why)
    for name, staged in STAGED_AS.items():
        columns = ", ".join(f"`{column.name}`" for column in contract(staged).columns)
        good = f"SELECT {columns} FROM {name} WHERE reason IS NULL"
        engine.write_days(
            lake,
            engine.select(good, {name: cleaned[name]}) if name in cleaned else None,
            staged,
            summary.built,
            inputs={ds: inputs[ds][staged] for ds in summary.built},
            metrics={ds: counts[name].get(ds, RowCounts()).to_metrics() for ds in summary.built},
        )


def _volume(lake: Lake, events: Mapping[date, RowCounts], summary: IngestSummary) -> tuple[int | None, int]:
    """Return how many events the day's weekday usually has, and how many the day has; both for no day not built."""
    built = set(summary.built)
    if summary.ds not in built:
        return None, 0

    def kept_on(day: date) -> int | None:
        if day in built:
            return events.get(day, RowCounts()).kept
        staged = lake.find_manifest(INTERACTIONS, day)
        return None if staged is None else staged.row_count

    return usual_events(summary.ds, kept_on), events.get(summary.ds, RowCounts()).kept


def _refuse_strangers(
    engine: Engine, lake: Lake, landing: str, cleaned: Mapping[str, Rows], built: Sequence[date]
) -> None:
    """Raise StrangersError if there is a catalogue and no event of the days built is about one of its products."""
    views = {"events": engine.select("SELECT item_id FROM events WHERE reason IS NULL", cleaned)}
    some = f"SELECT DISTINCT item_id FROM (SELECT item_id FROM events LIMIT {FIRST_EVENTS})"
    first = pa.array(sorted(item for (item,) in _rows(engine, some, views)), pa.string())
    others = lake.dataset(ITEMS, [day for day in lake.days(ITEMS) if day not in set(built)])
    # In a right landing one of the first is enough, and not all days need to be read.
    if len(others.head(1, columns=["item_id"], filter=pc.field("item_id").isin(first))):
        return
    catalogue = engine.table(others.to_table(columns=["item_id"]).group_by("item_id").aggregate([]))
    if "items" in cleaned:
        both = "SELECT item_id FROM before UNION SELECT item_id FROM items WHERE reason IS NULL"
        catalogue = engine.select(both, {"before": catalogue, "items": cleaned["items"]})
    views |= {"items": catalogue}
    met = "FROM (SELECT DISTINCT item_id FROM events) AS e LEFT JOIN items AS i ON i.item_id = e.item_id"
    ((known, count),) = _rows(engine, f"SELECT COUNT(i.item_id), COUNT(*) {met}", views)
    if known or count < FEWEST_MET:
        return
    sides = [
        [
            item
            for (item,) in _rows(engine, f"SELECT DISTINCT item_id FROM {side} ORDER BY 1 LIMIT {EXAMPLE_IDS}", views)
        ]
        for side in ("events", "items")
    ]
    if sides[1]:
        raise StrangersError(strangers(landing, *sides))


def _note_columns(summary: IngestSummary, files: Mapping[str, LandedFiles], landed: LandedDays) -> None:
    """Note in `summary` which tables never landed, which columns files lack, and which are ignored."""
    for name, landed_files in files.items():
        if not landed[name]:
            summary.without.append(f"{name}: no folder has landed")
        file_count = len(landed_files.plans)
        summary.without += _in_words(name, landed_files.absent, file_count)
        summary.unknown += _in_words(name, landed_files.unknown, file_count)
        summary.taken_for += _in_words(name, landed_files.renamed, file_count)
        summary.taken_for += _in_words(name, landed_files.guessed, file_count)
        summary.without += [f"{name}: the torn end of ds={file.ds}/{file.name}" for file in landed_files.torn]


def _in_words(table: str, files_by_column: Counter[str], file_count: int) -> list[str]:
    everywhere = sorted(column for column, count in files_by_column.items() if count == file_count)
    in_some = sorted((column, count) for column, count in files_by_column.items() if count < file_count)
    return [
        *([f"{table}: {', '.join(everywhere)}"] if everywhere else []),
        *(f"{table}: {column} in {count} of {file_count} files" for column, count in in_some),
    ]
