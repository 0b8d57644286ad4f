"""The ingest as its tests run it."""

from datetime import date

import pytest

from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.staging.ingest import ingest


@pytest.fixture
def engine(request, monkeypatch):
    """What runs the queries: DuckDB, or Spark where a test says so by `on_both_engines`."""
    name = getattr(request, "param", "duckdb")
    if name == "spark":
        request.getfixturevalue("spark")
        monkeypatch.setattr("jobs.spark.engine.MOST_ROWS_HERE", -1)
    return name


@pytest.fixture
def run(engine, lake, landing):
    """Run an ingest up to a day: `run(D2)`; into another lake with `run(D2, other)`."""

    def to(ds: date, into: Lake = lake, **tuned):
        return ingest(into, str(landing), ds, Parameters().with_values(tuned))

    return to
