"""Check tables against their contracts, with Great Expectations.

    topshelf stage validate --ds 2026-01-31 --lake data/lake

The results go to `marts/validation/ds=<day>/<run>.json`, and to a page beside it for any browser. A failed `fail`
check stops the run; a failed `warn` check is reported. Only the columns that a table's checks name are read.
Great Expectations judges the values that decide them (`jobs.checks.witnesses`); where one fails, the rows that break
it are looked for.
"""

from collections.abc import Sequence
from datetime import date

import msgspec

from jobs.checks.expectations import Judgement, judge
from jobs.checks.kinds import columns_of, kind_of, single_checks
from jobs.checks.report import BY_HAND, CheckResult, ValidationReport, page, page_path, report_path
from jobs.checks.witnesses import witnesses
from jobs.lake.contracts import Check, Contract, contract
from jobs.lake.lake import Lake
from jobs.lake.tables import BUILT_BY, remedy
from jobs.spark.engine import Engine, Rows, engine_for

EXAMPLE_ROWS = 3


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
    with engine_for(lake.manifest(name, ds).row_count or 0) as engine:
        return check_rows(contract(name), engine, engine.stored(lake, name, [ds]))


def check_rows(table: Contract, engine: Engine, rows: Rows) -> list[CheckResult]:
    """Return the result of each check of a contract over `rows`."""
    checks = single_checks(table.checks)
    judged: dict[int, Judgement] = {}
    for found in witnesses(engine, rows, checks):
        of_frame = judge(found.frame, table.table, found.checks)
        judged |= {id(check): judgement for check, judgement in zip(found.checks, of_frame, strict=True)}
    return [_result(table, check, judged[id(check)], engine, rows) for check in checks]


def _result(table: Contract, check: Check, judgement: Judgement, engine: Engine, rows: Rows) -> CheckResult:
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
    bad_rows = kind_of(check).bad_rows
    if bad_rows is None:
        count = engine.arrow(engine.select("SELECT COUNT(*) AS n FROM given", {"given": rows}))["n"][0].as_py()
        return msgspec.structs.replace(result, detail=f"it has {count:,} rows")
    known = engine.columns(rows)
    columns = [f"`{name}`" for name in dict.fromkeys((*table.grain, *columns_of(check))) if name in known]
    bad = engine.select(bad_rows(check), {"given": rows})
    listed = ", ".join(columns)
    few = f"SELECT {listed} FROM bad ORDER BY {listed} LIMIT {EXAMPLE_ROWS}"
    shown = engine.arrow(engine.select(few, {"bad": bad})).to_pylist()
    count = engine.arrow(engine.select("SELECT COUNT(*) AS n FROM bad", {"bad": bad}))["n"][0].as_py()
    examples = [", ".join(f"{name}={value}" for name, value in row.items()) for row in shown]
    return msgspec.structs.replace(result, bad_rows=count, examples=examples)
