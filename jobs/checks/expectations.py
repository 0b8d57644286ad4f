"""A contract's checks as Great Expectations' expectations, held against a table by Great Expectations' own engines.

>>> [held.passed for held in judge(frame, "marts/top_n", single_checks(contract("marts/top_n").checks))]

Rows come as a Spark frame, or as pandas over Arrow's types, whose nulls are not NaN: both engines then judge alike.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd
from pyspark.sql import DataFrame

from jobs.lake.contracts import Check

LARGEST = 1.7976931348623157e308


class UnknownCheckError(ValueError):
    """A contract asks for a kind of check that does not exist."""


class Held(NamedTuple):
    """Whether a check holds, and what it raised where it could not be looked at."""

    passed: bool
    told: str = ""


def single_checks(checks: Iterable[Check]) -> list[Check]:
    """Split each check over several columns, each on its own, into one check a column."""
    return [
        single
        for check in checks
        for single in (
            [Check(check.kind, {"column": name}, check.severity) for name in columns_of(check)]
            if check.kind in ("not_null", "finite")
            else [check]
        )
    ]


def columns_of(check: Check) -> list[str]:
    """Return the columns that a check looks at."""
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
    grain = [name for name in columns_of(check) if name != "ds"]
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


def judge(frame: DataFrame | pd.DataFrame, name: str, checks: Sequence[Check]) -> list[Held]:
    """Return for each single check whether the rows of `frame`, a batch of the table `name`, hold it."""
    gx = _great_expectations()
    asset = _source("pandas" if isinstance(frame, pd.DataFrame) else "spark").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("day").get_batch(batch_parameters={"dataframe": frame})
    expectations = [expectation(check) for check in checks]
    # Results come back in another order than the suite's, so each is found by a number of its own.
    for number, one in enumerate(expectations):
        one.meta = {"number": number}
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    results = batch.validate(suite, result_format={"result_format": "BOOLEAN_ONLY"}).results
    held = {one.expectation_config.meta["number"]: Held(bool(one.success), _raised(one)) for one in results}
    return [held[number] for number in range(len(expectations))]


def _raised(result: Any) -> str:
    raised = result.exception_info or {}
    message = raised.get("exception_message") or next(
        (one["exception_message"] for one in raised.values() if isinstance(one, dict)), ""
    )
    return str(message or "")


def _source(engine: str) -> Any:
    """Return a data source of Great Expectations' pandas or Spark engine, in a context that keeps nothing."""
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
    sources = context.data_sources
    return sources.add_pandas("lake") if engine == "pandas" else sources.add_spark("lake", persist=False)


def _great_expectations() -> Any:
    """Return the library, told before it loads that it is not to report home."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations

    return great_expectations
