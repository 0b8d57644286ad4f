"""Lay current trends over the live snapshot: the popularity of the last 24 hours, from events that have landed.

    topshelf trending --landing data/landing --store lmdb://data/store

No shelf is rewritten: the trending shelf goes into the overlay of the live snapshot. A shopper counts once for an
item, by their heaviest event, so that nobody makes a trend alone.
"""

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.settings import Settings
from jobs.intraday.overlay import write_overlay
from jobs.landing.recent import recent_rows
from serving.snapshot.overlay import MAX_TRENDING
from serving.stores import open_store

WINDOW = timedelta(hours=24)
COLUMNS = ("event_id", "user_id", "session_id", "item_id", "event_type", "ts")


def trending(events: pa.Table, weight_milli: Mapping[str, int], now: datetime) -> list[tuple[str, float]]:
    """Return (item, score) for the WINDOW ending at `now`, highest score first, at most MAX_TRENDING.

    `events` has COLUMNS as text. The score is the sum over shoppers of the weight of their heaviest event on the
    item; a view weighs 1. Ties are in byte order of the item id.
    """
    weights = {event_type: weight for event_type, weight in weight_milli.items() if weight > 0}
    at = pc.cast(events["ts"], pa.timestamp("us", "UTC"))
    within = pc.and_(pc.greater(at, pa.scalar(now - WINDOW, at.type)), pc.less_equal(at, pa.scalar(now, at.type)))
    rows = events.filter(pc.and_(within, pc.is_in(events["event_type"], pa.array(sorted(weights)))))
    place = pc.index_in(rows["event_type"], pa.array(sorted(weights)))
    counted = pa.table(
        {
            "shopper": pc.coalesce(rows["user_id"], rows["session_id"], rows["event_id"]),
            "item_id": rows["item_id"],
            "weight": pa.array([weights[event_type] for event_type in sorted(weights)], pa.int64()).take(place),
        }
    )
    by_shopper = counted.group_by(["shopper", "item_id"]).aggregate([("weight", "max")])
    total = by_shopper.group_by("item_id").aggregate([("weight_max", "sum")])
    order = total.sort_by([("weight_max_sum", "descending"), ("item_id", "ascending")]).slice(0, MAX_TRENDING)
    return [(row["item_id"], row["weight_max_sum"] / 1000) for row in order.to_pylist()]


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
