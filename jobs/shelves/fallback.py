"""Build `marts/fallback`, the shelves that are nobody's own, and `marts/usual_price`, which says what is on sale.

topshelf stage fallback --ds 2026-01-31
"""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.candidates.eligibility import UNKNOWN_REGION, first_age, load_eligibility
from jobs.config.parameters import Parameters
from jobs.features.catalogue import NEW_ITEM_DAYS
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import FALLBACK, ITEM, ITEMS, USER, USER_ITEM, USUAL_PRICE
from jobs.spark.queries import query
from serving.snapshot.contents import SALE_SHARE

INPUTS = (ITEM, USER, USER_ITEM)
SHELF_LENGTH = 200
PAGE_LENGTH = 60
"""Of the shelves that only pages show."""
PRICE_WINDOW_DAYS = 30
LENGTHS: Mapping[str, int | float] = MappingProxyType(
    {
        "shelf_length": SHELF_LENGTH,
        "page_length": PAGE_LENGTH,
        "new_item_days": NEW_ITEM_DAYS,
        "sale_share": SALE_SHARE,
    }
)
NO_LIMITS: Mapping[str, int] = MappingProxyType({})


def fallback(
    item: DataFrame,
    user: DataFrame,
    user_item: DataFrame,
    usual_price: DataFrame,
    ds: date,
    minimum_ages: Mapping[str, int] = NO_LIMITS,
) -> DataFrame:
    """Return the shelves as of `ds`, up to SHELF_LENGTH or PAGE_LENGTH places each, from that day's features.

    `minimum_ages` are years by item id. Such an item is only on the shelves of age bands that begin at that age or
    above.
    """
    spark = item.sparkSession
    bands = user.select("age_band").distinct().collect() if minimum_ages else []
    first_ages = {row.age_band: first_age(row.age_band) for row in bands if row.age_band}
    views = {
        "item": item,
        "user": user,
        "user_item": user_item,
        "usual_price": usual_price,
        "least_ages": spark.createDataFrame(pa.table(_columns("item_id", "least_age", minimum_ages))),
        "band_ages": spark.createDataFrame(pa.table(_columns("age_band", "age", first_ages))),
    }
    return query(spark, FALLBACK, views, {"ds": ds, **LENGTHS})


def _columns(key: str, value: str, rows: Mapping[str, int]) -> dict[str, pa.Array]:
    return {key: pa.array(rows.keys(), pa.string()), value: pa.array(rows.values(), pa.int32())}


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the shelves of one day, unless they are already built from the same inputs and parameters.

    Of the parameters only `rules` are used here; event weights are already in the features.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    _build_usual_prices(spark, lake, ds)
    inputs = lake.fingerprints(ds, *INPUTS, USUAL_PRICE)
    chosen = {**LENGTHS, "rules": parameters.rules}

    def write() -> Manifest:
        item, user, user_item, usual_price = (lake.read(spark, table, ds) for table in (*INPUTS, USUAL_PRICE))
        shelves = fallback(item, user, user_item, usual_price, ds, minimum_ages(lake, ds, parameters.rules))
        return lake.write(shelves, FALLBACK, ds, inputs=inputs, parameters=chosen)

    return lake.build_if_stale(FALLBACK, ds, inputs, chosen, write)


def _build_usual_prices(spark: SparkSession, lake: Lake, ds: date) -> Manifest:
    days = [day for day in lake.days(ITEMS) if day <= ds]
    inputs = {f"{ITEMS}/ds<={ds}": digest_of(lake.manifest(ITEMS, day).fingerprint for day in days)}
    chosen = {"window_days": PRICE_WINDOW_DAYS}

    def write() -> Manifest:
        items = lake.read_days(spark, ITEMS, days)
        prices = query(spark, USUAL_PRICE, {"items": items}, {"ds": ds, **chosen})
        return lake.write(prices, USUAL_PRICE, ds, inputs=inputs, parameters=chosen)

    return lake.build_if_stale(USUAL_PRICE, ds, inputs, chosen, write)


def minimum_ages(lake: Lake, ds: date, rules: Mapping[str, object]) -> dict[str, int]:
    """Return the minimum age, in years, of each item that has one.

    It is the highest of all regions: no fallback shelf is for both an age band and a region.
    """
    eligibility = load_eligibility(lake, ds, rules)
    if eligibility is None:
        return {}
    rows = np.flatnonzero(eligibility.restricted)
    item_id = lake.arrow(ITEM, ds, ["item_pos", "item_id"]).sort_by("item_pos")["item_id"].take(rows)
    return dict(zip(item_id.to_pylist(), eligibility.min_age[rows, UNKNOWN_REGION].tolist(), strict=True))
