"""Find the shoppers of whom nothing has changed since the week's Sunday, and the shelves that they keep from then.

>>> kept = load_kept(lake, ds, date(2026, 1, 25), shard, sources.catalogue.item_id, eligibility, 0)
>>> kept.users.mean()
0.81

The night's cost then follows those who did something. A kept shelf is as old as the Sunday: what became popular or
new since is not on it. `jobs.shelves.top_n.kept_since` says when a night keeps any. For this, a shard's shoppers are
loaded whole.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.candidates.eligibility import Eligibility
from jobs.features.shoppers import ShopperHistories, load_shoppers
from jobs.lake.lake import Lake
from jobs.lake.tables import TOP_N, USER
from jobs.numeric.arrays import Flags, Whole
from serving.snapshot.experiments import BASE

SAME = ("region", "age_band", "event_count_total", "purchase_count_total", "item_count_total", "mean_price_minor")
"""Columns of features/user that do not change unless the shopper does, or says, something."""


@dataclass(frozen=True)
class Kept:
    """Who of a shard keeps a shelf, and those shelves."""

    users: Flags
    """[n_users] of the shard."""
    rows: pa.Table
    """Their rows of `marts/top_n`, in its order."""
    user: Whole
    """Of each row, the shopper's place in the shard."""

    def of(self, start: int, stop: int) -> tuple[pa.Table, Whole]:
        """Return the rows of some users of the shard, and of each row the user's place among those."""
        low, high = np.searchsorted(self.user, [start, stop])
        return self.rows.slice(low, high - low), self.user[low:high] - start


def load_kept(
    lake: Lake,
    ds: date,
    since: date,
    shard: int,
    item_id: pa.Array,
    eligibility: Eligibility | None,
    dormant_days: int,
) -> Kept:
    """Return who of a shard's shoppers keep the shelves of `since`; `item_id` is the catalogue of `ds`.

    A shopper keeps theirs if no event of theirs counts anew, is gone, or happened since; if region and age band are
    the same; and if all items on it are still in the catalogue and allowed. Dormant shoppers keep none.

    Raises:
        MissingPartitionError: one of the days has no shelves or features.
    """
    shoppers = load_shoppers(lake, ds, shard, len(item_id))
    before = lake.shard(USER, since, shard, ["user_id", "days_since_last_event", *SAME])
    now = lake.shard(USER, ds, shard, ["user_id", "days_since_last_event", *SAME])
    place = pc.index_in(now["user_id"], value_set=before["user_id"]).combine_chunks()
    then = before.take(place)
    is_same = pc.equal(now["days_since_last_event"], pc.add(then["days_since_last_event"], (ds - since).days))
    for name in SAME:
        both_null = pc.and_(pc.is_null(now[name]), pc.is_null(then[name]))
        is_same = pc.and_(is_same, pc.or_(pc.fill_null(pc.equal(now[name], then[name]), False), both_null))
    users = pc.fill_null(is_same, False).to_numpy().astype(np.bool_) & shoppers.awake(dormant_days)
    rows = lake.shard(TOP_N, since, shard)
    rows = rows.filter(pc.equal(rows["variant"], BASE))
    rows = rows.append_column("user", pc.index_in(rows["user_id"], value_set=shoppers.user_id))
    rows = rows.filter(pc.is_valid(rows["user"]))
    user = rows["user"].to_numpy().astype(np.int64)
    users[user[~_may_stay(rows, user, shoppers, item_id, eligibility)]] = False
    stays = users[user]
    return Kept(users, rows.drop_columns(["user"]).filter(pa.array(stays)), user[stays])


def _may_stay(
    rows: pa.Table, user: Whole, shoppers: ShopperHistories, item_id: pa.Array, eligibility: Eligibility | None
) -> Flags:
    """Tell of which rows the item, and the item of the reason, are in the catalogue and allowed."""
    may: Flags = np.ones(len(rows), np.bool_)
    for name in ("item_id", "reason_item_id"):
        found = pc.index_in(rows[name], value_set=item_id).fill_null(-1).to_numpy().astype(np.int64)
        is_null = pc.is_null(rows[name]).to_numpy()
        may &= is_null | (found >= 0)
        if eligibility is not None:
            allowed = eligibility.is_eligible if name == "item_id" else eligibility.is_of_age
            may &= is_null | allowed(shoppers, user, np.maximum(found, 0))
    return may
