"""The ingest as its tests run it."""

from datetime import date

import pytest

from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.staging.ingest import ingest


@pytest.fixture
def run(spark, lake, landing):
    """Run an ingest up to a day: `run(D2)`; into another lake with `run(D2, other)`."""

    def to(ds: date, into: Lake = lake, **tuned):
        return ingest(into, str(landing), ds, Parameters().with_values(tuned))

    return to
