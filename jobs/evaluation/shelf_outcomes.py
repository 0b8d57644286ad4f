"""Build `marts/evaluation/ds=<day>/shelf_outcomes.json`: what shoppers did on the day with what shelves showed them.

    topshelf stage shelf_outcomes --ds 2026-01-31

Counts alone, without any shopper's id. They say what followed, not what the shelves caused.
"""

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from jobs.features.exposure_outcomes import FOLLOW_MINUTES, PLACES
from jobs.lake.evaluations import ItemOutcome, PageOutcome, ShelfOutcomes
from jobs.lake.lake import Lake
from jobs.lake.tables import EXPOSURES, INTERACTIONS
from jobs.spark.engine import engine_for

MOST_SHOWN = 10


def shelf_outcomes(rows: pa.Table) -> ShelfOutcomes:
    """Return the record of a day from the rows of `sql/marts/shelf_outcomes.sql`: totals, items, pages."""
    of_none = rows.filter(pc.is_null(rows["item_id"]))
    of_all = of_none.filter(pc.is_null(of_none["shelf"])).to_pylist()[0]
    of_items = rows.filter(pc.is_valid(rows["item_id"]))
    first = of_items.sort_by([("exposure_count", "descending"), ("item_id", "ascending")]).slice(0, MOST_SHOWN)
    return ShelfOutcomes(
        places=PLACES,
        follow_minutes=FOLLOW_MINUTES,
        requests=of_all["request_count"],
        users=of_all["user_count"],
        exposures=of_all["exposure_count"],
        clicks=of_all["click_count"],
        orders=of_all["order_count"],
        orders_without_price=of_all["unpriced_order_count"],
        revenue_minor=of_all["revenue_minor"],
        shop_orders=of_all["shop_order_count"],
        shop_revenue_minor=of_all["shop_revenue_minor"],
        most_shown=[
            ItemOutcome(
                item_id=row["item_id"],
                exposures=row["exposure_count"],
                clicks=row["click_count"],
                orders=row["order_count"],
                revenue_minor=row["revenue_minor"],
            )
            for row in first.to_pylist()
        ],
        of_pages=_of_pages(of_none.filter(pc.is_valid(of_none["shelf"]))),
    )


def _of_pages(rows: pa.Table) -> list[PageOutcome]:
    outcomes = [
        PageOutcome(
            page=row["page"] or "",
            shelf=row["shelf"],
            row=-1 if row["row"] is None else row["row"],
            exposures=row["exposure_count"],
            clicks=row["click_count"],
            orders=row["order_count"],
            revenue_minor=row["revenue_minor"],
        )
        for row in rows.to_pylist()
    ]
    return sorted(outcomes, key=lambda outcome: (outcome.page, outcome.row, outcome.shelf))


def build(lake: Lake, ds: date) -> ShelfOutcomes:
    """Count the day's outcomes from staging, write the record and return it.

    Raises:
        MissingPartitionError: the day was not ingested.
    """
    limits = {"places": PLACES, "follow_minutes": FOLLOW_MINUTES}
    with engine_for(lake.manifest(EXPOSURES, ds).row_count or 0) as engine:
        views = {table.split("/")[1]: engine.stored(lake, table, [ds]) for table in (EXPOSURES, INTERACTIONS)}
        record = shelf_outcomes(engine.arrow(engine.query("marts/shelf_outcomes", views, {"ds": ds, **limits})))
    record.write(lake, ds)
    return record
