"""Hold tables against the checks of their contracts, with Great Expectations on Spark.

    python -m jobs.validate --ds 2026-01-31 --lake data/lake --tables staging/items marts/top_n

What was found stands in `marts/validation/ds=<day>/<layer>.<table>.json`. A failed `fail` check stops the run, a
failed `warn` check is told. Great Expectations bundles all counts of a table into one aggregation; only uniqueness
takes another pass, and only a failed check has its rows looked for.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.contracts import Check, contract, tables
from jobs.lake import Lake
from jobs.settings import Settings
from jobs.spark import session

EXAMPLES = 3
LARGEST = 1.7976931348623157e308
REMEDIES = {
    "staging": "look at the landed rows, correct them, land the day again",
    "features": "the staging tables passed, so look at the table's query in sql/features",
    "marts": "look at the job that builds it; the published snapshot stays live",
}


class UnknownCheckError(ValueError):
    """A contract asks for a kind of check that does not exist."""


class ValidationFailedError(ValueError):
    """A table breaks a `fail` check of its contract."""


@dataclass(frozen=True)
class CheckResult:
    """One check of one table, and what it found; `bad_rows` is None where the check is not about rows."""

    table: str
    check: str
    severity: str
    passed: bool
    bad_rows: int | None = None
    told: str = ""
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = "" if self.bad_rows is None else f": {self.bad_rows:,} rows"
        examples = "".join(f"\n  {row}" for row in self.examples)
        return f"{self.table} breaks {self.check}{rows}{' (' + self.told + ')' if self.told else ''}{examples}"


@dataclass
class ValidationReport:
    """The results of all checks of a run."""

    ds: date
    results: list[CheckResult] = field(default_factory=list)

    @property
    def failures(self) -> list[CheckResult]:
        """Failed checks that stop the run."""
        return [result for result in self.results if not result.passed and result.severity == "fail"]

    @property
    def warnings(self) -> list[CheckResult]:
        """Failed checks that are only told."""
        return [result for result in self.results if not result.passed and result.severity == "warn"]

    def __str__(self) -> str:
        count = len({result.table for result in self.results})
        warned = "".join(f"\nwarning: {result}" for result in self.warnings)
        return f"{len(self.results)} checks of {count} tables, {len(self.failures)} failed{warned}"


def validate(spark: SparkSession, lake: Lake, names: Sequence[str], ds: date) -> ValidationReport:
    """Check one day of each table, write what was found, and stop if a `fail` check failed.

    Raises:
        ValidationFailedError: after all tables were looked at: each failed check, its rows, the remedy.
        MissingPartitionError: a table has no such day.
    """
    report = ValidationReport(ds)
    for name in names:
        found = check_table(lake.read(spark, name, ds), name)
        report.results += found
        outcome = {"ds": str(ds), "table": name, "checks": [asdict(result) for result in found]}
        lake.put_json(f"marts/validation/ds={ds}/{name.replace('/', '.')}.json", outcome)
    if report.failures:
        layers = sorted({result.table.split("/")[0] for result in report.failures})
        remedy = "; ".join(f"{layer}: {REMEDIES.get(layer, REMEDIES['marts'])}" for layer in layers)
        told = "\n".join(str(result) for result in report.failures)
        raise ValidationFailedError(f"ds={ds}: {told}\n{remedy} (sql/<table>.yml holds the checks)")
    return report


def check_table(frame: DataFrame, name: str) -> list[CheckResult]:
    """Return the result of each check in the contract of `name`, over the rows of `frame`."""
    checks = [single for check in contract(name).checks for single in single_checks(check)]
    if not checks:
        return []
    outcomes = _expect(frame, name, [expectation(check) for check in checks])
    return [_result(frame, name, check, *outcome) for check, outcome in zip(checks, outcomes, strict=True)]


def single_checks(check: Check) -> list[Check]:
    """Split a check over several columns, each on its own, into one check a column."""
    if check.kind in ("not_null", "finite"):
        return [Check(check.kind, {"column": name}, check.severity) for name in _columns(check)]
    return [check]


def _columns(check: Check) -> list[str]:
    named = check.arguments.get("columns") or check.arguments.get("column") or []
    return [named] if isinstance(named, str) else list(named)


def expectation(check: Check) -> Any:
    """Return the Great Expectations form of a check.

    Raises:
        UnknownCheckError: there is no such kind.
    """
    ge = _great_expectations().expectations
    given = check.arguments
    column, low, high = given.get("column"), given.get("min"), given.get("max")
    # A batch is one day, so `ds` tells no rows apart.
    grain = [name for name in _columns(check) if name != "ds"]
    kinds: dict[str, Any] = {
        "not_null": lambda: ge.ExpectColumnValuesToNotBeNull(column=column),
        "not_all_null": lambda: ge.ExpectColumnValuesToNotBeNull(column=column, mostly=1e-12),
        "in_set": lambda: ge.ExpectColumnValuesToBeInSet(column=column, value_set=given["values"]),
        "between": lambda: ge.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high),
        "finite": lambda: ge.ExpectColumnValuesToBeBetween(column=column, min_value=-LARGEST, max_value=LARGEST),
        "matches": lambda: ge.ExpectColumnValuesToMatchRegex(column=column, regex=given["pattern"]),
        "length": lambda: ge.ExpectColumnValueLengthsToBeBetween(column=column, min_value=low, max_value=high),
        "row_count": lambda: ge.ExpectTableRowCountToBeBetween(min_value=low, max_value=high),
        "unique": lambda: (
            ge.ExpectCompoundColumnsToBeUnique(column_list=grain)
            if len(grain) > 1
            else ge.ExpectColumnValuesToBeUnique(column=grain[0])
        ),
    }
    if check.kind not in kinds:
        raise UnknownCheckError(f"there is no check {check.kind}; there are {', '.join(sorted(kinds))}")
    return kinds[check.kind]()


def _great_expectations() -> Any:
    """Return the library, told before it loads that it is not to report home."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations

    return great_expectations


def _expect(frame: DataFrame, name: str, expectations: Sequence[Any]) -> list[tuple[bool, str]]:
    """Return for each expectation whether it holds, and what it observed or raised."""
    gx = _great_expectations()
    from great_expectations.data_context.types import base

    context = gx.get_context(
        mode="ephemeral",
        project_config=base.DataContextConfig(
            # What was found goes into the lake, so no site of results is set up.
            store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=base.ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        ),
    )
    asset = context.data_sources.add_spark("lake", persist=False).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("day").get_batch(batch_parameters={"dataframe": frame})
    # Results come back in another order than the suite's, so each is found by a number of its own.
    for number, one in enumerate(expectations):
        one.meta = {"number": number}
    suite = gx.ExpectationSuite(name=name, expectations=list(expectations))
    outcomes: dict[int, tuple[bool, str]] = {}
    for result in batch.validate(suite, result_format={"result_format": "BOOLEAN_ONLY"}).results:
        raised = result.exception_info or {}
        message = raised.get("exception_message") or next(
            (one["exception_message"] for one in raised.values() if isinstance(one, dict)), ""
        )
        outcomes[result.expectation_config.meta["number"]] = (bool(result.success), message or "")
    return [outcomes[number] for number in range(len(expectations))]


def _result(frame: DataFrame, name: str, check: Check, passed: bool, told: str) -> CheckResult:
    arguments = ", ".join(f"{key} {value}" for key, value in check.arguments.items())
    text = f"{check.kind} ({arguments})" if arguments else check.kind
    if passed or told:
        return CheckResult(name, text, check.severity, passed, told=told)
    if check.kind == "row_count":
        return CheckResult(name, text, check.severity, passed, told=f"it has {frame.count():,} rows")
    bad = bad_rows(frame, check)
    columns = [column for column in (*contract(name).grain, *_columns(check)) if column in frame.columns]
    shown = bad.select(*dict.fromkeys(columns)).orderBy(*columns).limit(EXAMPLES).collect()
    examples = [", ".join(f"{key}={value}" for key, value in row.asDict().items()) for row in shown]
    return CheckResult(name, text, check.severity, passed, bad.count(), examples=examples)


def bad_rows(frame: DataFrame, check: Check) -> DataFrame:
    """Return the rows of `frame` on which a failed check fails."""
    given = check.arguments
    if check.kind == "unique":
        grain = [name for name in _columns(check) if name in frame.columns]
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


def main(argv: Sequence[str] | None = None) -> None:
    """Validate from the command line; without --tables, all tables that have the day."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ds", required=True, type=date.fromisoformat, metavar="DAY")
    parser.add_argument("--lake", help="TOPSHELF_LAKE, or data/lake")
    parser.add_argument("--tables", nargs="+", metavar="TABLE", help="such as staging/items")
    given = parser.parse_args(argv)
    lake = Lake(Settings.from_environment(lake=given.lake).lake)
    built = [name for name in tables() if lake.find_manifest(name, given.ds)]
    report = validate(session("topshelf-validate"), lake, given.tables or built, given.ds)
    for name in sorted({*tables()} - {*built}):
        print(f"{name} has no ds={given.ds}; not checked")
    print(report)


if __name__ == "__main__":
    main()
