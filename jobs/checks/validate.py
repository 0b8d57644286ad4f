"""Check tables against their contracts, with Great Expectations.

    topshelf stage validate --ds 2026-01-31 --lake data/lake

The results go to `marts/validation/ds=<day>/<run>.json`, and to a page beside it for any browser. A failed `fail`
check stops the run; a failed `warn` check is reported. Only the columns that a table's checks name are read, once.
Great Expectations judges up to IN_PROCESS_ROWS rows in this process and larger tables on Spark, by the same
expectations. Spark also finds the rows that break a check.
"""

from collections.abc import Callable, Sequence
from datetime import date

import msgspec
import pandas as pd
from pyspark.sql import DataFrame

from jobs.checks.expectations import Judgement, judge
from jobs.checks.kinds import columns_of, kind_of, single_checks
from jobs.checks.report import BY_HAND, CheckResult, ValidationReport, page, page_path, report_path
from jobs.lake.contracts import Check, Contract, contract
from jobs.lake.lake import Lake
from jobs.lake.tables import BUILT_BY, remedy
from jobs.spark.session import session

EXAMPLE_ROWS = 3
IN_PROCESS_ROWS = 2_000_000


class ValidationFailedError(ValueError):
    """A table breaks a `fail` check of its contract."""


def validate(lake: Lake, names: Sequence[str], ds: date, run: str = BY_HAND) -> ValidationReport:
    """Check one day of each table, and write the results under the run's name.

    Raises:
        ValidationFailedError: a `fail` check failed. All tables were checked and the results written. The message has
            each failed check, its rows, and the remedy for each table.
        MissingPartitionError: a table has no such day.
    """
    report = ValidationReport(ds, run)
    for name in names:
        report.row_counts[name] = lake.manifest(name, ds).row_count or 0
        report.results += check_day(lake, name, ds)
    lake.put_json(report_path(ds, run), msgspec.to_builtins(report))
    lake.put_text(page_path(ds, run), page(report))
    if report.failures:
        failures = "\n".join(str(result) for result in report.failures)
        remedies = "\n".join(table_remedy(name, ds) for name in sorted({result.table for result in report.failures}))
        raise ValidationFailedError(
            f"ds={ds}: {failures}\n{remedies}\n"
            f"(sql/<table>.yml holds the checks, {page_path(ds, run)} in the lake shows all results)"
        )
    return report


def table_remedy(name: str, ds: date) -> str:
    """Return what to do when a day of a table breaks its contract, with the command that builds it again."""
    layer = name.split("/", maxsplit=1)[0]
    if layer == "staging":
        first = "look at the landed rows, correct them and land the day again"
    elif layer == "features":
        first = f"look at its query sql/{name}.sql"
    else:
        return (
            f"{name}: {BUILT_BY[name].module} made rows that it must not make; what is live stays. Report it with "
            f"the page below if it comes again when you {remedy(name, ds)}"
        )
    return f"{name}: {first}, then {remedy(name, ds)}"


def check_day(lake: Lake, name: str, ds: date) -> list[CheckResult]:
    """Return the result of each check in the contract of `name`, over one day."""
    if (lake.manifest(name, ds).row_count or 0) > IN_PROCESS_ROWS:
        frame = lake.read(session(), name, ds)
        return check_table(contract(name), frame, lambda: frame)
    return check_table(contract(name), _checked_columns(lake, name, ds), lambda: lake.read(session(), name, ds))


def check_table(
    table: Contract, rows: DataFrame | pd.DataFrame, on_spark: Callable[[], DataFrame]
) -> list[CheckResult]:
    """Return the result of each check of a contract over `rows`.

    `on_spark` returns the same rows on Spark. It is called only to find the rows that break a failed check.
    """
    checks = single_checks(table.checks)
    judgements = judge(rows, table.table, checks) if checks else []
    return [_result(table, check, judgement, on_spark) for check, judgement in zip(checks, judgements, strict=True)]


def _checked_columns(lake: Lake, name: str, ds: date) -> pd.DataFrame:
    """Return a day's rows as pandas over Arrow's types, with the grain and the columns that checks look at."""
    table = contract(name)
    needed = {*table.grain, *(column for check in table.checks for column in columns_of(check))}
    columns = [column for column in table.stored_columns if column.name in needed]
    return lake.arrow(name, ds, [column.name for column in columns]).to_pandas(types_mapper=pd.ArrowDtype)


def _result(table: Contract, check: Check, judgement: Judgement, on_spark: Callable[[], DataFrame]) -> CheckResult:
    arguments = ", ".join(f"{key} {value}" for key, value in check.arguments.items())
    result = CheckResult(
        table.table,
        f"{check.kind} ({arguments})" if arguments else check.kind,
        check.severity,
        judgement.passed,
        detail=judgement.error,
    )
    if result.passed or result.detail:
        return result
    frame, bad_rows = on_spark(), kind_of(check).bad_rows
    if bad_rows is None:
        return msgspec.structs.replace(result, detail=f"it has {frame.count():,} rows")
    bad = bad_rows(frame, check)
    columns = [name for name in dict.fromkeys((*table.grain, *columns_of(check))) if name in frame.columns]
    rows = bad.select(*columns).orderBy(*columns).limit(EXAMPLE_ROWS).collect()
    examples = [", ".join(f"{name}={value}" for name, value in row.asDict().items()) for row in rows]
    return msgspec.structs.replace(result, bad_rows=bad.count(), examples=examples)
