"""Count events: which of a shop's staged events count, and for what; the same for features as for labels.

>>> counted_events(engine, interactions, date(2026, 1, 31))

`sql/features/judged_events.sql` tells the rules: what returns take back, and how much one shopper can weigh.
`sql/features/counted_events.sql` tells which ratings are no liking.
"""

from dataclasses import dataclass
from datetime import date

from jobs.spark.engine import Engine, Rows

ITEM_LIMIT = 10
"""Of one shopper's events of one kind with one item on one day, so many count."""
SHOPPER_LIMIT = 2_000
"""Of one shopper's events on one day, about so many count: large orders of wholesalers have a thousand lines."""
BEFORE_ALL = date(1000, 1, 1)  # Spark takes no day of a year of fewer digits
_EVENT = (
    "user_id, session_id, item_id, region, ts, event_type, days_ago, is_event, quantity_milli, unit_price_minor, "
    "rating_milli, dwell_seconds"
)
"""The columns of sql/features/visible_events.sql."""


@dataclass(frozen=True)
class Settled:
    """Rows of features/settled_events, and the day that they are of."""

    day: date
    rows: Rows


def counted_events(
    engine: Engine, interactions: Rows, ds: date, after: date = BEFORE_ALL, settled: Settled | None = None
) -> Rows:
    """Return the events after `after` that count as of `ds`, with the columns of sql/features/counted_events.sql.

    `interactions` is staging/interactions up to `ds` or later; where `settled` is given, of the days after it alone.
    Days up to `after` still tell the scale of ratings.
    """
    visible = engine.query("features/visible_events", {"interactions": interactions}, {"ds": ds})
    known, judged = _judged(engine, visible, ds, after, settled)
    scale = engine.query("features/rating_scale", {"visible_events": known}, {})
    return engine.query("features/counted_events", {"judged_events": judged, "rating_scale": scale}, {})


def judged_events(engine: Engine, interactions: Rows, ds: date, settled: Settled | None = None) -> Rows:
    """Return all events as of `ds`, of the same arguments, with the columns of sql/features/judged_events.sql."""
    visible = engine.query("features/visible_events", {"interactions": interactions}, {"ds": ds})
    return _judged(engine, visible, ds, BEFORE_ALL, settled)[1]


def _judged(engine: Engine, visible: Rows, ds: date, after: date, settled: Settled | None) -> tuple[Rows, Rows]:
    """Return all visible events, and those after `after` as they are judged."""
    if settled is None:
        return visible, _judge(engine, visible, ds, after)
    visible = engine.keep(visible)
    views = {"settled_events": settled.rows, "visible_events": visible}
    earlier = engine.query("features/earlier_events", views, {"ds": ds, "settled": settled.day})
    reopened = f"SELECT {_EVENT} FROM visible UNION ALL SELECT {_EVENT} FROM earlier WHERE is_reopened"
    again = _judge(engine, engine.select(reopened, {"visible": visible, "earlier": earlier}), ds, after)
    columns = f"{_EVENT}, taken_milli, counts"
    both = (
        f"SELECT {columns} FROM again UNION ALL "
        f"SELECT {columns} FROM earlier WHERE NOT is_reopened AND days_ago < {(ds - after).days}"
    )
    known = f"SELECT {_EVENT} FROM visible UNION ALL SELECT {_EVENT} FROM earlier"
    return (
        engine.select(known, {"visible": visible, "earlier": earlier}),
        engine.select(both, {"again": again, "earlier": earlier}),
    )


def _judge(engine: Engine, visible: Rows, ds: date, after: date) -> Rows:
    crowded = engine.query("features/crowded_days", {"visible_events": visible}, {"shopper_limit": SHOPPER_LIMIT})
    return engine.query(
        "features/judged_events",
        {"visible_events": visible, "crowded_days": crowded},
        {"ds": ds, "after": after, "item_limit": ITEM_LIMIT, "shopper_limit": SHOPPER_LIMIT},
    )
