"""Tell Prometheus of a night: files for the node exporter's textfile collector, in the folder TOPSHELF_METRICS_DIR.

    topshelf_night_ingest.prom      one a command, named by its first stage, written whole

Seconds and peak memory of each stage; of the published night its day, outcome, mean score and means of features. The
means are of one user shard, so that they cost little in a large shop, and are compared from night to night.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.contracts import contract
from jobs.lake.lake import Lake
from jobs.night.progress import StageTiming

Gauge = tuple[str, Mapping[str, str], float]
HELP = {
    "topshelf_night_stage_seconds": "What a stage of the last night took.",
    "topshelf_night_stage_peak_bytes": "Memory that a stage's process and all it started had at most.",
    "topshelf_night_day_seconds": "The day of the last night that was published, in seconds of UTC.",
    "topshelf_night_live": "Whether the last night went live.",
    "topshelf_night_refused": "Whether a gate held the last night back.",
    "topshelf_night_score_mean": "Mean score of the first 10 places of shelves, of one user shard.",
    "topshelf_night_feature_mean": "Mean of a column of features, of one user shard.",
}
DRIFT_TABLES = ("features/user", "features/user_item")
FIRST_PLACES = 10


def timing_gauges(timings: Iterable[StageTiming]) -> list[Gauge]:
    """Return the gauges of what stages took."""
    gauges: list[Gauge] = []
    for timing in timings:
        gauges.append(("topshelf_night_stage_seconds", {"stage": timing.name}, timing.wall_s))
        gauges.append(("topshelf_night_stage_peak_bytes", {"stage": timing.name}, timing.peak_mib * 2**20))
    return gauges


def night_gauges(lake: Lake, ds: date, *, live: bool, refused: bool) -> list[Gauge]:
    """Return the gauges of a published night. Raises MissingPartitionError: a table is not there."""
    day_s = datetime(ds.year, ds.month, ds.day, tzinfo=UTC).timestamp()
    gauges: list[Gauge] = [
        ("topshelf_night_day_seconds", {}, day_s),
        ("topshelf_night_live", {}, float(live)),
        ("topshelf_night_refused", {}, float(refused)),
    ]
    shelves = lake.shard("marts/top_n", ds, 0, ["rank", "score"])
    score = pc.mean(shelves.filter(pc.less_equal(shelves["rank"], FIRST_PLACES))["score"]).as_py()
    if score is not None:
        gauges.append(("topshelf_night_score_mean", {}, score))
    for table in DRIFT_TABLES:
        grain = contract(table).grain
        rows = lake.shard(table, ds, 0)
        for field in rows.schema:
            if field.name not in grain and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
                mean = pc.mean(rows[field.name]).as_py()
                if mean is not None:
                    gauges.append(("topshelf_night_feature_mean", {"table": table, "column": field.name}, mean))
    return gauges


def write_gauges(folder: Path, name: str, gauges: Sequence[Gauge]) -> Path:
    """Write `topshelf_night_<name>.prom` whole, and return where."""
    lines: list[str] = []
    for family in sorted({gauge[0] for gauge in gauges}):
        lines += [f"# HELP {family} {HELP[family]}", f"# TYPE {family} gauge"]
        for of, labels, value in gauges:
            if of == family:
                told = ",".join(f'{key}="{text}"' for key, text in sorted(labels.items()))
                lines.append(f"{family}{{{told}}} {value:.12g}" if told else f"{family} {value:.12g}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"topshelf_night_{name}.prom"
    partial = path.with_suffix(".partial")  # the collector reads *.prom alone
    partial.write_text("\n".join(lines) + "\n")
    return partial.replace(path)
