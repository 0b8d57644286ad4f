"""Candidates: few enough, each once, in order, from sources that keep to their rules, whoever stands beside whom."""

from dataclasses import fields, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.candidates.candidate_set import Candidates, from_arrow, to_arrow
from jobs.candidates.fusion import RRF_K, SOURCE_CODE
from jobs.candidates.generate import CandidateShard, candidate_parameters, candidates
from jobs.candidates.lists import CATEGORIES_PER_USER, LISTED, QUOTA, _nearest_unseen
from jobs.candidates.sources import SCORES
from jobs.config.parameters import Parameters
from jobs.features.shoppers import ShopperHistories
from jobs.lake.lake import Lake
from jobs.models.nearest_items import exact_index
from tests.jobs.small_shop import DECAY_DAYS, catalogue, drawn_shop, lay_shop, shoppers, sources, touch

DS = date(2026, 1, 31)
SEEDS = st.integers(0, 2)  # each one a shop that is trained once
PER_USER = st.integers(1, 70)


def of_user(found: Candidates, user: int = 0) -> list[int]:
    return found.item[found.user == user].tolist()


def brought_by(found: Candidates, source: str) -> list[tuple[int, int]]:
    rows = found.source == SOURCE_CODE[source]
    return list(zip(found.user[rows].tolist(), found.item[rows].tolist(), strict=True))


def touched(shop: ShopperHistories) -> set[tuple[int, int]]:
    return set(zip(shop.history_user().tolist(), shop.history["item_pos"].tolist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(SEEDS, PER_USER)
def test_candidates_are_unique_ordered_and_at_most_per_user(seed: int, per_user: int) -> None:
    shop, drawn = drawn_shop(seed)
    found = candidates(shop, drawn, per_user)
    keys = found.user * len(drawn.catalogue) + found.item
    assert (np.diff(keys) > 0).all()
    assert np.bincount(found.user, minlength=len(shop)).max() <= per_user
    assert ((found.item >= 0) & (found.item < len(drawn.catalogue))).all()
    assert ((found.sources >> found.source) & 1 == 1).all()  # the source that ranks it highest brought it
    assert tuple(found.scores) == SCORES
    assert {len(values) for values in found.scores.values()} == {len(keys)}


@settings(max_examples=10, deadline=None)
@given(SEEDS, PER_USER)
def test_a_lower_limit_keeps_a_subset_of_the_candidates(seed: int, per_user: int) -> None:
    shop, drawn = drawn_shop(seed)
    fewer, more = (candidates(shop, drawn, most) for most in (per_user, per_user + 5))
    n_items = len(drawn.catalogue)
    assert np.isin(fewer.user * n_items + fewer.item, more.user * n_items + more.item).all()


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.lists(st.integers(0, 40), max_size=5))
def test_candidates_do_not_depend_on_the_batch(seed: int, cuts: list[int]) -> None:
    shop, drawn = drawn_shop(seed)
    whole = candidates(shop, drawn, 30)
    bounds = sorted({0, *cuts, len(shop)})
    starts = bounds[:-1]
    parts = [candidates(shop.take(low, high), drawn, 30) for low, high in zip(starts, bounds[1:], strict=True)]
    user = np.concatenate([part.user + start for part, start in zip(parts, starts, strict=True)])
    np.testing.assert_array_equal(user, whole.user)
    for name in ("item", "source", "sources"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    for name in ("als", *LISTED, "taste", "taste_last"):
        found = np.concatenate([part.scores[name] for part in parts])
        np.testing.assert_allclose(found, whole.scores[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_same_shoppers_have_the_same_candidates_byte_for_byte() -> None:
    shop, drawn = drawn_shop()
    one, other = candidates(shop, drawn, 30), candidates(shop, replace(drawn), 30)
    for name in ("user", "item", "source", "sources"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert all(one.scores[name].tobytes() == other.scores[name].tobytes() for name in SCORES)


def test_what_was_bought_before_is_cut_last_by_the_days_it_was_bought_on_then_the_latest_then_by_position() -> None:
    of = catalogue(40, purchaser_count_30d=[1 if item < 30 else 0 for item in range(40)], stock=[9] * 30 + [0] * 10)
    history = [touch(39, bought=1), touch(33, bought=2, days_ago=9), touch(34, bought=2, days_ago=3)]
    history += [touch(31, bought=1), touch(32, viewed=50), touch(30, carted=9)]
    cuts = [of_user(candidates(shoppers(40, history), sources(of), most)) for most in (1, 2, 3, 4, 5)]
    assert cuts[:4] == [[34], [33, 34], [31, 33, 34], [31, 33, 34, 39]]
    assert {31, 33, 34, 39} < set(cuts[4])  # only then what nobody bought


def test_a_source_lists_at_most_its_quota_and_views_come_latest_first() -> None:
    n_items = QUOTA["session"] + 30
    of = catalogue(n_items, stock=[0] * n_items)
    looks = [touch(item, viewed=1, days_ago=1 + item) for item in range(n_items)]
    found = candidates(shoppers(n_items, looks), sources(of), n_items)
    assert [item for _, item in brought_by(found, "session")] == list(range(QUOTA["session"]))


def test_bought_items_are_not_listed_as_viewed() -> None:
    of = catalogue(4, stock=[0] * 4)
    shop = shoppers(4, [touch(0, bought=1), touch(1, viewed=1), touch(2), touch(3, carted=1)])
    found = candidates(shop, sources(of), 4)
    assert brought_by(found, "bought_before") == [(0, 0)]
    assert {item for _, item in brought_by(found, "session")} == {1, 3}


@settings(max_examples=3, deadline=None)
@given(SEEDS)
def test_scored_lists_hold_untouched_items_with_a_positive_score_alone(
    seed: int,
) -> None:
    shop, drawn = drawn_shop(seed)
    found = candidates(shop, drawn, len(drawn.catalogue))
    known = touched(shop)
    for name in ("als", "item_item", "ease", "content"):
        pairs = brought_by(found, name)
        assert pairs, name
        assert not known & set(pairs)
    for name in ("item_item", "ease", "content"):
        assert (found.scores[name][found.source == SOURCE_CODE[name]] > 0).all(), name


def test_items_out_of_stock_come_only_from_lists_by_the_shoppers_history() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, len(drawn.catalogue))
    listed = np.isin(found.source, [SOURCE_CODE[name] for name in ("popular", "trending", "new_item")])
    assert listed.any()
    assert drawn.catalogue.in_stock[found.item[listed]].all()
    assert not drawn.catalogue.in_stock[found.item[~listed]].all()


def test_a_shopper_gets_the_popular_items_of_the_categories_that_hold_most_of_their_weight() -> None:
    # Items 0 to 3 are popular everywhere; categories a to e have two items each, the second the more popular.
    category = [None] * 4 + [name for name in "abcde" for _ in range(2)]
    count = [90, 80, 70, 60] + [n for pair in range(5) for n in (1 + pair, 20 + pair)]
    of = catalogue(14, category, purchaser_count_30d=count)
    as_popular = np.outer(np.array(count) / 100, np.eye(8)[0])  # so that ALS has nothing of its own to say
    history = [touch(4, viewed=1), touch(6, viewed=4), touch(8, viewed=3), touch(10, viewed=2), touch(0, viewed=99)]
    found = candidates(shoppers(14, history), sources(of, as_popular), 14)
    # In the list of everybody a category's best stands further down than in its own.
    assert brought_by(found, "popular_in_category") == [(0, 7), (0, 9), (0, 11)]
    assert CATEGORIES_PER_USER == 3


def test_an_item_that_two_sources_rank_stands_before_one_that_one_source_ranks_a_place_higher() -> None:
    # ALS ranks items 1, 2, 3 ... in this order; item-item names only item 3.
    factors = np.outer([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], np.eye(8)[0])
    likes = np.zeros((8, 8))
    likes[0, 3] = 0.5
    shop = shoppers(8, [touch(0, viewed=1)])
    of = catalogue(8, stock=[0] * 8)
    assert 1 / (RRF_K + 1) + 1 / (RRF_K + 3) > 1 / (RRF_K + 1)
    alone = candidates(shop, sources(of, factors), 3)
    both = candidates(shop, sources(of, factors, item_item=likes), 2)
    assert of_user(alone) == [0, 1, 2]  # item 0 is what was looked at
    assert 3 in of_user(both)
    assert both.votes[both.item == 3].tolist() == [2]
    assert both.sources[both.item == 3].tolist() == [1 << SOURCE_CODE["als"] | 1 << SOURCE_CODE["item_item"]]
    assert both.source[both.item == 3].tolist() == [SOURCE_CODE["item_item"]]  # the source that ranks it highest


def test_an_item_belongs_to_the_source_that_ranks_it_highest() -> None:
    of = catalogue(5, purchaser_count_30d=[5, 4, 3, 2, 1])
    shop = shoppers(5, [touch(4, bought=1), touch(3, viewed=1)])
    found = candidates(shop, sources(of, np.outer([0.9, 0.8, 0.7, 0.6, 1.0], np.eye(8)[0])), 5)
    assert brought_by(found, "bought_before") == [(0, 4)]  # first there, fifth among the popular
    assert brought_by(found, "session") == [(0, 3)]
    assert brought_by(found, "popular") == [(0, 0), (0, 1), (0, 2)]


def test_everybody_gets_popular_trending_and_new_items_and_newcomers_a_full_list() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 25)
    without = [user for user in range(len(shop)) if shop.indptr[user] == shop.indptr[user + 1]]
    assert len(without) > 2
    assert {tuple(of_user(found, user)) for user in without} == {tuple(of_user(found, without[0]))}
    assert len(of_user(found, without[0])) == 25


@pytest.mark.parametrize("per_user", [1, 30])
def test_candidates_are_the_same_after_a_round_trip_through_rows(per_user: int) -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, per_user)
    back = from_arrow(pa.Table.from_batches([to_arrow(shop.user_id, found)]))
    for field in fields(Candidates):
        if field.name != "scores":
            np.testing.assert_array_equal(getattr(back, field.name), getattr(found, field.name))
    for name in SCORES:
        np.testing.assert_array_equal(back.scores[name], found.scores[name])


def test_rows_read_from_the_middle_of_a_shard_are_those_shoppers_candidates() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 9)
    rows = pa.Table.from_batches([to_arrow(shop.user_id, found)])
    assert from_arrow(rows.slice(7, 3)).item.tolist() == found.item[(found.user >= 7) & (found.user < 10)].tolist()


def test_a_shard_of_the_lake_yields_its_shoppers_candidates_batch_by_batch(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.features.shoppers.BATCH_USERS", 16)
    shop, drawn = drawn_shop()
    lay_shop(lake, DS, shop, drawn.catalogue)
    batches = list(CandidateShard(lake, DS, 30, DECAY_DAYS)(0))
    assert [batch.num_rows for batch in batches] == [16, 16, 8]
    rows = pa.Table.from_batches(batches)
    assert rows["user_id"].to_pylist() == shop.user_id.to_pylist()
    found, wanted = from_arrow(rows), candidates(shop, drawn, 30)
    for name in ("user", "item", "source", "sources"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_each_shoppers_candidates_start_and_end_where_indptr_says() -> None:
    empty = np.empty(0, np.int8)
    bare = Candidates(np.array([1, 1, 3]), np.array([4, 6, 2], np.int32), empty, empty, {})
    assert bare.indptr(5).tolist() == [0, 0, 2, 2, 3, 3]


def test_a_shelf_longer_than_the_usual_number_of_candidates_has_as_many_as_it_is_long() -> None:
    chosen = Parameters().with_values({"candidates.per_user": 400, "shelves.top_n": 700})
    assert candidate_parameters(chosen)["candidates_per_user"] == 700
    assert candidate_parameters(chosen.with_values({"shelves.top_n": 10}))["candidates_per_user"] == 400


def test_what_was_bought_before_is_cut_last_even_where_another_source_ranks_it_higher() -> None:
    # Item 0 was bought, second of its list, and is the most popular of all; items 2 and 3 only stand in lists.
    of = catalogue(6, purchaser_count_30d=[9, 8, 7, 6, 5, 4], weight_7d=[0, 9000, 9000, 0, 0, 0])
    shop = shoppers(6, [touch(5, bought=2), touch(0, bought=1), touch(4, bought=3)])
    for per_user in (3, 4):
        found = candidates(shop, sources(of), per_user)
        assert {0, 4, 5} <= set(found.item.tolist())


def test_als_lists_nothing_for_a_shopper_without_history() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 60)
    nobody = [user for user in range(len(shop)) if shop.indptr[user] == shop.indptr[user + 1]]
    of_nobody = [code for user, code in zip(found.user, found.source, strict=True) if user in nobody]
    assert len(nobody) > 2
    assert SOURCE_CODE["als"] not in of_nobody


def test_shoppers_of_a_shop_without_products_have_no_candidates() -> None:
    found = candidates(shoppers(0, [], []), sources(catalogue(0)), 10)
    assert found.indptr(2).tolist() == [0, 0, 0]


def test_whoever_has_seen_what_is_nearest_is_asked_for_again_until_the_list_is_full() -> None:
    n_items, quota = 90, 20
    vectors = np.linspace(1, 2, n_items, dtype=np.float32)[::-1, None]  # the first item is the nearest to everybody
    index = exact_index(np.ascontiguousarray(vectors))
    seen = np.arange(25) + n_items  # user 1 has seen the 25 nearest, which leaves 5 of the 30 first asked for
    user, item, rank = _nearest_unseen(index, np.ones((3, 1), np.float32), seen, n_items, quota)
    lists = {one: item[user == one].tolist() for one in range(3)}
    assert lists[0] == lists[2] == list(range(quota))
    assert lists[1] == list(range(25, 25 + quota))
    assert all(rank[user == one].tolist() == list(range(quota)) for one in range(3))
