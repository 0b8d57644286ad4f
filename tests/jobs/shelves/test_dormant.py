"""Dormant shoppers get the shelf that the shop chose for them, and nobody else's shelf changes."""

from typing import Any

import numpy as np
import pytest

from jobs.candidates.fusion import SOURCE_CODE
from jobs.candidates.generate import candidates
from jobs.ranking.ranker import Ranker
from jobs.shelves import top_n
from jobs.shelves.dormant import Dormancy, ShelfPlaces, fused_shelves
from jobs.shelves.top_n import ShelfPolicy
from tests.jobs.small_shop import catalogue, drawn_shop, shoppers, sources, touch

AWAY_DAYS = 25
NO_HEADS = Ranker({}, {})


def shelves(dormancy: Dormancy) -> ShelfPlaces:
    shop, drawn = drawn_shop()
    policy = ShelfPolicy(10, dormancy=dormancy)
    return top_n.shelves(shop, candidates(shop, drawn, 40), drawn, NO_HEADS, None, policy)


def places_of(places: ShelfPlaces, users: np.ndarray) -> list[tuple[Any, ...]]:
    columns = (places.user, places.item, places.rank, places.value, places.source)
    return [row for row in zip(*(column.tolist() for column in columns), strict=True) if users[row[0]]]


@pytest.mark.parametrize("shelf", ["segment", "fused"])
def test_active_shoppers_keep_their_shelf_and_dormant_ones_get_the_chosen_one(shelf: str) -> None:
    shop, _ = drawn_shop()
    awake = shop.users["days_since_last_event"] <= AWAY_DAYS
    assert 5 < awake.sum() < len(shop) - 5
    all_ranked, with_dormant = shelves(Dormancy()), shelves(Dormancy(AWAY_DAYS, shelf))
    assert places_of(with_dormant, awake) == places_of(all_ranked, awake)
    dormant = places_of(with_dormant, ~awake)
    assert len(dormant) == (10 * (~awake).sum() if shelf == "fused" else 0)
    assert (np.diff(with_dormant.user) >= 0).all()
    first = np.flatnonzero(np.diff(with_dormant.user, prepend=-1))
    np.testing.assert_array_equal(with_dormant.rank, np.arange(len(with_dormant.user)) - np.repeat(first, 10) + 1)


def test_a_fused_shelf_is_ordered_by_reciprocal_rank_fusion_with_ties_by_position() -> None:
    shop = shoppers(6, [touch(4, bought=2), touch(2, bought=1)], [], [touch(5, viewed=1)])
    drawn = sources(catalogue(6, purchaser_count_30d=[1, 2, 3, 0, 0, 0]))
    places = fused_shelves(shop, drawn, np.array([True, False, True]), 3)
    # Popular are 2, 1, 0 in this order; the first shopper bought 4 more often than 2, which is popular too.
    assert places.user.tolist() == [0, 0, 0, 2, 2, 2]
    assert places.item.tolist() == [2, 4, 1, 2, 5, 1]
    names = {code: name for name, code in SOURCE_CODE.items()}
    assert [names[code] for code in places.source[:3].tolist()] == ["popular", "bought_before", "popular"]
    np.testing.assert_allclose(places.value[:3], [1 / 61 + 1 / 62, 1 / 61, 1 / 62])


def test_a_subset_of_shoppers_is_those_shoppers_with_their_history() -> None:
    shop, drawn = drawn_shop()
    kept = np.arange(len(shop)) % 3 == 1
    some = shop.where(kept)
    assert some.user_id.to_pylist() == [name for name, of in zip(shop.user_id.to_pylist(), kept, strict=True) if of]
    whole, part = candidates(shop, drawn, 40), candidates(some, drawn, 40)
    mine = kept[whole.user]
    np.testing.assert_array_equal(np.flatnonzero(kept)[part.user], whole.user[mine])
    np.testing.assert_array_equal(part.item, whole.item[mine])
