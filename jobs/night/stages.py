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

Spark = Literal["large", "never"]
"""`large`: the stage runs on Spark where its input is too large for this machine's processes, or where
TOPSHELF_SPARK_MASTER names a cluster."""
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
    """Runs the stage and returns in a few words what came of it; further lines say what else there is to know."""
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
    Stage("ingest", "reads landed files up to the day; sets rows that cannot be used aside",
          reads=("landing",), run=steps.ingest, spark="large", lock="staging"),
    Stage("features", "what was known of items, shoppers and pairs when the day ended",
          reads=("staging",), run=steps.features, spark="large", lock="features"),
    Stage("choose_als", "ALS's rank, confidence weight and regularisation, chosen by the shop's own data",
          reads=("staging",), run=steps.choose_als, spark="never", lock="features"),
    Stage("train_cf", "ALS item factors, item-item neighbours, EASE, what follows what",
          reads=("features", "artifacts/als_choice"), run=steps.train_cf, spark="large", lock="features"),
    Stage("train_content", "item vectors and neighbours from title, category, brand, price and embedding",
          reads=("staging", "features"), run=steps.train_content, spark="never", lock="features"),
    Stage("train_towers", "two towers; left out where JAX is not installed",
          reads=("features", "artifacts/content"), run=steps.train_towers, spark="never", lock="features"),
    Stage("item_lists", "what is bought with each item, what stands for it, and what is looked at next",
          reads=("staging", "features", "artifacts/content"), run=steps.item_lists, spark="never"),
    Stage("label_windows", "earlier days with what happened after them: the ranker's examples",
          reads=("staging", "features", "artifacts"), run=steps.label_windows, spark="large", lock="features",
          makes=("runs/ds=DAY/label_windows.json",)),
    Stage("train_ranker", "LightGBM heads, judged on a window that they did not learn from",
          reads=("marts/examples", "marts/shown"), run=steps.train_ranker, spark="large", lock="features",
          makes=("marts/evaluation/ds=DAY/holdout.json",)),
    Stage("candidates", "items worth ranking for every shopper, merged from many sources",
          reads=("features", "artifacts"), run=steps.candidates, spark="large"),
    Stage("rank", "scores candidates, varies the head of the shelf, keeps the top N with a reason each",
          reads=("features", "artifacts", "marts/candidates"), run=steps.rank, spark="large"),
    Stage("shopper_lists", "what each shopper may buy again, and what they viewed last",
          reads=("features",), run=steps.shopper_lists, spark="large"),
    Stage("fallback", "shelves that are nobody's own: popular, trending, new, best sellers, on sale",
          reads=("staging", "features"), run=steps.fallback, spark="large"),
    Stage("exploration", "pools of items worth learning about, each in 256 drawn orders",
          reads=("staging", "features"), run=steps.exploration, spark="large"),
    Stage("shelf_outcomes", "what shoppers did on the day with what shelves showed them; judges experiments",
          reads=("staging",), run=steps.shelf_outcomes, spark="large",
          makes=("marts/evaluation/ds=DAY/shelf_outcomes.json", "marts/evaluation/ds=DAY/experiments.json")),
    Stage("validate", "holds every table of the day against its contract",
          reads=("staging", "features", "marts"), run=steps.validate, spark="large",
          makes=("marts/validation/ds=DAY/RUN.json", "marts/validation/ds=DAY/RUN.html")),
    Stage("publish", "loads a snapshot beside the live one, judges it by the gates, moves the pointer",
          reads=("marts", "features", "artifacts", "landing/tombstones"), run=steps.publish, spark="large",
          makes=("a snapshot in the store",)),
    Stage("report", "the night's page, which opens without a network",
          reads=("marts", "artifacts/ranker", "the store"), run=steps.report, spark="never",
          makes=("runs/ds=DAY/report.html", "runs/nights.html")),
)
# fmt: on
