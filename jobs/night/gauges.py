"""Gauges of a night for Prometheus: files for the node exporter's textfile collector, in TOPSHELF_METRICS_DIR.

    topshelf_night_ingest.prom      one a command, named by its first stage, replaced whole
    topshelf_night_snapshots.prom   whether the newest night is held back; by every command that moves the pointer

They hold each stage's seconds, processor time and peak memory, and the published night's day, outcome, mean score and
feature means. The means are those of one user shard: cheap in a large shop, and comparable from night to night.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from jobs.lake.contracts import contract
from jobs.lake.lake import Lake
from jobs.night.progress import StageTiming
from serving.stores import open_store

HELP = {
    "topshelf_night_stage_seconds": "What a stage of the last night took.",
    "topshelf_night_stage_processor_seconds": "Processor time that a stage took: driver, Java and Python workers.",
    "topshelf_night_stage_peak_bytes": "Memory that a stage's process and all it started had at most.",
    "topshelf_night_day_seconds": "The day of the last night that was published, in seconds of UTC.",
    "topshelf_night_live": "Whether the last night went live.",
    "topshelf_night_refused": "Whether a gate holds the newest stored night back.",
    "topshelf_night_score_mean": "Mean score of the first 10 places of shelves, of one user shard.",
    "topshelf_night_feature_mean": "Mean of a column of features, of one user shard.",
}
DRIFT_TABLES = ("features/user", "features/user_item")
FIRST_PLACES = 10


class GaugeValue(NamedTuple):
    """One value of a gauge of `HELP`."""

    name: str
    labels: Mapping[str, str]
    value: float


def timing_gauges(timings: Iterable[StageTiming]) -> list[GaugeValue]:
    """Return each stage's seconds, its processor time by kind of process, and its peak memory in bytes."""
    gauges: list[GaugeValue] = []
    for timing in timings:
        labels = {"stage": timing.name}
        gauges.append(GaugeValue("topshelf_night_stage_seconds", labels, timing.wall_s))
        for process, used_s in timing.processor.by_process().items():
            name = "topshelf_night_stage_processor_seconds"
            gauges.append(GaugeValue(name, labels | {"process": process}, used_s))
        gauges.append(GaugeValue("topshelf_night_stage_peak_bytes", labels, timing.peak_mib * 2**20))
    return gauges


def night_gauges(lake: Lake, ds: date, *, live: bool) -> list[GaugeValue]:
    """Return the gauges of a published night. Raises MissingPartitionError where a table is missing."""
    day_s = datetime(ds.year, ds.month, ds.day, tzinfo=UTC).timestamp()
    gauges = [
        GaugeValue("topshelf_night_day_seconds", {}, day_s),
        GaugeValue("topshelf_night_live", {}, float(live)),
    ]
    shelves = lake.shard("marts/top_n", ds, 0, ["rank", "score"])
    score = pc.mean(shelves.filter(pc.less_equal(shelves["rank"], FIRST_PLACES))["score"]).as_py()
    if score is not None:
        gauges.append(GaugeValue("topshelf_night_score_mean", {}, score))
    for table in DRIFT_TABLES:
        grain = contract(table).grain
        rows = lake.shard(table, ds, 0)
        for field in rows.schema:
            if field.name not in grain and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
                mean = pc.mean(rows[field.name]).as_py()
                if mean is not None:
                    labels = {"table": table, "column": field.name}
                    gauges.append(GaugeValue("topshelf_night_feature_mean", labels, mean))
    return gauges


def write_refused(store_url: str) -> None:
    """Write whether a gate holds the store's newest day back, where TOPSHELF_METRICS_DIR is set.

    Whoever moves the pointer calls it. So neither a night of an older day nor a `promote` leaves it wrong.
    """
    if not (folder := os.environ.get("TOPSHELF_METRICS_DIR")):
        return
    with closing(open_store(store_url)) as store:
        newest, live = max(store.versions(), key=lambda manifest: manifest.day, default=None), store.pointer().live
    refused = newest is not None and newest.version != live and newest.is_held_back
    write_gauges(Path(folder), "snapshots", [GaugeValue("topshelf_night_refused", {}, float(refused))])


def write_gauges(folder: Path, name: str, gauges: Iterable[GaugeValue]) -> Path:
    """Write `topshelf_night_<name>.prom` in one step, and return its path."""
    registry = CollectorRegistry()
    families: dict[str, Gauge] = {}
    for gauge in gauges:
        if gauge.name not in families:
            families[gauge.name] = Gauge(gauge.name, HELP[gauge.name], sorted(gauge.labels), registry=registry)
        family = families[gauge.name]
        (family.labels(**gauge.labels) if gauge.labels else family).set(gauge.value)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"topshelf_night_{name}.prom"
    write_to_textfile(str(path), registry)
    return path
