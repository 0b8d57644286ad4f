"""Nights of a tiny shop by Airflow, and the same by the command line, for the tests and benches that compare them."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.config.configuration import Configuration
from jobs.config.console import as_toml
from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.lake.lake import Lake
from jobs.night.context import NightResult
from jobs.night.run import nightly
from jobs.synthetic.shop import synthetic_shop
from serving.stores import open_store
from tests.e2e.airflow_stack import Stack, needs_airflow_and_postgres
from tests.e2e.test_night import BUILT, rows_sha256

DAG = "nightly_recommendations"
NIGHT_S = 900.0
PARAMETERS = Parameters().with_values(
    {
        "shelves.top_n": 20,
        "training.windows.max_count": 1,
        "training.horizon_days": 1,
        "training.windows.min_history_days": 3,
        "ranking.trees": 5,
        "models.als.factors": 8,
        "models.als.iterations": 3,
        "candidates.per_user": 40,
    }
)
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
ASKED_FOR = [
    pytest.mark.slow,
    pytest.mark.timeout(3_600),
    pytest.mark.skipif("TOPSHELF_TEST_KILLS" not in os.environ, reason="TOPSHELF_TEST_KILLS is not set"),
]
"""Marks of tests so long that they run only where they are asked for."""


def tiny_shop(spark: SparkSession, folder: Path, days: int) -> Settings:
    """Make a shop that has landed up to yesterday below `folder`, and return its places."""
    settings = Settings.below(folder)
    first = YESTERDAY - timedelta(days=days - 1)
    synthetic_shop(spark, Path(settings.landing), folder / "truth", 60, 80, 100 * days, first, YESTERDAY, 7)
    (folder / "topshelf.toml").write_text(as_toml(Configuration(settings, PARAMETERS)))
    return settings


def variables(folder: Path, settings: Settings) -> dict[str, str]:
    """Return what tells a night's processes the shop's places."""
    return {
        "TOPSHELF_LANDING": settings.landing,
        "TOPSHELF_LAKE": settings.lake,
        "TOPSHELF_STORE": settings.store,
        "TOPSHELF_CONFIG": str(folder / "topshelf.toml"),
        "TOPSHELF_RETRY_DELAY_S": "5",
        # Most of these nights is Java starting: compile quickly rather than well.
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m",
    }


@contextmanager
def airflow(folder: Path, settings: Settings, **more: str) -> Iterator[Stack]:
    """An Airflow that runs a shop's nights, with more variables if given."""
    needs_airflow_and_postgres()
    running = Stack(folder, variables(folder, settings) | more)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@dataclass
class Alone:
    """The same nights by the command line, in a lake and a store of their own."""

    settings: Settings
    nights: dict[date, NightResult] = field(default_factory=dict)
    made: dict[str, list[object]] = field(default_factory=dict)
    """Every version's hashes, those since swept included."""

    @classmethod
    def beside(cls, settings: Settings, folder: Path) -> "Alone":
        """Nights of the same landing, kept below `folder`."""
        return cls(
            settings.model_copy(
                update={"lake": str(folder / "alone" / "lake"), "store": f"lmdb://{folder}/alone/store"}
            )
        )

    def run(self, day: date) -> None:
        self.nights[day] = nightly(self.settings, PARAMETERS, day)
        self.made |= versions(self.settings.store)

    def has_equal_tables(self, settings: Settings, day: date) -> None:
        """Fail unless the tables of the day are those of another lake."""
        for table in BUILT:
            theirs, ours = (rows_sha256(Lake(of.lake), table, day) for of in (settings, self.settings))
            assert theirs == ours, (table, day)

    def is_equal(self, stack: Stack, settings: Settings, day: date, run: dict[str, Any]) -> None:
        """Fail unless Airflow's run of the day made the same tables, and its publish came to the same."""
        self.has_equal_tables(settings, day)
        states = stack.task_states(DAG, run["dag_run_id"])
        # In so small a shop a gate may find one night too unlike another: its publish is then skipped, by either way.
        assert states.pop("publish") == ("skipped" if self.nights[day].refused else "success"), day
        assert set(states.values()) == {"success"}, day


def runs_by_day(stack: Stack, run_type: str) -> dict[str, dict[str, Any]]:
    """Return a DAG's runs of a type by their days."""
    return {run["logical_date"][:10]: run for run in stack.runs(DAG) if run["run_type"] == run_type}


def all_green(stack: Stack, run_type: str, days: list[date]) -> bool:
    """Tell whether the nights have all succeeded; fail with the tasks' states as soon as one has not."""
    found = runs_by_day(stack, run_type)
    for day, run in found.items():
        assert run["state"] != "failed", f"{day}: {stack.task_states(DAG, run['dag_run_id'])}"
    return all(found.get(str(day), {}).get("state") == "success" for day in days)


def no_backfill_is_open(stack: Stack) -> bool:
    """Tell whether a further backfill is taken: one that has ended is closed by the scheduler half a minute on."""
    return all(one["completed_at"] for one in stack.api("GET", f"/backfills?dag_id={DAG}")["backfills"])


def backfill_by_rest(stack: Stack, first: date, last: date | None = None, at_once: int = 1) -> None:
    """Ask for a backfill of the days from `first` to `last`, or of one day."""
    body = {"dag_id": DAG, "from_date": f"{first}T00:00:00Z", "to_date": f"{last or first}T00:00:00Z"}
    how = {"reprocess_behavior": "none", "run_backwards": False, "dag_run_conf": {}, "max_active_runs": at_once}
    stack.api("POST", "/backfills", body | how)


def live_version(store_url: str) -> str | None:
    """Return the live version of a store."""
    with closing(open_store(store_url)) as store:
        return store.pointer().live


def versions(store_url: str) -> dict[str, list[object]]:
    """Return what each stored version's shelves and blobs hash to."""
    with closing(open_store(store_url)) as store:
        return {manifest.version: [manifest.shards, manifest.blobs] for manifest in store.versions()}
