"""A whole first night and the one after it, stage by stage: seconds, and processor time by kind of process.

A synthetic shop of SHOPPERS over DAYS days. Each night is a command of its own, as `topshelf nightly` runs it.
Processor time is told apart as the driver's, Java's and the Python workers'. The last figures say what is start-up:
of the interpreter with the jobs' libraries, and of Spark.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from jobs.lake.lake import Lake
from jobs.lake.stage_runs import StageRun, stage_runs
from jobs.lake.tables import INTERACTIONS
from tests.bench.figures import Figure

SHOPPERS, PRODUCTS, EVENTS, DAYS = 10_000, 4_000, 490_000, 60
LAST = date(2026, 3, 1)
LEAST_S = 1.0
"""Stages that take less in both nights are told in one figure."""


def topshelf(*arguments: str) -> float:
    """Run a command; return its seconds."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "jobs", *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def night(ds: date, folder: Path) -> tuple[float, list[StageRun]]:
    """Run one night; return its seconds and its stages."""
    places = ("--landing", f"{folder}/landing", "--lake", f"{folder}/lake", "--store", f"lmdb://{folder}/store")
    seconds = topshelf("nightly", "--ds", str(ds), *places)
    return seconds, stage_runs(Lake(f"{folder}/lake"), ds)


def started_s(code: str) -> float:
    """Seconds that an interpreter takes to run `code`."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - began


def by_kind(run: StageRun) -> str:
    return f"driver {run.driver_s:.0f}, Java {run.jvm_s:.0f}, workers {run.workers_s:.0f}"


def figures_of(first: Sequence[StageRun], second: Sequence[StageRun]) -> list[Figure]:
    """Each longer stage's processor time in both nights; the second beside the first."""
    later = {run.stage: run for run in second}
    told = [run for run in first if max(run.processor_s, later[run.stage].processor_s) >= LEAST_S]
    figures = []
    for run in told:
        again = later[run.stage]
        figures.append(Figure(f"{run.stage}, first night ({by_kind(run)})", run.processor_s, "s of processor"))
        what = f"{run.stage}, the night after ({by_kind(again)})"
        figures.append(Figure(what, again.processor_s, "s of processor", run.processor_s, "the first night"))
    rest = [run.processor_s for run in first if run not in told]
    return [*figures, Figure(f"{len(rest)} shorter stages, first night", sum(rest), "s of processor")]


def main() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = ("--users", str(SHOPPERS), "--items", str(PRODUCTS), "--events", str(EVENTS))
        days = ("--from", str(LAST - timedelta(days=DAYS)), "--to", str(LAST + timedelta(days=1)))
        topshelf("synthetic-shop", *size, *days, "--landing", f"{folder}/landing")
        first_s, first = night(LAST, folder)
        second_s, second = night(LAST + timedelta(days=1), folder)
        lake = Lake(f"{folder}/lake")
        rows = sum(lake.manifest(INTERACTIONS, day).row_count or 0 for day in lake.days(INTERACTIONS))
    used = [sum(run.processor_s for run in of) for of in (first, second)]
    peak = [max(run.peak_mib for run in of) for of in (first, second)]
    libraries_s = started_s("import jobs.night.steps, jobs.shelves.top_n, jobs.training.train_ranker")
    return [
        *figures_of(first, second),
        Figure("the first night", first_s, "s"),
        Figure("the night after", second_s, "s", first_s, "the first night"),
        Figure("the first night", used[0], "s of processor"),
        Figure("the night after", used[1], "s of processor", used[0], "the first night"),
        Figure("the first night, events", rows / used[0], "rows/s of processor"),
        Figure("the first night, most memory", peak[0], "MiB"),
        Figure("the night after, most memory", peak[1], "MiB", peak[0], "the first night"),
        Figure("start of an interpreter with the libraries", libraries_s, "s", started_s("pass"), "an empty one"),
        Figure("start of Spark", started_s("from jobs.spark.session import session; session()"), "s"),
    ]
