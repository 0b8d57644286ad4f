"""What every test may ask for: one Spark session for the whole run, a lake and a landing folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.lake import Lake
from jobs.spark import session


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The embedded session that a night runs in: starting one takes seconds, so the run shares it."""
    running = session("topshelf-tests")
    yield running
    running.stop()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake on this machine."""
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """An empty landing folder; `str(landing)` is what the jobs take."""
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder
