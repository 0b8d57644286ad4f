"""Build `marts/fallback`: the shelves for shoppers who have none of their own.

topshelf stage fallback --ds 2026-01-31 --lake data/lake
"""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.candidates.eligibility import STRICTEST, age_of, load_withheld
from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import FALLBACK
from jobs.spark.queries import query

INPUTS = ("features/item", "features/user", "features/user_item")
SHELF_LENGTH = 200
NEW_ITEM_DAYS = 30
NO_LIMITS: Mapping[str, int] = MappingProxyType({})


def fallback(
    item: DataFrame, user: DataFrame, user_item: DataFrame, ds: date, least_ages: Mapping[str, int] = NO_LIMITS
) -> DataFrame:
    """Return the shelves as of `ds`, up to SHELF_LENGTH places each, from that day's features.

    `least_ages` are years by item: an item stands only on the shelves of age bands that begin at them or above.
    """
    spark = item.sparkSession
    bands = (
        [row.age_band for row in user.select("age_band").distinct().collect() if row.age_band] if least_ages else []
    )
    views = {
        "item": item,
        "user": user,
        "user_item": user_item,
        "least_ages": spark.createDataFrame(pa.table(_columns("item_id", "least_age", least_ages))),
        "band_ages": spark.createDataFrame(pa.table(_columns("age_band", "age", {b: age_of(b) for b in bands}))),
    }
    return query(spark, FALLBACK, views, {"ds": ds, "shelf_length": SHELF_LENGTH, "new_item_days": NEW_ITEM_DAYS})


def _columns(key: str, value: str, of: Mapping[str, int]) -> dict[str, pa.Array]:
    return {key: pa.array(of.keys(), pa.string()), value: pa.array(of.values(), pa.int32())}


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the shelves of one day, unless they stand already, made of the same.

    `parameters` work through the event weights in the features, and by their rules.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    inputs = lake.fingerprints(ds, *INPUTS)
    chosen = {"shelf_length": SHELF_LENGTH, "new_item_days": NEW_ITEM_DAYS, "rules": parameters.rules}

    def write() -> Manifest:
        item, user, user_item = (lake.read(spark, table, ds) for table in INPUTS)
        shelves = fallback(item, user, user_item, ds, least_ages(lake, ds, parameters.rules))
        return lake.write(shelves, FALLBACK, ds, inputs=inputs, parameters=chosen)

    return lake.build_if_stale(FALLBACK, ds, inputs, chosen, write)


def least_ages(lake: Lake, ds: date, rules: Mapping[str, Any]) -> dict[str, int]:
    """Return the least age, in years, of every item that has one, the highest of all regions: no shelf tells both."""
    withheld = load_withheld(lake, ds, rules)
    if withheld is None:
        return {}
    rows = np.flatnonzero(withheld.from_strangers)
    item_id = lake.arrow("features/item", ds, ["item_pos", "item_id"]).sort_by("item_pos")["item_id"].take(rows)
    return dict(zip(item_id.to_pylist(), withheld.least_age[rows, STRICTEST].tolist(), strict=True))
