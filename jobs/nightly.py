"""Run the night of one day, whole or some of its stages: landing to a published snapshot.

    python -m jobs.nightly --ds 2026-01-31 --landing data/landing
    python -m jobs.nightly --ds 2026-01-31 --stages candidates rank fallback

The stages of one command share a Spark session, which starts with the first stage that needs it. Stages whose
inputs, parameters and code have not changed since they last ran keep what they built, so a night that died goes on
where it stopped, and a night run stage by stage makes the same bytes as a whole one.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from jobs import (
    candidates,
    choose_als,
    exploration,
    fallback,
    features,
    label_windows,
    publish,
    rank,
    train_cf,
    train_content,
    train_ranker,
    train_towers,
)
from jobs.contracts import tables
from jobs.ingest import ingest
from jobs.label_windows import HELD_OUT, Window
from jobs.lake import Lake
from jobs.lake_locks import held
from jobs.manifest import Manifest, code_version
from jobs.night_metrics import night_gauges, timing_gauges, write_gauges
from jobs.progress import StageProgress, StageTiming
from jobs.ranker import ARTIFACT as RANKER
from jobs.run_identity import run_id
from jobs.settings import Parameters, Settings, stage_arguments
from jobs.spark import session
from jobs.training_examples import OF_WINDOWS
from jobs.training_examples import TABLE as EXAMPLES
from jobs.two_tower import ARTIFACT as TOWERS
from jobs.validate import validate

SHARED_BY_NIGHTS = ("features", "choose_als", "train_cf", "train_towers", "label_windows", "train_ranker")
"""Stages that write what other days' nights read and write as well."""
REFUSED_STATUS = 3
"""Exit status of a command whose publish was held back by a gate: nothing broke, and nothing went live."""


@dataclass(frozen=True)
class Night:
    """What a night came to."""

    ds: date
    run_id: str
    version: str
    live: bool
    reason: str
    timings: list[StageTiming]
    refused: bool = False
    """A gate held the snapshot back. With neither this nor `live`, a later day is live, or a version is pinned."""


@dataclass
class _Run:
    """One command's run of some stages."""

    settings: Settings
    parameters: Parameters
    ds: date
    progress: StageProgress
    night: Night | None = None

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.settings.lake)

    @cached_property
    def spark(self) -> SparkSession:
        return session()

    @cached_property
    def identity(self) -> str:
        """The run's id; only asked for once the day is ingested."""
        return run_id(self.lake, self.ds, self.parameters, self.settings.landing)


def nightly(settings: Settings, parameters: Parameters, ds: date, progress: StageProgress | None = None) -> Night:
    """Run every stage of day `ds` and publish.

    Raises:
        The errors of the stages: each names what is wrong, where, and the remedy. What was live stays live.
    """
    night = run_stages(settings, parameters, ds, list(STAGES), progress)
    assert night is not None
    return night


def run_stages(
    settings: Settings,
    parameters: Parameters,
    ds: date,
    stages: Sequence[str],
    progress: StageProgress | None = None,
) -> Night | None:
    """Run some stages of day `ds`, in the order of STAGES; return what `publish` came to, if it was among them.

    Raises:
        The errors of the stages; a MissingPartitionError names the stage that has to run first.
    """
    run = _Run(settings, parameters, ds, progress or StageProgress())
    if not ON_SPARK.isdisjoint(stages):
        with run.progress.stage("spark") as stage:
            stage.note = f"{run.spark.sparkContext.master}, Spark {run.spark.version}"
    for name in (name for name in STAGES if name in stages):
        with run.progress.stage(name) as stage, held(run.lake.root, _lock_of(name, ds)):
            stage.note = STAGES[name](run)
    if run.night is not None:
        told = json.loads(json.dumps(asdict(run.night), default=str))
        run.lake.put_json(f"runs/ds={ds}/{run.identity[:12]}.json", told)
    return run.night


def _lock_of(stage: str, ds: date) -> str:
    """Return the lock of what a stage writes: staging, what nights share of features and models, or a day's own."""
    if stage == "ingest":
        return "staging"
    return "features" if stage in SHARED_BY_NIGHTS else f"ds={ds}"


def tables_of_a_night() -> list[str]:
    """Return the tables that a night writes for its own day."""
    return [table for table in tables() if table not in OF_WINDOWS]


def _kept(before: Manifest | None, after: Manifest) -> str:
    """Return why nothing was built, where nothing was."""
    return "kept, as inputs, parameters and code are those it was made of; " if before == after else ""


def _ingest(run: _Run) -> str:
    return str(ingest(run.spark, run.lake, run.settings.landing, run.ds, run.parameters))


def _features(run: _Run) -> str:
    built = features.build_if_stale(run.spark, run.lake, run.ds, run.parameters)
    counts = (f"{run.lake.manifest(table, run.ds).row_count:,} {table[9:]}" for table in tables("features"))
    return ("" if built else "kept, as staging, weights and code have not changed; ") + ", ".join(counts)


def _choose_als(run: _Run) -> str:
    told = choose_als.build(run.lake, run.ds, run.parameters).metrics
    values = (f"{name} {told[name]}" for name in ("factors", "alpha", "regularization"))
    return f"{', '.join(values)}; {told['because']}"


def _train_cf(run: _Run) -> str:
    before = run.lake.find_manifest(train_cf.ARTIFACT, run.ds)
    after = train_cf.build(run.lake, run.ds, choose_als.with_chosen(run.lake, run.ds, run.parameters))
    return _kept(before, after) + ", ".join(f"{name} {value}" for name, value in after.metrics.items())


def _train_content(run: _Run) -> str:
    before = run.lake.find_manifest(train_content.ARTIFACT, run.ds)
    after = train_content.build(run.lake, run.ds, run.parameters)
    return _kept(before, after) + ", ".join(f"{name} {value}" for name, value in after.metrics.items())


def _train_towers(run: _Run) -> str:
    before = run.lake.find_manifest(TOWERS, run.ds)
    after = train_towers.build(run.lake, run.ds, run.parameters)
    return _kept(before, after) + ", ".join(f"{name} {value}" for name, value in after.metrics.items())


def _label_windows(run: _Run) -> str:
    return "as of " + ", ".join(str(window.ds) for window in _build_windows(run))


def _build_windows(run: _Run) -> list[Window]:
    """Build the windows, and write down for the ranker's stage, which may be a command of its own, what they are."""
    chosen = choose_als.with_chosen(run.lake, run.ds, run.parameters)
    windows = label_windows.build(run.spark, run.lake, run.ds, chosen)
    run.lake.put_json(_windows_path(run.ds), _windows_as_told(run, windows))
    return windows


def _windows_path(ds: date) -> str:
    return f"runs/ds={ds}/label_windows.json"


def _windows_as_told(run: _Run, windows: Sequence[Window]) -> dict[str, Any]:
    chosen = [
        {
            "ds": str(window.ds),
            "held_out": window.lake.root != run.lake.root,
            "calibrates": window.calibrates,
            "examples": found.fingerprint if (found := window.lake.find_manifest(EXAMPLES, window.ds)) else None,
        }
        for window in windows
    ]
    return {"windows": chosen, "parameters": run.parameters.digest(), "code": code_version()}


def _windows(run: _Run) -> list[Window]:
    """Return the windows of the stage before, built again where another night has built them otherwise since."""
    told: dict[str, Any] = run.lake.get_json(_windows_path(run.ds)) or {"windows": []}
    held_out = Lake(f"{run.lake.root}/{HELD_OUT}")
    windows = [
        Window(
            held_out if window["held_out"] else run.lake,
            date.fromisoformat(window["ds"]),
            window.get("calibrates", False),
        )
        for window in told["windows"]
    ]
    return windows if windows and _windows_as_told(run, windows) == told else _build_windows(run)


def _train_ranker(run: _Run) -> str:
    before = run.lake.find_manifest(RANKER, run.ds)
    after = train_ranker.build(run.lake, run.ds, _windows(run), run.parameters)
    heads = (f"{head} ({of['positives']:,} of {of['examples']:,})" for head, of in after.metrics["heads"].items())
    return _kept(before, after) + (", ".join(heads) or str(after.metrics["orders_by"]))


def _candidates(run: _Run) -> str:
    before = run.lake.find_manifest(candidates.TABLE, run.ds)
    after = candidates.build(run.spark, run.lake, run.ds, run.parameters)
    return _kept(before, after) + f"{after.row_count:,} shoppers"


def _rank(run: _Run) -> str:
    before = run.lake.find_manifest(rank.TABLE, run.ds)
    after = rank.build(run.spark, run.lake, run.ds, run.parameters, run.identity)
    return _kept(before, after) + f"{after.row_count:,} places"


def _fallback(run: _Run) -> str:
    before = run.lake.find_manifest(fallback.FALLBACK, run.ds)
    after = fallback.build(run.spark, run.lake, run.ds, run.parameters)
    return _kept(before, after) + f"{after.row_count:,} places"


def _exploration(run: _Run) -> str:
    before = run.lake.find_manifest(exploration.TABLE, run.ds)
    after = exploration.build(run.spark, run.lake, run.ds, run.parameters)
    return _kept(before, after) + f"{after.row_count:,} places in {after.metrics['pools']} pools"


def _validate(run: _Run) -> str:
    return str(validate(run.lake, tables_of_a_night(), run.ds, run.identity[:12]))


def _publish(run: _Run) -> str:
    places = run.settings
    published = publish.build(
        run.lake,
        run.ds,
        places.store,
        run_id=run.identity,
        archive_url=places.archive,
        landing=places.landing,
        spark=publish.executors(),
    )
    manifest = published.manifest
    failed = any(gate.outcome == "failed" for gate in manifest.gates) and not manifest.forced
    run.night = Night(
        run.ds,
        run.identity,
        manifest.version,
        published.live,
        published.reason,
        run.progress.timings,
        refused=failed and not published.live,
    )
    state = "live" if published.live else "not live"
    return f"{manifest.version} is {state}: {published.reason}"


def _report(run: _Run) -> str:
    from jobs.report import build  # draws plots: half a second to import, and not every command has need of it

    return f"{run.lake.root}/{build(run.lake, run.ds, run.settings.store)[0]}"


STAGES: dict[str, Callable[[_Run], str]] = {
    "ingest": _ingest,
    "features": _features,
    "choose_als": _choose_als,
    "train_cf": _train_cf,
    "train_content": _train_content,
    "train_towers": _train_towers,
    "label_windows": _label_windows,
    "train_ranker": _train_ranker,
    "candidates": _candidates,
    "rank": _rank,
    "fallback": _fallback,
    "exploration": _exploration,
    "validate": _validate,
    "publish": _publish,
    "report": _report,
}
ON_SPARK = frozenset(STAGES) - {
    "train_cf",
    "train_content",
    "train_towers",
    "train_ranker",
    "validate",
    "publish",
    "report",
}
"""The stages that always need Spark; `train_cf`, `validate` and `publish` start it for large tables by themselves."""


def main() -> None:
    """Run the night from the command line; its last line of output says what it came to."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--stages", nargs="+", choices=list(STAGES), metavar="STAGE")
    mine, rest = own.parse_known_args()
    given = stage_arguments(f"{__doc__}\n--stages takes: {' '.join(STAGES)}", rest)
    progress = StageProgress()
    night = run_stages(given.settings, given.parameters, given.ds, mine.stages or list(STAGES), progress)
    print("; ".join(f"{timing.name}: {timing.note}" for timing in progress.timings if timing.name != "spark"))
    if folder := os.environ.get("TOPSHELF_METRICS_DIR"):
        stages = [timing for timing in progress.timings if timing.name != "spark"]
        gauges = timing_gauges(stages)
        if night is not None:
            lake = Lake(given.settings.lake)
            gauges += night_gauges(lake, given.ds, live=night.live, refused=night.refused)
        write_gauges(Path(folder), stages[0].name, gauges)
    if night is not None and night.refused:
        sys.exit(REFUSED_STATUS)


if __name__ == "__main__":
    main()
