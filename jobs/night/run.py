"""Run some stages of one night, or all: landing to a published snapshot.

    topshelf nightly --ds 2026-01-31 --landing data/landing
    topshelf nightly --ds 2026-01-31 --stages candidates,rank,fallback

The stages of one command share a Spark session, which starts with the first stage that needs it. A stage whose
inputs, parameters and code have not changed keeps what it built: so a night that died goes on where it stopped, and
a night run stage by stage makes the same bytes as a whole one.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.experiments.decisions import without_ended
from jobs.lake.lake import Lake
from jobs.lake.locks import held
from jobs.lake.stage_runs import StageRun
from jobs.night.context import NightContext, NightResult
from jobs.night.progress import StageProgress
from jobs.night.stages import STAGES


class UnknownStageError(LookupError):
    """A stage is named that does not exist."""


def nightly(
    settings: Settings, parameters: Parameters, ds: date, progress: StageProgress | None = None
) -> NightResult:
    """Run every stage of day `ds` and publish.

    Raises:
        The errors of the stages: each names what is wrong, where, and the remedy. What was live stays live.
    """
    night = run_stages(settings, parameters, ds, [stage.name for stage in STAGES], progress)
    assert night is not None, "publish is among the stages"
    return night


def run_stages(
    settings: Settings,
    parameters: Parameters,
    ds: date,
    names: Sequence[str],
    progress: StageProgress | None = None,
    force: str = "",
) -> NightResult | None:
    """Run the named stages of day `ds`, in the order of STAGES; return the outcome of `publish` if it is among them.

    Raises:
        UnknownStageError: a name is no stage's.
        The errors of the stages; a MissingPartitionError names the stage that has to run first.
    """
    if unknown := sorted(set(names) - {stage.name for stage in STAGES}):
        known = ", ".join(stage.name for stage in STAGES)
        raise UnknownStageError(f"no stage is called {', '.join(unknown)}; the stages are {known}")
    stages = [stage for stage in STAGES if stage.name in names]
    night = NightContext(settings, with_decisions(settings, parameters), ds, progress or StageProgress(), force)
    night.progress.open(ds, [stage.name for stage in stages])
    for stage in stages:
        with night.progress.stage(stage.name, stage.does) as timing, held(night.lake.root, stage.lock_of(ds)):
            timing.note, *timing.remarks = stage.run(night).split("\n")
        used = asdict(timing.processor)
        run = StageRun(timing.name, timing.began_at, timing.wall_s, round(timing.peak_mib), timing.note, **used)
        run.write(night.lake, ds)
    if night.result is not None:
        record = json.loads(json.dumps(asdict(night.result), default=str))
        night.lake.put_json(f"runs/ds={ds}/{night.run_id[:12]}.json", record)
    return night.result


def with_decisions(settings: Settings, parameters: Parameters) -> Parameters:
    """Return the parameters with experiments that were ended by hand over from that day on."""
    if not parameters.experiments.experiments:
        return parameters
    experiments = without_ended(Lake(settings.lake), parameters.experiments)
    return parameters.model_copy(update={"experiments": experiments})
