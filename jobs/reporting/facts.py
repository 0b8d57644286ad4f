"""Collect what a night's report shows: what shelves brought, how good they are, what landed, what was checked.

All of it is read from the lake, and the gates from the store. What is missing is None or empty, and never guessed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks.report import ValidationReport, report_path
from jobs.experiments.outcome import ExperimentOutcome, ExperimentOutcomes
from jobs.features.missing import what_is_missing
from jobs.lake.evaluations import KINDS, Holdout, KindMetrics, Metrics, Published, Reliability, ShelfOutcomes
from jobs.lake.lake import Lake
from jobs.lake.stage_runs import StageRun, stage_runs
from jobs.lake.tables import RANKER, TOP_N, USER
from jobs.numeric.list_metrics import K
from jobs.ranking.ranker_metrics import RankerMetrics
from jobs.reporting.days import LandedRows, OutcomeSums, landed_rows, outcome_sums
from jobs.reporting.headline import METRIC
from jobs.reporting.products import Product, money, products
from jobs.reporting.standing import Standing, standing
from jobs.staging.remarks import Remarks, remarks_of

NIGHTS = 60
"""How many nights back the plots go."""
SHOWN_PLACES = 10
"""How many places of an example shelf are shown."""
ENOUGH_EVENTS = 20
"""Bins with fewer events are too noisy to be compared."""


def night_page_path(ds: date) -> str:
    """Return where the report of a night stands in the lake."""
    return f"runs/ds={ds}/report.html"


@dataclass(frozen=True)
class ExampleRow:
    """One place of an example shelf as a person reads it."""

    rank: int
    title: str
    category: str
    price: str
    score: float
    source: str
    reason: str
    image_url: str = ""


@dataclass(frozen=True)
class ExampleShelf:
    """A shopper's shelf as a person reads it."""

    heading: str
    rows: list[ExampleRow]


@dataclass(frozen=True)
class StageTime:
    """What a stage took, and what it took the night before; None where that is not known."""

    run: StageRun
    before_s: float | None = None


@dataclass(frozen=True)
class NightNdcg:
    """NDCG by kind of one night; None where the night has no such evaluation."""

    ds: date
    holdout: Metrics | None = None
    holdout_best: Metrics | None = None
    """The highest of the baselines, for each kind."""
    published: Metrics | None = None
    published_best: Metrics | None = None


@dataclass(frozen=True)
class ReportFacts:
    """What the report of one night shows; a part is None or empty if there is nothing to show."""

    ds: date
    currency: str = ""
    standing: Standing = field(default_factory=Standing)
    outcomes: ShelfOutcomes | None = None
    sums: list[OutcomeSums] = field(default_factory=list)
    """What shelves brought on the day, the day before, and in the week."""
    shown: Mapping[str, Product] = field(default_factory=dict)
    """The most shown products by id."""
    holdout: Holdout | None = None
    published: Published | None = None
    ranker: RankerMetrics | None = None
    lacks: str = ""
    """What the shop lacks, in words."""
    nights: list[NightNdcg] = field(default_factory=list)
    shelves: list[ExampleShelf] = field(default_factory=list)
    landed: Remarks = field(default_factory=Remarks)
    """What ingest remarked when it read the day."""
    rows: list[LandedRows] = field(default_factory=list)
    checks: ValidationReport | None = None
    stages: list[StageTime] = field(default_factory=list)
    earlier: date | None = None
    """The newest earlier night that has a report."""
    experiments: Mapping[str, ExperimentOutcome] = field(default_factory=dict)
    """What came of those that run, by name."""
    shelves_a_shopper: float | None = None
    """Of one user shard; None where no arm has shelves of its own."""
    source_share: dict[str, float] = field(default_factory=dict)
    """Each source's share of the first K places of the night's shelves, in one user shard."""


def report_facts(lake: Lake, ds: date, store_url: str, currency: str = "") -> ReportFacts:
    """Collect the facts of one night; `currency` stands before amounts.

    Raises:
        MissingPartitionError: that day has no shelves, or its features are gone.
    """
    run_id = str(lake.manifest(TOP_N, ds).parameters.get("run_id", ""))
    first_shard = lake.shard(
        TOP_N, ds, 0, ["variant", "user_id", "rank", "item_id", "score", "source", "reason_code"]
    )
    shelves = first_shard.filter(pc.equal(first_shard["variant"], "base"))
    top = shelves.filter(pc.less_equal(shelves["rank"], K))["source"]
    count = {row["values"]: row["counts"] for row in pc.value_counts(top).to_pylist()}
    outcomes = ShelfOutcomes.read(lake, ds)
    judged = ExperimentOutcomes.read(lake, ds)
    return ReportFacts(
        ds=ds,
        currency=currency,
        standing=standing(store_url, ds),
        outcomes=outcomes,
        sums=outcome_sums(lake, ds, outcomes) if outcomes else [],
        shown=products(lake, ds, [item.item_id for item in outcomes.most_shown]) if outcomes else {},
        holdout=Holdout.read(lake, ds),
        published=Published.read(lake, ds),
        ranker=_ranker(lake, ds),
        landed=remarks_of(lake, ds),
        lacks=what_is_missing(lake, ds),
        nights=_nights(lake, ds),
        shelves=_examples(lake, ds, shelves, currency),
        rows=landed_rows(lake, ds),
        checks=_checks(lake, ds, run_id[:12]),
        stages=_stages(lake, ds),
        experiments=judged.experiments if judged else {},
        shelves_a_shopper=_shelves_a_shopper(first_shard),
        earlier=next((day for day in days_reported(lake) if day < ds), None),
        source_share={name: count[name] / len(top) for name in sorted(count, key=lambda name: -count[name])},
    )


def days_reported(lake: Lake) -> Iterator[date]:
    """Yield the days that have a report, newest first; each is looked at only when it is asked for."""
    days = (date.fromisoformat(name[3:]) for name in lake.names("runs") if name.startswith("ds="))
    for day in sorted(days, reverse=True):
        if "report.html" in lake.names(f"runs/ds={day}"):
            yield day


def _shelves_a_shopper(shard: pa.Table) -> float | None:
    """Return how many shelves a shopper has on average; None where all shelves are of no arm."""
    if pc.all(pc.equal(shard["variant"], "base")).as_py() is not False:
        return None
    firsts = shard.filter(pc.equal(shard["rank"], 1))
    return len(firsts) / float(pc.count_distinct(firsts["user_id"]).as_py())


def _ranker(lake: Lake, ds: date) -> RankerMetrics | None:
    """Return the metrics of the night's ranker; None if there is none or an earlier version wrote other fields."""
    manifest = lake.find_manifest(RANKER, ds)
    try:
        metrics = msgspec.convert(manifest.metrics, RankerMetrics) if manifest else None
    except msgspec.ValidationError:
        return None
    return metrics if metrics and metrics.orders_by else None


def trained_on(ranker: RankerMetrics) -> str:
    """Return the training windows of the ranker's heads in words; empty without heads."""
    days = next((head.as_of for head in ranker.heads.values()), [])
    if len(days) > 1:
        return f"{len(days)} windows, as of {max(days)} (newest) back to {min(days)}"
    return f"one window, as of {days[0]}" if days else ""


def _nights(lake: Lake, ds: date) -> list[NightNdcg]:
    """Return the last NIGHTS nights up to `ds`, each with the evaluations that it has."""
    nights = []
    for day in [day for day in lake.days(TOP_N) if day <= ds][-NIGHTS:]:
        holdout, published = Holdout.read(lake, day), Published.read(lake, day)
        nights.append(
            NightNdcg(
                ds=day,
                holdout=_ndcg(holdout.metrics) if holdout else None,
                holdout_best=_best(holdout.baselines) if holdout else None,
                published=_ndcg(published.metrics) if published else None,
                published_best=_best(published.baselines) if published else None,
            )
        )
    return nights


def _best(baselines: Mapping[str, KindMetrics]) -> Metrics | None:
    ndcgs = [_ndcg(metrics) for metrics in baselines.values()]
    return {kind: max(ndcg[kind] for ndcg in ndcgs) for kind in KINDS} if ndcgs else None


def _ndcg(metrics: KindMetrics) -> Metrics:
    return {kind: metrics[kind][METRIC] for kind in KINDS}


def _checks(lake: Lake, ds: date, run: str) -> ValidationReport | None:
    """Return the results of a run's checks; None if it made none, or an earlier version wrote other fields."""
    try:
        return msgspec.convert(lake.get_json(report_path(ds, run)), ValidationReport | None)
    except msgspec.ValidationError:
        return None


def _stages(lake: Lake, ds: date) -> list[StageTime]:
    """Return what each stage took; the report itself is not over yet."""
    before = {run.stage: run.wall_s for run in stage_runs(lake, ds - timedelta(days=1))}
    return [StageTime(run, before.get(run.stage)) for run in stage_runs(lake, ds) if run.stage != "report"]


def _examples(lake: Lake, ds: date, shelves: pa.Table, currency: str) -> list[ExampleShelf]:
    """Return the shelves of three shoppers of the first shard: with many events, a median number, and the fewest.

    User ids are left out, because a report may outlast an erasure and is passed around.
    """
    users = lake.shard(USER, ds, 0, ["user_id", "event_count_total", "purchase_count_total"])
    users = users.filter(pc.is_in(users["user_id"], value_set=pc.unique(shelves["user_id"])))
    users = users.sort_by([("event_count_total", "descending"), ("user_id", "ascending")])
    if not len(users):
        return []
    places: dict[str, list[dict[str, Any]]] = {}
    for name, share in (("A regular", 0.02), ("A median shopper", 0.5), ("Hardly known", 1.0)):
        user = users.slice(int(share * (len(users) - 1)), 1).to_pylist()[0]
        activity = f"events: {user['event_count_total']:,}, purchases: {user['purchase_count_total']:,}"
        rows = shelves.filter(pc.equal(shelves["user_id"], user["user_id"])).sort_by("rank").slice(0, SHOWN_PLACES)
        places[f"{name} ({activity})"] = rows.to_pylist()
    known = products(lake, ds, {row["item_id"] for rows in places.values() for row in rows})
    return [
        ExampleShelf(heading, [_example_row(row, known[row["item_id"]], currency) for row in rows])
        for heading, rows in places.items()
    ]


def _example_row(place: Mapping[str, Any], product: Product, currency: str) -> ExampleRow:
    return ExampleRow(
        rank=place["rank"],
        title=product.title,
        category=product.category,
        price=money(product.price_minor, currency),
        score=place["score"],
        source=place["source"],
        reason=place["reason_code"],
        image_url=product.image_url,
    )


def worst_gap(head: Reliability) -> float:
    """Return the largest factor between predicted and actual shares over bins with ENOUGH_EVENTS; 1 without bins."""
    gaps = [
        abs(np.log(row.predicted / row.happened))
        for row in head.bins
        if row.happened * row.examples >= ENOUGH_EVENTS and row.predicted > 0
    ]
    return float(np.exp(max(gaps, default=0.0)))
