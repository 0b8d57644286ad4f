"""The night, top to bottom: its stages in order, what each reads and builds, whether it needs Spark, and its lock.

    topshelf stage candidates --ds 2026-01-31

Nothing else lists the stages: `topshelf nightly`, Airflow's tasks, the remedies in errors and the docs follow this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Literal

from jobs.lake.tables import written_by
from jobs.night import steps
from jobs.night.context import NightContext

Spark = Literal["always", "large", "never"]
"""`large`: the stage starts Spark by itself where its input is too large for one process."""
Lock = Literal["staging", "features", "day"]
"""`staging` and `features` are held by one night at a time, as other days' nights read and write the same partitions;
`day` is the day's own."""


@dataclass(frozen=True)
class Stage:
    """One step of the night."""

    name: str
    does: str
    reads: tuple[str, ...]
    run: Callable[[NightContext], str]
    """Runs the stage and returns in a few words what came of it."""
    spark: Spark
    lock: Lock = "day"
    makes: tuple[str, ...] = ()
    """What it makes beside tables and artifacts."""

    @property
    def writes(self) -> tuple[str, ...]:
        """Tables and artifacts, as `jobs.lake.tables` has them, then what else it makes."""
        return (*written_by(self.name), *self.makes)

    def lock_of(self, ds: date) -> str:
        """Return the name of the lock that the stage holds while it runs."""
        return f"ds={ds}" if self.lock == "day" else self.lock


# fmt: off
STAGES = (
    Stage("ingest", "reads landed files; sets unusable rows aside",
          ("landing",), steps.ingest, spark="always", lock="staging"),
    Stage("features", "what was known of items, shoppers and pairs when the day ended",
          ("staging",), steps.features, spark="always", lock="features"),
    Stage("choose_als", "chooses ALS's rank, confidence weight and regularisation by the data, every four weeks",
          ("staging",), steps.choose_als, spark="never", lock="features"),
    Stage("train_cf", "ALS item factors, item-item neighbours, EASE",
          ("features", "artifacts/als_choice"), steps.train_cf, spark="large", lock="features"),
    Stage("train_content", "item vectors and neighbours from title, category, brand and price",
          ("features/item",), steps.train_content, spark="never", lock="features"),
    Stage("train_towers", "two towers, where JAX is installed",
          ("features", "artifacts/content"), steps.train_towers, spark="never", lock="features"),
    Stage("label_windows", "earlier days with what happened after them: the ranker's examples",
          ("staging", "features", "artifacts"), steps.label_windows, spark="always", lock="features",
          makes=("runs/ds=DAY/label_windows.json",)),
    Stage("train_ranker", "LightGBM heads, judged on a window that they did not see",
          ("marts/examples", "marts/shown"), steps.train_ranker, spark="large", lock="features",
          makes=("marts/evaluation/ds=DAY/holdout.json",)),
    Stage("candidates", "items worth ranking for every shopper, merged from many sources",
          ("features", "artifacts"), steps.candidates, spark="always"),
    Stage("rank", "scores candidates, varies the head, keeps the top N with a reason each",
          ("features", "artifacts", "marts/candidates"), steps.rank, spark="always"),
    Stage("fallback", "shelves for shoppers whom the night does not know",
          ("features",), steps.fallback, spark="always"),
    Stage("exploration", "pools of items worth learning about, each in 256 drawn orders",
          ("staging", "features/item"), steps.exploration, spark="always"),
    Stage("validate", "holds every table against its contract",
          ("staging", "features", "marts"), steps.validate, spark="large",
          makes=("marts/validation/ds=DAY/RUN.json", "marts/validation/ds=DAY/RUN.html")),
    Stage("publish", "loads the snapshot beside the live one, judges it by the gates, moves the pointer",
          ("marts", "features", "artifacts/cf"), steps.publish, spark="large", makes=("a snapshot in the store",)),
    Stage("report", "the night's page",
          ("marts", "artifacts/ranker", "the store"), steps.report, spark="never",
          makes=("marts/evaluation/ds=DAY/report.html",)),
)
# fmt: on
BY_NAME = {stage.name: stage for stage in STAGES}
