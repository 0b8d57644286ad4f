"""Run the whole night of one day in one Spark session: landing to a published snapshot.

    python -m jobs.nightly --ds 2026-01-31 --landing data/landing

Stages whose inputs, parameters and code have not changed since they last ran keep what they built, so a night that
died goes on where it stopped.
"""

import json
from dataclasses import asdict, dataclass
from datetime import date

from pyspark.sql import SparkSession

from jobs import candidates, fallback, features, label_windows, publish, rank, train_cf, train_ranker
from jobs.contracts import tables
from jobs.ingest import ingest
from jobs.lake import Lake
from jobs.manifest import code_version, digest_of
from jobs.progress import StageProgress, StageTiming
from jobs.settings import Parameters, Settings, stage_arguments
from jobs.spark import session
from jobs.validate import validate

LANDED = ("staging/interactions", "staging/items", "staging/users", "staging/exposures")


@dataclass(frozen=True)
class Night:
    """What a night came to."""

    ds: date
    run_id: str
    version: str
    live: bool
    reason: str
    timings: list[StageTiming]


def run_id(lake: Lake, ds: date, parameters: Parameters) -> str:
    """Return the night's identity: the hash of all that landed up to the day, parameters and code."""
    landed = [
        f"{key}={value}"
        for table in LANDED
        for day in lake.days(table)
        if day <= ds
        for key, value in sorted(lake.manifest(table, day).inputs.items())
    ]
    return digest_of([str(ds), *sorted(set(landed)), parameters.digest(), code_version()])


def nightly(settings: Settings, parameters: Parameters, ds: date, progress: StageProgress | None = None) -> Night:
    """Run every stage of day `ds` and publish.

    Raises:
        The errors of the stages: each names what is wrong, where, and the remedy. What was live stays live.
    """
    progress = progress or StageProgress()
    lake = Lake(settings.lake)
    with progress.stage("spark") as stage:
        spark = session()
        stage.note = f"{spark.sparkContext.master}, Spark {spark.version}"
    with progress.stage("ingest") as stage:
        stage.note = str(ingest(spark, lake, settings.landing, ds, parameters))
    identity = run_id(lake, ds, parameters)
    _build(spark, lake, ds, parameters, identity, progress)
    with progress.stage("validate") as stage:
        stage.note = str(validate(spark, lake, tables_of_a_night(), ds))
    with progress.stage("publish") as stage:
        published = publish.build(lake, ds, settings.store, run_id=identity)
        stage.note = f"{published.manifest.version}: {published.reason}"
    night = Night(ds, identity, published.manifest.version, published.live, published.reason, progress.timings)
    lake.put_json(f"runs/ds={ds}/{identity[:12]}.json", json.loads(json.dumps(asdict(night), default=str)))
    return night


def tables_of_a_night() -> list[str]:
    """Return the tables that a night writes for its own day."""
    return [table for table in tables() if table not in ("marts/examples", "marts/labels")]


def _build(
    spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, identity: str, progress: StageProgress
) -> None:
    """Build everything between staging and the gates."""
    with progress.stage("features") as stage:
        features.build_if_stale(spark, lake, ds, parameters)
        counts = (f"{lake.manifest(table, ds).row_count:,} {table[9:]}" for table in tables("features"))
        stage.note = ", ".join(counts)
    with progress.stage("train_cf") as stage:
        stage.note = _facts(train_cf.build(lake, ds, parameters).metrics)
    with progress.stage("label_windows") as stage:
        windows = label_windows.build(spark, lake, ds, parameters)
        stage.note = "as of " + ", ".join(str(window.ds) for window in windows)
    with progress.stage("train_ranker") as stage:
        metrics = train_ranker.build(lake, ds, windows, parameters).metrics
        heads = (f"{head} ({of['positives']:,} of {of['examples']:,})" for head, of in metrics["heads"].items())
        stage.note = ", ".join(heads) or metrics["orders_by"]
    with progress.stage("candidates") as stage:
        stage.note = f"{candidates.build(spark, lake, ds, parameters).row_count:,} shoppers"
    with progress.stage("rank") as stage:
        stage.note = f"{rank.build(spark, lake, ds, parameters, identity).row_count:,} places"
    with progress.stage("fallback") as stage:
        stage.note = f"{fallback.build(spark, lake, ds, parameters).row_count:,} places"


def _facts(metrics: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in metrics.items())


def main() -> None:
    """Run the night from the command line."""
    given = stage_arguments(__doc__)
    nightly(given.settings, given.parameters, given.ds)


if __name__ == "__main__":
    main()
