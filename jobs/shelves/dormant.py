"""Give shoppers who have long been away a shelf that costs next to nothing; a shop says who, and which.

>>> tiers = Tiers(dormant_days=180, dormant_shelf="fused")
>>> shelves = fused_shelves(shoppers, sources, ~shoppers.awake(tiers.dormant_days), 100)

`segment` gives them no shelf of their own: their record tells the segment alone, and the endpoint fills from that.
`fused` lays a few lists that need no model side by side: what they bought and looked at, what is popular in their
categories and in the shop, what trends. No score is computed for either, and no ranker is asked.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.candidates.eligibility import Withheld
from jobs.candidates.fusion import listed_items, reciprocal_rank_fusion
from jobs.candidates.lists import plain_lists
from jobs.candidates.sources import Sources
from jobs.config.parameters import DormantShelf
from jobs.features.shoppers import ShopperHistories
from jobs.numeric.arrays import best_in_group, rank_in_group

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tiers:
    """Who is dormant, and what they get; as it stands, nobody is."""

    dormant_days: int = 0
    """More days than this without an event make a shopper dormant; 0 for nobody."""
    dormant_shelf: DormantShelf = "segment"


@dataclass(frozen=True)
class FusedShelves:
    """Places on shelves, in order of (user, rank); all arrays have one length."""

    user: Rows
    item: npt.NDArray[np.int32]
    rank: Rows
    """From 1."""
    value: npt.NDArray[np.float64]
    source: npt.NDArray[np.int8]

    def beside(self, others: "FusedShelves") -> "FusedShelves":
        """Return these and the shelves of other users as one."""
        user = np.concatenate([self.user, others.user])
        order = np.argsort(user, kind="stable")
        columns = (
            np.concatenate([getattr(self, name), getattr(others, name)])[order]
            for name in ("item", "rank", "value", "source")
        )
        return FusedShelves(user[order], *columns)


def fused_shelves(
    shoppers: ShopperHistories,
    sources: Sources,
    of: npt.NDArray[np.bool_],
    n: int,
    withheld: Withheld | None = None,
) -> FusedShelves:
    """Return the `n` items of each shopper in `of` that the plain lists rank highest (reciprocal rank fusion).

    The value is the sum of the reciprocal ranks, equals by item position; the source is the list of the best rank.
    """
    few = shoppers.where(of)
    listed = listed_items(plain_lists(few, sources))
    if withheld is not None:
        listed = listed.where(withheld.kept(few, listed.user, listed.item))
    fused = reciprocal_rank_fusion(listed, shoppers.n_items)
    fused = fused.at(best_in_group(fused.user, fused.score, fused.item, n))
    rank = rank_in_group(fused.user) + 1
    return FusedShelves(np.flatnonzero(of)[fused.user], fused.item, rank, fused.score, fused.source)
