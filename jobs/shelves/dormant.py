"""Give dormant shoppers, who have had no event for long, a shelf that costs next to nothing.

>>> dormancy = Dormancy(dormant_days=180, dormant_shelf="fused")
>>> places = fused_shelves(shoppers, sources, ~shoppers.awake(dormancy.dormant_days), 100)

With `segment` they have no shelf of their own: their record names their segment, and the endpoint fills from that.
With `fused` a few lists that need no model are merged: what they bought and viewed, what is popular in their
categories and in the shop, and what is trending. Neither computes a score or uses the ranker.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.candidates.eligibility import Eligibility
from jobs.candidates.fusion import listed_items, reciprocal_rank_fusion
from jobs.candidates.lists import plain_lists
from jobs.candidates.sources import Sources
from jobs.config.parameters import DormantShelf
from jobs.features.shoppers import ShopperHistories
from jobs.numeric.arrays import Flags, Values, Whole, best_in_group, rank_in_group


@dataclass(frozen=True)
class Dormancy:
    """Who is dormant, and which shelf they get. By default nobody is."""

    dormant_days: int = 0
    """Shoppers with no event for more than this many days are dormant; 0 for nobody."""
    dormant_shelf: DormantShelf = "segment"


@dataclass(frozen=True)
class ShelfPlaces:
    """Places on the shelves of a batch of users, in order of (user, rank); all arrays have one length."""

    user: Whole
    item: npt.NDArray[np.int32]
    rank: Whole
    """From 1."""
    value: Values
    source: npt.NDArray[np.int8]

    def merged_with(self, others: "ShelfPlaces") -> "ShelfPlaces":
        """Return these places and those of other users, in order of (user, rank)."""
        user = np.concatenate([self.user, others.user])
        order = np.argsort(user, kind="stable")
        columns = (
            np.concatenate([getattr(self, name), getattr(others, name)])[order]
            for name in ("item", "rank", "value", "source")
        )
        return ShelfPlaces(user[order], *columns)


def fused_shelves(
    shoppers: ShopperHistories,
    sources: Sources,
    chosen: Flags,
    top_n: int,
    eligibility: Eligibility | None = None,
) -> ShelfPlaces:
    """Return the `top_n` items of each chosen shopper by reciprocal rank fusion of the plain lists.

    `chosen` is [n_shoppers]. The value is the sum of the reciprocal ranks, ties by item position; the source is the
    list of the best rank.
    """
    chosen_shoppers = shoppers.where(chosen)
    listed = listed_items(plain_lists(chosen_shoppers, sources))
    if eligibility is not None:
        listed = listed.where(eligibility.is_eligible(chosen_shoppers, listed.user, listed.item))
    fused = reciprocal_rank_fusion(listed, shoppers.n_items)
    fused = fused.at(best_in_group(fused.user, fused.score, fused.item, top_n))
    rank = rank_in_group(fused.user) + 1
    return ShelfPlaces(np.flatnonzero(chosen)[fused.user], fused.item, rank, fused.score, fused.source)
