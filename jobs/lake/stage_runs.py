"""What each stage of a day took when it last ran: `runs/ds=<day>/stages/<stage>.json`, a file a stage.

>>> stage_runs(lake, date(2026, 1, 31))[0].wall_s

A file a stage, because stages of one night may run in processes beside one another.
"""

from datetime import date

import msgspec

from jobs.lake.lake import Lake


class StageRun(msgspec.Struct, frozen=True):
    """One run of a stage that came to its end. Memory is the most of its process and all it started, in MiB."""

    stage: str
    began_at: str
    """UTC, ISO 8601."""
    wall_s: float
    peak_mib: float
    note: str
    """What came of it, in a few words."""
    driver_s: float = 0.0
    """Seconds of processor time of the command's own process; with those below 0 where they were not measured."""
    jvm_s: float = 0.0
    """Those of Spark's Java."""
    workers_s: float = 0.0
    """Those of Spark's Python workers."""

    @property
    def processor_s(self) -> float:
        """Seconds of processor time in all."""
        return self.driver_s + self.jvm_s + self.workers_s

    def write(self, lake: Lake, ds: date) -> None:
        """Write it, in place of the stage's run before."""
        lake.put_json(f"{_folder(ds)}/{self.stage}.json", msgspec.to_builtins(self))


def stage_runs(lake: Lake, ds: date) -> list[StageRun]:
    """Return the last run of each stage of a day in the order in which they began; none where none was recorded."""
    files = [name for name in lake.names(_folder(ds)) if name.endswith(".json")]
    runs = [msgspec.convert(lake.get_json(f"{_folder(ds)}/{name}"), StageRun) for name in files]
    return sorted(runs, key=lambda run: (run.began_at, run.stage))


def _folder(ds: date) -> str:
    return f"runs/ds={ds}/stages"
