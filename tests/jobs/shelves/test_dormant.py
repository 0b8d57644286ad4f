"""Tiers: who has long been away gets the shelf that the shop names, and nobody else's shelf changes."""

from datetime import date
from typing import Any

import numpy as np
import pytest

from jobs.candidates.fusion import SOURCE_CODE
from jobs.candidates.generate import candidates
from jobs.lake.lake import Lake
from jobs.ranking.ranker import Ranker
from jobs.shelves.dormant import FusedShelves, Tiers, fused_shelves
from jobs.shelves.top_n import BY_VALUE, NO_BOOST, RankShard
from tests.jobs.small_shop import catalogue, drawn_shop, shoppers, sources, touch

AWAY_DAYS = 25
NO_HEADS = Ranker({}, {})


def shelves(tiers: Tiers) -> FusedShelves:
    shop, drawn = drawn_shop()
    shard = RankShard(Lake("unused"), date(2026, 1, 31), 10, 60.0, 0, BY_VALUE, NO_BOOST, tiers)
    return shard.shelves(shop, candidates(shop, drawn, 40), drawn, NO_HEADS, None)


def of_users(on: FusedShelves, users: np.ndarray) -> list[tuple[Any, ...]]:
    columns = (on.user, on.item, on.rank, on.value, on.source)
    return [row for row in zip(*(column.tolist() for column in columns), strict=True) if users[row[0]]]


@pytest.mark.parametrize("shelf", ["segment", "fused"])
def test_who_is_awake_keeps_their_shelf_and_the_dormant_get_what_is_named(shelf: str) -> None:
    shop, _ = drawn_shop()
    awake = shop.users["days_since_last_event"] <= AWAY_DAYS
    assert 5 < awake.sum() < len(shop) - 5
    all_ranked, tiered = shelves(Tiers()), shelves(Tiers(AWAY_DAYS, shelf))
    assert of_users(tiered, awake) == of_users(all_ranked, awake)
    dormant = of_users(tiered, ~awake)
    assert len(dormant) == (10 * (~awake).sum() if shelf == "fused" else 0)
    assert (np.diff(tiered.user) >= 0).all()
    first = np.flatnonzero(np.diff(tiered.user, prepend=-1))
    np.testing.assert_array_equal(tiered.rank, np.arange(len(tiered.user)) - np.repeat(first, 10) + 1)


def test_a_fused_shelf_has_what_most_lists_rank_highest_equals_by_position() -> None:
    shop = shoppers(6, [touch(4, bought=2), touch(2, bought=1)], [], [touch(5, viewed=1)])
    drawn = sources(catalogue(6, purchaser_count_30d=[1, 2, 3, 0, 0, 0]))
    on = fused_shelves(shop, drawn, np.array([True, False, True]), 3)
    # Popular are 2, 1, 0 in this order; the first shopper bought 4 more often than 2, which is popular too.
    assert on.user.tolist() == [0, 0, 0, 2, 2, 2]
    assert on.item.tolist() == [2, 4, 1, 2, 5, 1]
    names = {code: name for name, code in SOURCE_CODE.items()}
    assert [names[code] for code in on.source[:3].tolist()] == ["popular", "bought_before", "popular"]
    np.testing.assert_allclose(on.value[:3], [1 / 61 + 1 / 62, 1 / 61, 1 / 62])


def test_a_subset_of_shoppers_is_those_shoppers_with_their_history() -> None:
    shop, drawn = drawn_shop()
    kept = np.arange(len(shop)) % 3 == 1
    some = shop.where(kept)
    assert some.user_id.to_pylist() == [name for name, of in zip(shop.user_id.to_pylist(), kept, strict=True) if of]
    whole, part = candidates(shop, drawn, 40), candidates(some, drawn, 40)
    mine = kept[whole.user]
    np.testing.assert_array_equal(np.flatnonzero(kept)[part.user], whole.user[mine])
    np.testing.assert_array_equal(part.item, whole.item[mine])
