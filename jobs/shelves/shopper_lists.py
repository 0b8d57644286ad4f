"""Build `marts/shopper_lists`: what a shopper may buy again, and what they viewed last.

topshelf stage shopper_lists --ds 2026-01-31
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from jobs.candidates.eligibility import Eligibility, load_eligibility
from jobs.config.parameters import Parameters
from jobs.features.shoppers import ShopperHistories, shopper_batches
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import ITEM, SHOPPER_LISTS, USER, USER_ITEM
from jobs.spark.engine import Engine, Rows, engine_for
from jobs.spark.shards import rows_of_shards

INPUTS = (ITEM, USER, USER_ITEM)
PAIR = pa.schema([("user_id", pa.string()), ("item_id", pa.string())])


def shopper_lists(engine: Engine, item: Rows, user_item: Rows, withheld: Rows, ds: date, list_length: int) -> Rows:
    """Return the lists as of `ds`, up to `list_length` items each, from that day's features.

    `withheld` holds the pairs of user_id and item_id that rules keep off them. The query says how lists are ordered.
    """
    views = {"item": item, "user_item": user_item, "withheld": withheld}
    return engine.query(SHOPPER_LISTS, views, {"ds": ds, "list_length": list_length})


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
    """Yields the pairs of one user shard that rules withhold; sent to other processes."""

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
        for batch in shopper_batches(self.lake, self.ds, shard, len(items)):
            yield withheld_pairs(batch, item_ids, eligibility)


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the lists of one day, unless they are already built from the same inputs and parameters.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    inputs = lake.fingerprints(ds, *INPUTS)
    chosen = {"list_length": parameters.shelves.own_list_length, "rules": parameters.rules}

    def write() -> Manifest:
        withheld = PAIR.empty_table()
        if parameters.rules:
            withheld = rows_of_shards(PAIR, WithheldShard(lake, ds, parameters.rules))
        with engine_for(lake.manifest(USER_ITEM, ds).row_count or 0) as engine:
            item, user_item = (engine.stored(lake, table, [ds]) for table in (ITEM, USER_ITEM))
            length = parameters.shelves.own_list_length
            lists = shopper_lists(engine, item, user_item, engine.table(withheld), ds, length)
            return engine.write(lake, lists, SHOPPER_LISTS, ds, inputs=inputs, parameters=chosen)

    return lake.build_if_stale(SHOPPER_LISTS, ds, inputs, chosen, write)
