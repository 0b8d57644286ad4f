"""Build `marts/shopper_lists`: what a shopper may buy again, and what they viewed last.

topshelf stage shopper_lists --ds 2026-01-31
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from jobs.candidates.eligibility import Eligibility, load_eligibility
from jobs.config.parameters import Parameters
from jobs.features.shoppers import ShopperHistories, load_shoppers
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import ITEM, SHOPPER_LISTS, USER, USER_ITEM
from jobs.spark.queries import query
from jobs.spark.shards import rows_of_shards

INPUTS = (ITEM, USER, USER_ITEM)
PAIR = T.StructType([T.StructField("user_id", T.StringType()), T.StructField("item_id", T.StringType())])


def shopper_lists(
    item: DataFrame, user_item: DataFrame, withheld: DataFrame, ds: date, list_length: int
) -> DataFrame:
    """Return the lists as of `ds`, up to `list_length` items each, from that day's features.

    `withheld` holds the pairs of user_id and item_id that rules keep off them. The query says how lists are ordered.
    """
    views = {"item": item, "user_item": user_item, "withheld": withheld}
    return query(item.sparkSession, SHOPPER_LISTS, views, {"ds": ds, "list_length": list_length})


def withheld_pairs(shoppers: ShopperHistories, item_ids: pa.Array, eligibility: Eligibility) -> pa.RecordBatch:
    """Return user_id and item_id of what rules withhold from each shopper of what they have in their history."""
    user, item = shoppers.history_user(), shoppers.history["item_pos"]
    withheld = ~eligibility.is_eligible(shoppers, user, item)
    return pa.RecordBatch.from_pydict(
        {
            "user_id": shoppers.user_id.take(pa.array(user[withheld])),
            "item_id": item_ids.take(pa.array(item[withheld])),
        }
    )


@dataclass(frozen=True)
class WithheldShard:
    """Yields the pairs of one user shard that rules withhold; sent to the executors."""

    lake: Lake
    ds: date
    rules: Mapping[str, Any]

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users."""
        eligibility = load_eligibility(self.lake, self.ds, self.rules)
        if eligibility is None:  # no rules
            return
        items = self.lake.arrow(ITEM, self.ds, ["item_pos", "item_id"]).sort_by("item_pos")
        item_ids = items["item_id"].combine_chunks()
        for batch in load_shoppers(self.lake, self.ds, shard, len(items)).batches():
            yield withheld_pairs(batch, item_ids, eligibility)


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the lists of one day, unless they are already built from the same inputs and parameters.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    inputs = lake.fingerprints(ds, *INPUTS)
    chosen = {"list_length": parameters.shelves.own_list_length, "rules": parameters.rules}

    def write() -> Manifest:
        item, user_item = lake.read(spark, ITEM, ds), lake.read(spark, USER_ITEM, ds)
        withheld = spark.createDataFrame([], PAIR)
        if parameters.rules:
            withheld = rows_of_shards(spark, PAIR, WithheldShard(lake, ds, parameters.rules))
        lists = shopper_lists(item, user_item, withheld, ds, parameters.shelves.own_list_length)
        return lake.write(lists, SHOPPER_LISTS, ds, inputs=inputs, parameters=chosen)

    return lake.build_if_stale(SHOPPER_LISTS, ds, inputs, chosen, write)
