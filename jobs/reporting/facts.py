"""Collect what a night's report tells: evaluations over nights, the published snapshot's gates, example shelves.

All of it lies in the lake, and the gates in the store; what is not there is left out.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.evaluation.evaluate import evaluation_path
from jobs.lake.lake import Lake
from jobs.lake.tables import RANKER, TOP_N
from jobs.numeric.list_metrics import K
from jobs.training.holdout import holdout_path
from serving.snapshot.manifest import SnapshotManifest
from serving.stores import open_store

NIGHTS = 60
"""How many nights back the plots go."""
PLACES = 10
"""Of an example shelf, the places that are shown."""
METRIC = f"ndcg@{K}"


@dataclass(frozen=True)
class ExampleShelf:
    """A shopper's shelf as a person reads it."""

    heading: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class ReportFacts:
    """What the report of one night tells; an empty part was not to be had."""

    ds: date
    snapshot: SnapshotManifest | None = None
    live: bool = False
    holdout: dict[str, Any] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)
    ranker: dict[str, Any] = field(default_factory=dict)
    """What the ranker says of itself: its value's formula, its heads, those left out and why."""
    diversity: dict[str, Any] = field(default_factory=dict)
    nights: list[dict[str, Any]] = field(default_factory=list)
    shelves: list[ExampleShelf] = field(default_factory=list)
    source_share: dict[str, float] = field(default_factory=dict)
    """Each source's share of the first K places of the shelves themselves, of one user shard."""


def report_facts(lake: Lake, ds: date, store_url: str) -> ReportFacts:
    """Collect the facts of one night.

    Raises:
        MissingPartitionError: that day has no shelves.
    """
    lake.manifest(TOP_N, ds)
    snapshot, live = _snapshot(store_url, ds)
    holdout: dict[str, Any] = lake.get_json(holdout_path(ds)) or {}
    first = lake.shard(TOP_N, ds, 0, ["variant", "user_id", "rank", "item_id", "score", "source", "reason_code"])
    first = first.filter(pc.equal(first["variant"], "base"))
    top = first.filter(pc.less_equal(first["rank"], K))["source"]
    counted = {row["values"]: row["counts"] for row in pc.value_counts(top).to_pylist()}
    return ReportFacts(
        ds=ds,
        snapshot=snapshot,
        live=live,
        holdout=holdout,
        published=lake.get_json(evaluation_path(ds)) or {},
        ranker=_ranker(lake, ds),
        diversity=holdout.get("diversity", {}),
        nights=_nights(lake, ds),
        shelves=_examples(lake, ds, first),
        source_share={name: counted[name] / len(top) for name in sorted(counted, key=lambda name: -counted[name])},
    )


def _ranker(lake: Lake, ds: date) -> dict[str, Any]:
    """Return what the night's ranker tells; nothing of one that an earlier version wrote."""
    found = lake.find_manifest(RANKER, ds)
    told = found.metrics if found is not None else {}
    return told if {"value", "heads", "left_out", "calibrated_on"} <= set(told) else {}


def _snapshot(store_url: str, ds: date) -> tuple[SnapshotManifest | None, bool]:
    """Return the day's newest snapshot in the store, if it is still there, and whether it is live."""
    with closing(open_store(store_url)) as store:
        of_day = [manifest for manifest in store.versions() if manifest.day == str(ds)]
        newest = max(of_day, key=lambda manifest: (manifest.published_at, manifest.version), default=None)
        return newest, newest is not None and store.pointer().live == newest.version


def _nights(lake: Lake, ds: date) -> list[dict[str, Any]]:
    """Return the last NIGHTS nights up to `ds` with NDCG by kind, as far as each was evaluated."""
    nights = []
    for day in [day for day in lake.days(TOP_N) if day <= ds][-NIGHTS:]:
        night: dict[str, Any] = {"ds": str(day)}
        if held := lake.get_json(holdout_path(day)):
            night["holdout"] = _ndcg(held["metrics"])
            night["holdout_popular"] = _ndcg(held["baselines"]["popular"])
            night["holdout_users"] = held["n_users"]["all"]
        if said := lake.get_json(evaluation_path(day)):
            night["published"] = _ndcg(said["metrics"])
            others = [_ndcg(metrics) for metrics in said["baselines"].values()]
            night["published_best"] = {kind: max(of[kind] for of in others) for kind in ("all", "new")}
            night["published_users"] = said["n_users"]["all"]
        nights.append(night)
    return nights


def _ndcg(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {kind: metrics[kind][METRIC] for kind in ("all", "new")}


def _examples(lake: Lake, ds: date, shelves: pa.Table) -> list[ExampleShelf]:
    """Return the shelves of a heavy, a middling and a new shopper of the first shard, by their number of events.

    Without their ids: a report may outlast an erasure, and is passed around.
    """
    users = lake.shard("features/user", ds, 0, ["user_id", "event_count_total", "purchase_count_total"])
    users = users.filter(pc.is_in(users["user_id"], value_set=pc.unique(shelves["user_id"])))
    users = users.sort_by([("event_count_total", "descending"), ("user_id", "ascending")])
    if not len(users):
        return []
    items = lake.arrow("features/item", ds, ["item_id", "title", "category", "price_minor"])
    shown = []
    for name, share in (("A regular", 0.02), ("Somebody in the middle", 0.5), ("Hardly known", 1.0)):
        user = users.slice(int(share * (len(users) - 1)), 1).to_pylist()[0]
        told = f"{user['event_count_total']:,} events, {user['purchase_count_total']:,} purchases"
        rows = shelves.filter(pc.equal(shelves["user_id"], user["user_id"])).sort_by("rank").slice(0, PLACES)
        shown.append(ExampleShelf(f"{name}: {told}", _with_titles(rows, items)))
    return shown


def _with_titles(rows: pa.Table, items: pa.Table) -> list[dict[str, Any]]:
    at = pc.index_in(rows["item_id"], value_set=items["item_id"].combine_chunks())
    known = items.take(at).to_pylist()
    return [
        {
            "rank": row["rank"],
            "title": item["title"] or row["item_id"],
            "category": item["category"] or "",
            "price": "" if item["price_minor"] is None else f"{item['price_minor'] / 100:,.2f}",
            "score": row["score"],
            "source": row["source"],
            "reason": row["reason_code"],
        }
        for row, item in zip(rows.to_pylist(), known, strict=True)
    ]


def worst_gap(head: Mapping[str, Any]) -> float:
    """Return the largest factor between what a head predicted and what happened, over bins with 20 events or more."""
    bins = [row for row in head["bins"] if row["happened"] * row["examples"] >= 20]
    gaps = [abs(np.log(row["predicted"] / row["happened"])) for row in bins if row["predicted"] > 0]
    return float(np.exp(max(gaps, default=0.0)))
