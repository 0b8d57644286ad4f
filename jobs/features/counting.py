"""Count events: which of a shop's staged events count, and for what; the same for features as for labels.

>>> counted_events(engine, interactions, date(2026, 1, 31))

`sql/features/counted_events.sql` tells the rules: what returns take back, which ratings are no liking, and how much
one shopper can weigh.
"""

from datetime import date

from jobs.spark.engine import Engine, Rows

ITEM_LIMIT = 10
"""Of one shopper's events of one kind with one item on one day, so many count."""
SHOPPER_LIMIT = 2_000
"""Of one shopper's events on one day, about so many count: large orders of wholesalers have a thousand lines."""
BEFORE_ALL = date(1000, 1, 1)  # Spark takes no day of a year of fewer digits


def counted_events(engine: Engine, interactions: Rows, ds: date, after: date = BEFORE_ALL) -> Rows:
    """Return the events after `after` that count as of `ds`, with the columns of sql/features/counted_events.sql.

    `interactions` is staging/interactions up to `ds` or later. Days up to `after` still tell the scale of ratings.
    """
    visible = engine.query("features/visible_events", {"interactions": interactions}, {"ds": ds})
    scale = engine.query("features/rating_scale", {"visible_events": visible}, {})
    crowded = engine.query("features/crowded_days", {"visible_events": visible}, {"shopper_limit": SHOPPER_LIMIT})
    return engine.query(
        "features/counted_events",
        {"visible_events": visible, "rating_scale": scale, "crowded_days": crowded},
        {"ds": ds, "after": after, "item_limit": ITEM_LIMIT, "shopper_limit": SHOPPER_LIMIT},
    )
