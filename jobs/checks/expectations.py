"""Judge rows by a contract's checks, with Great Expectations.

>>> checks = single_checks(contract("marts/top_n").checks)
>>> [judgement.passed for judgement in judge(frame, "marts/top_n", checks)]

Rows come as pandas over Arrow's types: Arrow's nulls are not NaN.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import pandas as pd

from jobs.checks.kinds import expectation_of
from jobs.lake.contracts import Check

GreatExpectations: TypeAlias = Any
"""The library ships no types, so its module and its objects have none here."""


class Judgement(NamedTuple):
    """Whether a check passed, and the error if it could not be judged."""

    passed: bool
    error: str = ""


def judge(rows: pd.DataFrame, name: str, checks: Sequence[Check]) -> list[Judgement]:
    """Return for each single check whether `rows`, one day of the table `name`, pass it.

    Raises:
        UnknownCheckError: there is no such kind of check.
    """
    gx = _great_expectations()
    asset = _data_source(gx).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("day").get_batch(batch_parameters={"dataframe": rows})
    expectations = []
    # Results come back in another order than the suite's, so each expectation carries its place.
    for place, check in enumerate(checks):
        expectation_class, arguments = expectation_of(check)
        expectations.append(getattr(gx.expectations, expectation_class)(**arguments, meta={"place": place}))
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    results = batch.validate(suite, result_format={"result_format": "BOOLEAN_ONLY"}).results
    judgements = {
        result.expectation_config.meta["place"]: Judgement(bool(result.success), _error(result)) for result in results
    }
    return [judgements[place] for place in range(len(checks))]


def _error(result: GreatExpectations) -> str:
    raised = result.exception_info or {}
    message = raised.get("exception_message") or next(
        (metric["exception_message"] for metric in raised.values() if isinstance(metric, dict)), ""
    )
    return str(message or "")


def _data_source(gx: GreatExpectations) -> GreatExpectations:
    """Return a data source of the pandas engine, in a context that writes nothing to disk."""
    from great_expectations.data_context.types import base

    context = gx.get_context(
        mode="ephemeral",
        project_config=base.DataContextConfig(
            # Results go into the lake, so no site for them is set up.
            store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=base.ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        ),
    )
    return context.data_sources.add_pandas("lake")


def _great_expectations() -> GreatExpectations:
    """Return the library; the variable must be set before it is imported, or it reports usage to its makers."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with _main_module_with_a_file():
        import great_expectations

    return great_expectations


@contextmanager
def _main_module_with_a_file() -> Iterator[None]:
    """Give `__main__` a file for a while, if it has none, as with `python -c` or in a worker of pytest-xdist.

    The library imports Spark's Connect client. That takes a main module without a file for a run of Spark's own
    doctests, and without the client's libraries it ends the process, with status 0.
    """
    main = sys.modules["__main__"]
    if hasattr(main, "__file__"):
        yield
        return
    main.__file__ = __file__
    try:
        yield
    finally:
        del main.__file__
