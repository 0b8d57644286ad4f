"""Build `staging/quarantine`: every landed row that was set aside, with its reason; stop when there are too many.

>>> refuse_too_many(engine, cleaned, "events", counts, max_share=0.05, landing="data/landing")
"""

from collections.abc import Mapping
from datetime import date

from jobs.landing.file_rows import unread_cells
from jobs.landing.row_counts import EXACT_DUPLICATE, RowCounts, by_day, refusal
from jobs.spark.engine import Engine, Rows

EXAMPLE_ROWS = 3
EXAMPLE_CHARACTERS = 300
IS_SET_ASIDE = f"reason IS NOT NULL AND reason <> '{EXACT_DUPLICATE}'"


class TooManyBadRowsError(ValueError):
    """So many rows of a day were set aside that the night would learn from a wrong picture of the day."""


def count_rows(engine: Engine, cleaned: Rows) -> dict[date, RowCounts]:
    """Return what became of a cleaned table's rows, by landing day; days without rows are not there."""
    names = engine.columns(cleaned)
    late = (
        "MIN(IF(event_id IS NOT NULL AND event_date < ds, event_date, NULL))"
        if "event_id" in names
        else "CAST(NULL AS DATE)"
    )
    embedding = "COUNT(embedding)" if "embedding" in names else "0"
    files: dict[tuple[date, str], RowCounts] = {}
    grouped = engine.select(
        f"""
        SELECT
          t.ds, t.path, t.reason, t.unread.columns AS unread, COUNT(*) AS row_count,
          {embedding} AS with_embedding, {late} AS late, MIN(t.unread.example) AS example
        FROM cleaned AS t
        GROUP BY t.ds, t.path, t.reason, t.unread.columns
        """,
        {"cleaned": cleaned},
    )
    for row in engine.arrow(grouped).to_pylist():
        of_file, count = files.setdefault((row["ds"], row["path"]), RowCounts()), row["row_count"]
        of_file.take(row["reason"], count)
        if row["reason"] is None:
            of_file.with_embedding += row["with_embedding"]
        if row["reason"] is None and row["unread"] is not None:
            for column, example in unread_cells(row["unread"], row["example"]):
                of_file.take_unread(column, count, example)
        of_file.reaches_back_to = min(filter(None, (row["late"], of_file.reaches_back_to)), default=None)
    return by_day(files)


def quarantine(engine: Engine, cleaned: Mapping[str, Rows]) -> Rows:
    """Return the rows set aside from cleaned tables, by landing table, as `staging/quarantine` with `ds`."""
    of_tables = (
        f"""
        SELECT
          ds, '{name}' AS table_name, reason, column_name, path, row_sha256 AS raw_sha256,
          ROW_NUMBER() OVER (PARTITION BY ds, path, row_sha256 ORDER BY reason, column_name) AS ordinal, raw
        FROM {name}
        WHERE {IS_SET_ASIDE}
        """
        for name in cleaned
    )
    return engine.select(" UNION ALL ".join(of_tables), cleaned)


def refuse_too_many(
    engine: Engine, cleaned: Rows, name: str, counts: Mapping[date, RowCounts], *, max_share: float, landing: str
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
                f"{why}; for example\n{_examples(engine, cleaned, ds)}\n"
                f"All of them stand in staging/quarantine/ds={ds}; topshelf landing check shows each file. "
                f"Land the day again without the fault, or {remedy}"
            )


def _examples(engine: Engine, cleaned: Rows, ds: date) -> str:
    rows = engine.select(
        f"""
        SELECT reason, column_name, path, raw FROM cleaned WHERE ds = DATE'{ds}' AND {IS_SET_ASIDE}
        ORDER BY path, row_sha256, reason LIMIT {EXAMPLE_ROWS}
        """,
        {"cleaned": cleaned},
    )
    return "\n".join(
        _example(row["reason"], row["column_name"], row["path"], row["raw"]) for row in engine.arrow(rows).to_pylist()
    )


def _example(reason: str, column: str | None, path: str, raw: str) -> str:
    where = f"{reason} in {column}" if column else reason
    return f"  {path}: {where}: {raw if len(raw) <= EXAMPLE_CHARACTERS else raw[:EXAMPLE_CHARACTERS] + '…'}"
