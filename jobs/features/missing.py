"""Say in one line what a shop lacks as of a day, what its shoppers get instead, and what to land.

>>> what_is_missing(lake, date(2026, 1, 31))
'no shopper is known by a user_id: guests get popular products and neighbours; land events with a user_id'
"""

from datetime import date

import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.lake.tables import ITEM, ITEMS, USER

NO_PRODUCT = "there is no product, or all are deleted: answers hold none; land items"
NO_STOCK = "no product is in stock: answers hold none until one is; land items with stock, or feed it live"
NO_CATALOGUE = "no items have landed: products have no title, category, price or stock; land items"
NO_EVENT = "nobody has done anything yet, impressions aside: everybody gets the newest products; land events"
NO_SHOPPER = (
    "no shopper is known by a user_id: guests get popular products and neighbours; land events with a user_id"
)


def what_is_missing(lake: Lake, ds: date) -> str:
    """Return what the shop lacks, from the day's features; empty where it has products, stock, events and shoppers.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    items = lake.arrow(ITEM, ds, ["stock", "days_since_last_event"])
    if not len(items):
        return NO_PRODUCT
    lacks = []
    if not pc.any(pc.fill_null(pc.greater(items["stock"], 0), fill_value=True)).as_py():
        lacks.append(NO_STOCK)
    if not any(lake.manifest(ITEMS, day).row_count for day in lake.days(ITEMS) if day <= ds):
        lacks.append(NO_CATALOGUE)
    if items["days_since_last_event"].null_count == len(items):
        lacks.append(NO_EVENT)
    elif not lake.manifest(USER, ds).row_count:
        lacks.append(NO_SHOPPER)
    return "; ".join(lacks)
