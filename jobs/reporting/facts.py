"""Collect what a night's report shows: evaluations over nights, the published snapshot's gates, example shelves.

All of it is read from the lake, and the gates from the store. What is missing is left out.
"""

from contextlib import closing
from dataclasses import dataclass, field
from datetime import date

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.evaluations import KINDS, Holdout, KindMetrics, Metrics, Published, Reliability
from jobs.lake.lake import Lake
from jobs.lake.tables import ITEM, RANKER, TOP_N, USER
from jobs.numeric.list_metrics import K
from jobs.ranking.ranker_metrics import RankerMetrics
from serving.snapshot.manifest import SnapshotManifest
from serving.stores import open_store

NIGHTS = 60
"""How many nights back the plots go."""
SHOWN_PLACES = 10
"""How many places of an example shelf are shown."""
ENOUGH_EVENTS = 20
"""Bins with fewer events are too noisy to be compared."""
METRIC = f"ndcg@{K}"


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


@dataclass(frozen=True)
class ExampleShelf:
    """A shopper's shelf as a person reads it."""

    heading: str
    rows: list[ExampleRow]


@dataclass(frozen=True)
class NightNdcg:
    """NDCG by kind of one night; None where the night has no such evaluation."""

    ds: date
    holdout: Metrics | None = None
    holdout_popular: Metrics | None = None
    published: Metrics | None = None
    published_best: Metrics | None = None
    """The highest of the baselines, for each kind."""


@dataclass(frozen=True)
class ReportFacts:
    """What the report of one night shows; a part is None or empty if there is nothing to show."""

    ds: date
    snapshot: SnapshotManifest | None = None
    live: bool = False
    holdout: Holdout | None = None
    published: Published | None = None
    ranker: RankerMetrics | None = None
    nights: list[NightNdcg] = field(default_factory=list)
    shelves: list[ExampleShelf] = field(default_factory=list)
    source_share: dict[str, float] = field(default_factory=dict)
    """Each source's share of the first K places of the night's shelves, in one user shard."""


def report_facts(lake: Lake, ds: date, store_url: str) -> ReportFacts:
    """Collect the facts of one night.

    Raises:
        MissingPartitionError: that day has no shelves.
    """
    lake.manifest(TOP_N, ds)
    snapshot, live = _snapshot(store_url, ds)
    first_shard = lake.shard(
        TOP_N, ds, 0, ["variant", "user_id", "rank", "item_id", "score", "source", "reason_code"]
    )
    shelves = first_shard.filter(pc.equal(first_shard["variant"], "base"))
    top = shelves.filter(pc.less_equal(shelves["rank"], K))["source"]
    count = {row["values"]: row["counts"] for row in pc.value_counts(top).to_pylist()}
    return ReportFacts(
        ds=ds,
        snapshot=snapshot,
        live=live,
        holdout=Holdout.read(lake, ds),
        published=Published.read(lake, ds),
        ranker=_ranker(lake, ds),
        nights=_nights(lake, ds),
        shelves=_examples(lake, ds, shelves),
        source_share={name: count[name] / len(top) for name in sorted(count, key=lambda name: -count[name])},
    )


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


def _snapshot(store_url: str, ds: date) -> tuple[SnapshotManifest | None, bool]:
    """Return the day's newest snapshot in the store, if it is still there, and whether it is live."""
    with closing(open_store(store_url)) as store:
        snapshots = [manifest for manifest in store.versions() if manifest.day == str(ds)]
        newest = max(snapshots, key=lambda manifest: (manifest.published_at, manifest.version), default=None)
        return newest, newest is not None and store.pointer().live == newest.version


def _nights(lake: Lake, ds: date) -> list[NightNdcg]:
    """Return the last NIGHTS nights up to `ds`, each with the evaluations that it has."""
    nights = []
    for day in [day for day in lake.days(TOP_N) if day <= ds][-NIGHTS:]:
        holdout, published = Holdout.read(lake, day), Published.read(lake, day)
        baselines = [_ndcg(metrics) for metrics in published.baselines.values()] if published else []
        nights.append(
            NightNdcg(
                ds=day,
                holdout=_ndcg(holdout.metrics) if holdout else None,
                holdout_popular=_ndcg(holdout.baselines["popular"]) if holdout else None,
                published=_ndcg(published.metrics) if published else None,
                published_best={kind: max(ndcg[kind] for ndcg in baselines) for kind in KINDS} if baselines else None,
            )
        )
    return nights


def _ndcg(metrics: KindMetrics) -> Metrics:
    return {kind: metrics[kind][METRIC] for kind in KINDS}


def _examples(lake: Lake, ds: date, shelves: pa.Table) -> list[ExampleShelf]:
    """Return the shelves of three shoppers of the first shard: with many events, a median number, and the fewest.

    User ids are left out, because a report may outlast an erasure and is passed around.
    """
    users = lake.shard(USER, ds, 0, ["user_id", "event_count_total", "purchase_count_total"])
    users = users.filter(pc.is_in(users["user_id"], value_set=pc.unique(shelves["user_id"])))
    users = users.sort_by([("event_count_total", "descending"), ("user_id", "ascending")])
    if not len(users):
        return []
    items = lake.arrow(ITEM, ds, ["item_id", "title", "category", "price_minor"])
    examples = []
    for name, share in (("A regular", 0.02), ("A median shopper", 0.5), ("Hardly known", 1.0)):
        user = users.slice(int(share * (len(users) - 1)), 1).to_pylist()[0]
        activity = f"events: {user['event_count_total']:,}, purchases: {user['purchase_count_total']:,}"
        rows = shelves.filter(pc.equal(shelves["user_id"], user["user_id"])).sort_by("rank").slice(0, SHOWN_PLACES)
        examples.append(ExampleShelf(f"{name} ({activity})", _with_titles(rows, items)))
    return examples


def _with_titles(rows: pa.Table, items: pa.Table) -> list[ExampleRow]:
    position = pc.index_in(rows["item_id"], value_set=items["item_id"].combine_chunks())
    shelf_items = items.take(position).to_pylist()
    return [
        ExampleRow(
            rank=row["rank"],
            title=item["title"] or row["item_id"],
            category=item["category"] or "",
            price="" if item["price_minor"] is None else f"{item['price_minor'] / 100:,.2f}",
            score=row["score"],
            source=row["source"],
            reason=row["reason_code"],
        )
        for row, item in zip(rows.to_pylist(), shelf_items, strict=True)
    ]


def worst_gap(head: Reliability) -> float:
    """Return the largest factor between predicted and actual shares over bins with ENOUGH_EVENTS; 1 without bins."""
    gaps = [
        abs(np.log(row.predicted / row.happened))
        for row in head.bins
        if row.happened * row.examples >= ENOUGH_EVENTS and row.predicted > 0
    ]
    return float(np.exp(max(gaps, default=0.0)))
