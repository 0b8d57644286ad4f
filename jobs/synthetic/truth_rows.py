"""The truth tables of a synthetic shop: what is true of its shoppers and items, which no real shop could know.

With them the utility of `jobs.synthetic.shoppers` can be computed without this code: category_worth[leaf] + season of
the day and leaf + brand_worth[brand] + quality + taste . style - dearness + 1.5 for one of the staples.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from jobs.numeric.draws import Ints
from jobs.synthetic.catalogue import Shop, item_ids, items, user_ids
from jobs.synthetic.shoppers import season, shoppers
from jobs.synthetic.words import LEAVES

NUMBERS = pa.list_(pa.float64())
USERS = pa.schema(
    [
        *(("user_id", pa.string()), ("persona", pa.int64()), ("signup_day", pa.int64())),
        *(("sessions_a_day", pa.float64()), ("taste", NUMBERS), ("favourites", pa.list_(pa.string()))),
        *(("category_worth", NUMBERS), ("brand_worth", NUMBERS), ("price_sensitivity", pa.float64())),
        *(("wanted_price_level", pa.float64()), ("staples", pa.list_(pa.string()))),
    ]
)
ITEMS = pa.schema(
    [
        *(("item_id", pa.string()), ("leaf", pa.int64()), ("category", pa.string()), ("brand", pa.int64())),
        *(("style", NUMBERS), ("quality", pa.float64()), ("price_level", pa.float64())),
        *(("full_price_minor", pa.int64()), ("launch_day", pa.int64()), ("retire_day", pa.int64())),
    ]
)


def user_rows(shop: Shop, number: Ints) -> Iterator[pa.RecordBatch]:
    """Yield one row a shopper; days are numbered from the shop's first, `sessions_a_day` is relative to the mean."""
    people = shoppers(shop, number)
    paths = [leaf.path for leaf in LEAVES]
    staples = [[item for item in row if item >= 0] for row in people.staples.tolist()]
    columns: dict[str, ArrayLike] = {
        "user_id": user_ids(number),
        "persona": people.persona,
        "signup_day": people.signup_day,
        "sessions_a_day": people.sessions_a_day,
        "taste": list(people.taste.astype(np.float64)),
        "favourites": [[paths[leaf] for leaf in row] for row in people.favourites.tolist()],
        "category_worth": list(people.category_worth),
        "brand_worth": list(people.brand_worth),
        "price_sensitivity": people.price_sensitivity,
        "wanted_price_level": people.wanted_price_level,
        "staples": [item_ids(np.array(row, dtype=np.int64)) for row in staples],
    }
    yield pa.RecordBatch.from_arrays([pa.array(columns[field.name], field.type) for field in USERS], schema=USERS)


def item_rows(shop: Shop, number: Ints) -> Iterator[pa.RecordBatch]:
    """Yield one row an item, retired and not yet launched ones too."""
    attributes = items(shop, number)
    columns: dict[str, ArrayLike] = {
        "item_id": item_ids(number),
        "leaf": attributes.leaf,
        "category": [LEAVES[leaf].path for leaf in attributes.leaf.tolist()],
        "brand": attributes.brand,
        "style": list(attributes.style.astype(np.float64)),
        "quality": attributes.quality,
        "price_level": attributes.price_level,
        "full_price_minor": attributes.full_price_minor,
        "launch_day": attributes.launch_day,
        "retire_day": attributes.retire_day,
    }
    yield pa.RecordBatch.from_arrays([pa.array(columns[field.name], field.type) for field in ITEMS], schema=ITEMS)


def seasons(shop: Shop) -> pa.Table:
    """Return what each day's season adds to each category: ds, category, season."""
    added = season(shop)
    days = np.repeat(np.datetime64(shop.first_day, "D") + np.arange(shop.days), shop.leaves)
    paths = [leaf.path for leaf in LEAVES[: shop.leaves]] * shop.days
    return pa.table({"ds": pa.array(days), "category": paths, "season": added.ravel()})
