"""Lay what trends now over the live snapshot: popularity of the last 24 hours, from the events that were received.

    topshelf trending --landing data/landing --store lmdb://data/store

Rewrites no shelf: the trending shelf goes into the overlay of the live snapshot. A shopper counts once for an item,
by the strongest thing they did, so that nobody makes a trend alone.
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
    """Return (item, score) of the WINDOW ending at `now`, the most trending first, at most MAX_TRENDING.

    `events` has COLUMNS as text. The score sums each shopper's heaviest event on the item, in views. Equal scores
    stand in byte order of the item's id.
    """
    kinds = {kind: weight for kind, weight in weight_milli.items() if weight > 0}
    at = pc.cast(events["ts"], pa.timestamp("us", "UTC"))
    within = pc.and_(pc.greater(at, pa.scalar(now - WINDOW, at.type)), pc.less_equal(at, pa.scalar(now, at.type)))
    rows = events.filter(pc.and_(within, pc.is_in(events["event_type"], pa.array(sorted(kinds)))))
    place = pc.index_in(rows["event_type"], pa.array(sorted(kinds)))
    counted = pa.table(
        {
            "shopper": pc.coalesce(rows["user_id"], rows["session_id"], rows["event_id"]),
            "item_id": rows["item_id"],
            "weight": pa.array([kinds[kind] for kind in sorted(kinds)], pa.int64()).take(place),
        }
    )
    each = counted.group_by(["shopper", "item_id"]).aggregate([("weight", "max")])
    total = each.group_by("item_id").aggregate([("weight_max", "sum")])
    order = total.sort_by([("weight_max_sum", "descending"), ("item_id", "ascending")]).slice(0, MAX_TRENDING)
    return [(row["item_id"], row["weight_max_sum"] / 1000) for row in order.to_pylist()]


def refresh(settings: Settings, weight_milli: Mapping[str, int], now: datetime) -> str:
    """Write the overlay and return a sentence that says what it holds. Raises StoreError."""
    with closing(open_store(settings.store)) as store:
        base = store.pointer().live
    if base is None:
        return f"nothing is live in {settings.store} yet, so there is nothing to lay trends over"
    days = sorted({(now - WINDOW).date(), now.date()})
    events, passed_over = recent_rows(settings.landing, "events", days, COLUMNS)
    found = trending(events, weight_milli, now)
    told = "".join(f"; passed over {file}" for file in passed_over)
    if not found:
        return f"no event of the last 24 hours has landed; the trends of {base} stay{told}"
    overlay = write_overlay(settings.store, base, trending=found)
    return f"{overlay}: {len(found)} items trend, {found[0][0]} most{told}"
