"""Lay current trends over the live snapshot: the popularity of the last 24 hours, from events that have landed.

    topshelf trending --landing data/landing --store lmdb://data/store

No shelf is rewritten: the trending shelf goes into the overlay of the live snapshot. A shopper, or an anonymous
visit, counts once for an item, by their heaviest event, and for SHOPPER_LIMIT items at most, so that nobody makes a
trend alone. As at night, what was returned, a low rating and a row of nobody's do not count.
"""

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.settings import Settings
from jobs.features.ratings import low_ratings
from jobs.intraday.overlay import write_overlay
from jobs.landing.recent import recent_rows
from jobs.numeric.arrays import coded, rank_in_group
from serving.snapshot.overlay import MAX_TRENDING
from serving.stores import open_store

WINDOW = timedelta(hours=24)
COLUMNS = ("user_id", "session_id", "item_id", "event_type", "ts", "value", "quantity")
SHOPPER_LIMIT = 1_000
"""Of one shopper, the items of so many count: the heaviest, then in byte order."""


def trending(events: pa.Table, weight_milli: Mapping[str, int], now: datetime) -> list[tuple[str, float]]:
    """Return (item, score) for the WINDOW ending at `now`, highest score first, at most MAX_TRENDING.

    `events` has COLUMNS as text. The score is the sum over shoppers of the weight of their heaviest event on the
    item; a view weighs 1. Ties are in byte order of the item id. All ratings of `events` tell the scale.
    """
    weights = {event_type: weight for event_type, weight in weight_milli.items() if weight > 0}
    kinds = sorted(weights)
    at = pc.cast(events["ts"], pa.timestamp("us", "UTC"))
    within = pc.and_(pc.greater(at, pa.scalar(now - WINDOW, at.type)), pc.less_equal(at, pa.scalar(now, at.type)))
    is_liking = pa.array(~low_ratings(events["event_type"], _numbers(events["value"])))
    rows = events.filter(pc.and_(pc.and_(within, is_liking), pc.is_in(events["event_type"], pa.array(kinds))))
    visit = pc.binary_join_element_wise(pa.scalar("visit"), rows["session_id"], " ")
    shopper = pc.coalesce(pc.binary_join_element_wise(pa.scalar("user"), rows["user_id"], " "), visit)
    weight = pa.array([weights[kind] for kind in kinds], pa.int64())
    acts = pa.table(
        {
            "shopper": shopper,
            "item_id": rows["item_id"],
            "event_type": rows["event_type"],
            "weight": weight.take(pc.index_in(rows["event_type"], pa.array(kinds))),
            "pieces": pc.fill_null(_numbers(rows["quantity"]), 1.0),
        }
    ).filter(pc.is_valid(shopper))
    by_kind = acts.group_by(["shopper", "item_id", "event_type"]).aggregate([("weight", "max"), ("pieces", "sum")])
    is_undone = pc.and_(
        pc.is_in(by_kind["event_type"], pa.array(["purchase", "add_to_cart"])),
        pc.less_equal(by_kind["pieces_sum"], 0.0),
    )
    heaviest = (
        by_kind.filter(pc.invert(is_undone)).group_by(["shopper", "item_id"]).aggregate([("weight_max", "max")])
    )
    total = _within_limit(heaviest).group_by("item_id").aggregate([("weight_max_max", "sum")])
    order = total.sort_by([("weight_max_max_sum", "descending"), ("item_id", "ascending")]).slice(0, MAX_TRENDING)
    return [(row["item_id"], row["weight_max_max_sum"] / 1000) for row in order.to_pylist()]


def _within_limit(pairs: pa.Table) -> pa.Table:
    """Return at most SHOPPER_LIMIT pairs of each shopper, the heaviest first, then in byte order of the item."""
    order = [("shopper", "ascending"), ("weight_max_max", "descending"), ("item_id", "ascending")]
    ordered = pairs.sort_by(order)
    _, shopper = coded(ordered["shopper"])
    return ordered.filter(pa.array(rank_in_group(shopper) < SHOPPER_LIMIT))


def _numbers(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text as numbers, null where it is none."""
    numbers = pd.to_numeric(text.to_pandas(), errors="coerce")
    return pa.chunked_array([pa.array(numbers, pa.float64(), from_pandas=True)])


def refresh(settings: Settings, weight_milli: Mapping[str, int], now: datetime) -> str:
    """Write the overlay and return a sentence about what it holds. Raises StoreError."""
    with closing(open_store(settings.store)) as store:
        base = store.pointer().live
    if base is None:
        return f"nothing is live in {settings.store} yet, so there is nothing to lay trends over"
    days = sorted({(now - WINDOW).date(), now.date()})
    events, passed_over = recent_rows(settings.landing, "events", days, COLUMNS)
    items = trending(events, weight_milli, now)
    skipped = "".join(f"; passed over {file}" for file in passed_over)
    if not items:
        return f"no event of the last 24 hours has landed; the trends of {base} stay{skipped}"
    overlay = write_overlay(settings.store, base, trending=items)
    return f"{overlay}: {len(items)} items trend, {items[0][0]} most{skipped}"
