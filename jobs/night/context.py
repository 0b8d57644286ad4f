"""What the stages of one command share: the places, the parameters, the day, one lake and one Spark session."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.lake.lake import Lake
from jobs.night.identity import run_id
from jobs.night.progress import StageProgress, StageTiming


@dataclass(frozen=True)
class NightResult:
    """The outcome of a night whose snapshot was published."""

    ds: date
    run_id: str
    version: str
    live: bool
    reason: str
    timings: list[StageTiming]
    refused: bool = False
    """A gate held the snapshot back. With neither this nor `live`, a later day is live or a version is pinned."""
    promoted: bool = False
    """It went live by this command, and was not before."""
    users: int = 0
    items: int = 0


@dataclass
class NightContext:
    """One command's run of some stages of day `ds`."""

    settings: Settings
    parameters: Parameters
    ds: date
    progress: StageProgress
    force: str = ""
    """The written reason for publishing in spite of a failed gate."""
    result: NightResult | None = None
    """Set by the stage `publish`."""

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.settings.lake)

    @cached_property
    def run_id(self) -> str:
        """The night's identity. The day must be ingested before it is asked for."""
        return run_id(self.lake, self.ds, self.parameters, self.settings.landing)

    @cached_property
    def fitted_parameters(self) -> Parameters:
        """The parameters with ALS's values filled in: the same for every stage that fits or uses ALS."""
        from jobs.models.als_choice import with_chosen  # loads SciPy: for stages that fit or use ALS

        return with_chosen(self.lake, self.ds, self.parameters)
