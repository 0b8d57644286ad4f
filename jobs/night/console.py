"""What a night prints: its stages as a table, and the outcome as one last line."""

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich.table import Table

from jobs.config.outcome import write_outcome
from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.config.terminal import Terminal
from jobs.lake.lake import Lake
from jobs.night.gauges import night_gauges, timing_gauges, write_gauges, write_refused
from jobs.night.progress import StageProgress
from jobs.night.run import run_stages
from jobs.night.stages import STAGES


def print_stages() -> None:
    """Print the stages in order: what each does, reads and writes."""
    table = Table(box=None)
    for heading in ("stage", "does", "reads", "writes"):
        table.add_column(heading, overflow="fold")
    for stage in STAGES:
        table.add_row(stage.name, stage.does, ", ".join(stage.reads), ", ".join(stage.writes))
    Terminal().print(table)


def stages_as_markdown() -> str:
    """Return the same as a Markdown table: the one in docs/data-flow.md."""
    rows = [(f"`{stage.name}`", stage.does, ", ".join(stage.reads), ", ".join(stage.writes)) for stage in STAGES]
    lines = [f"| {' | '.join(row)} |" for row in [("stage", "does", "reads", "writes"), ("---",) * 4, *rows]]
    return "\n".join(lines)


def run_and_print(
    settings: Settings, parameters: Parameters, ds: date, names: Sequence[str] | None = None, force: str = ""
) -> bool:
    """Run stages, all if none is named; print the outcome as the last line; return False where a gate refused.

    With TOPSHELF_METRICS_DIR, gauges for Prometheus are written there.
    """
    progress = StageProgress()
    night = run_stages(settings, parameters, ds, names or [stage.name for stage in STAGES], progress, force)
    timings = progress.timings
    if folder := os.environ.get("TOPSHELF_METRICS_DIR"):
        gauges = timing_gauges(timings)
        if night is not None:
            gauges += night_gauges(Lake(settings.lake), ds, live=night.live)
            write_refused(settings.store)
        write_gauges(Path(folder), timings[0].name, gauges)
    if night is not None:
        about = {"version": night.version, "day": str(ds), "users": night.users, "items": night.items}
        write_outcome(night.reason, promoted=night.promoted, **about)
    if night is None or names is not None:
        print(f"{ds}: " + "; ".join(f"{timing.name}: {timing.note}" for timing in timings))
    else:
        seconds = sum(timing.wall_s for timing in progress.timings)
        peak = max(timing.peak_mib for timing in progress.timings)
        state = "live" if night.live else "not live"
        print(f"{night.version} is {state}: {night.reason}. {seconds:.0f} s, peak {peak:,.0f} MiB.")
    return night is None or not night.refused
