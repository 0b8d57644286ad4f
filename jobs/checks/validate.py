"""Hold tables against the checks of their contracts, with Great Expectations.

    topshelf stage validate --ds 2026-01-31 --lake data/lake

What was found stands in `marts/validation/ds=<day>/<run>.json`, and as a page beside it that any browser opens. A
failed `fail` check stops the run, a failed `warn` check is told. Of a table only the columns that its checks name are
read, once. Great Expectations judges them in this process up to IN_PROCESS_ROWS rows, and on Spark above: the same
expectations. Spark also finds the rows of a failed check.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.checks.expectations import LARGEST, columns_of, judge, single_checks
from jobs.checks.report import BY_HAND, CheckResult, ValidationReport, page
from jobs.lake.contracts import Check, arrow_type, contract
from jobs.lake.lake import Lake
from jobs.spark.session import session

EXAMPLES = 3
IN_PROCESS_ROWS = 2_000_000
REMEDIES = {
    "staging": "look at the landed rows, correct them, land the day again",
    "features": "the staging tables passed, so look at the table's query in sql/features",
    "marts": "look at the job that builds it; the published snapshot stays live",
}


class ValidationFailedError(ValueError):
    """A table breaks a `fail` check of its contract."""


def validate(lake: Lake, names: Sequence[str], ds: date, run: str = BY_HAND) -> ValidationReport:
    """Check one day of each table, write what was found under the run's name, and stop if a `fail` check failed.

    Raises:
        ValidationFailedError: after all tables were looked at: each failed check, its rows, the remedy.
        MissingPartitionError: a table has no such day.
    """
    report = ValidationReport(ds, run)
    for name in names:
        report.row_counts[name] = lake.manifest(name, ds).row_count or 0
        report.results += check_day(lake, name, ds)
    lake.put_json(report_path(ds, run), asdict(report) | {"ds": str(ds)})
    lake.put_text(page_path(ds, run), page(report))
    if report.failures:
        layers = sorted({result.table.split("/")[0] for result in report.failures})
        remedy = "; ".join(f"{layer}: {REMEDIES.get(layer, REMEDIES['marts'])}" for layer in layers)
        told = "\n".join(str(result) for result in report.failures)
        where = f"sql/<table>.yml holds the checks, {page_path(ds, run)} in the lake shows them all"
        raise ValidationFailedError(f"ds={ds}: {told}\n{remedy} ({where})")
    return report


def report_path(ds: date, run: str) -> str:
    """Return where in the lake a run's results stand."""
    return f"marts/validation/ds={ds}/{run}.json"


def page_path(ds: date, run: str) -> str:
    """Return where in the lake the page of a run's results stands."""
    return f"marts/validation/ds={ds}/{run}.html"


def check_day(lake: Lake, name: str, ds: date) -> list[CheckResult]:
    """Return the result of each check in the contract of `name`, over one day."""
    if (lake.manifest(name, ds).row_count or 0) > IN_PROCESS_ROWS:
        frame = lake.read(session(), name, ds)
        return check_table(name, frame, lambda: frame)
    return check_table(name, _checked_columns(lake, name, ds), lambda: lake.read(session(), name, ds))


def check_table(name: str, rows: DataFrame | pd.DataFrame, on_spark: Callable[[], DataFrame]) -> list[CheckResult]:
    """Return the result of each check in the contract of `name`, over `rows`.

    `on_spark` gives the same rows on Spark; it is asked for only to find those that a failed check is about.
    """
    checks = single_checks(contract(name).checks)
    held = judge(rows, name, checks) if checks else []
    return [_result(name, check, *one, on_spark) for check, one in zip(checks, held, strict=True)]


def _checked_columns(lake: Lake, name: str, ds: date) -> pd.DataFrame:
    """Return a day's rows with the columns that checks look at, and the grain, as pandas over Arrow's types."""
    want = contract(name)
    asked = {*want.grain, *(column for check in want.checks for column in columns_of(check))}
    columns = [column for column in want.stored_columns if column.name in asked]
    if lake.manifest(name, ds).files:
        rows = lake.arrow(name, ds, [column.name for column in columns])
    else:
        rows = pa.schema([(column.name, arrow_type(column.type)) for column in columns]).empty_table()
    return rows.to_pandas(types_mapper=pd.ArrowDtype)


def _result(name: str, check: Check, passed: bool, told: str, on_spark: Callable[[], DataFrame]) -> CheckResult:
    arguments = ", ".join(f"{key} {value}" for key, value in check.arguments.items())
    text = f"{check.kind} ({arguments})" if arguments else check.kind
    if passed or told:
        return CheckResult(name, text, check.severity, passed, told=told)
    frame = on_spark()
    if check.kind == "row_count":
        return CheckResult(name, text, check.severity, passed, told=f"it has {frame.count():,} rows")
    bad = bad_rows(frame, check)
    columns = [column for column in (*contract(name).grain, *columns_of(check)) if column in frame.columns]
    shown = bad.select(*dict.fromkeys(columns)).orderBy(*columns).limit(EXAMPLES).collect()
    examples = [", ".join(f"{key}={value}" for key, value in row.asDict().items()) for row in shown]
    return CheckResult(name, text, check.severity, passed, bad.count(), examples=examples)


def bad_rows(frame: DataFrame, check: Check) -> DataFrame:
    """Return the rows of `frame` on which a failed check fails."""
    given = check.arguments
    if check.kind == "unique":
        grain = [name for name in columns_of(check) if name in frame.columns]
        repeated = frame.groupBy(*grain).count().where("count > 1").drop("count")
        return frame.join(repeated, grain, "left_semi")
    column = F.col(f"`{given['column']}`")
    low, high = given.get("min"), given.get("max")
    measured = F.length(column) if check.kind == "length" else column
    if check.kind in ("not_null", "not_all_null"):
        return frame.where(column.isNull())
    if check.kind == "in_set":
        return frame.where(~column.isin(list(given["values"])))
    if check.kind == "matches":
        return frame.where(~column.rlike(given["pattern"]))
    if check.kind == "finite":
        low, high = -LARGEST, LARGEST
    too_low = F.lit(False) if low is None else measured < F.lit(low)
    too_high = F.lit(False) if high is None else measured > F.lit(high)
    return frame.where(too_low | too_high)
