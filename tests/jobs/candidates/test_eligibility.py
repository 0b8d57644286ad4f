"""Rules hold on shelves, in reasons and in exploration pools, and a shelf is full where there is something else."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.candidates.eligibility import UNREACHABLE_AGE, Eligibility, eligibility_of, first_age
from jobs.candidates.generate import candidates
from jobs.config.rules import Rules, checked_rules
from jobs.features.shoppers import ShopperHistories
from jobs.ranking.ranker import Ranker
from jobs.shelves import exploration, top_n
from jobs.shelves.dormant import Dormancy
from jobs.shelves.top_n import NO_BOOST, ShelfPolicy
from tests.jobs.small_shop import CATEGORIES, drawn_shop, shoppers, touch

DS = date(2026, 1, 31)
PATHS = (*CATEGORIES, "home/mugsy", None)
BRANDS, SELLERS = ("Acme", "Bolt", None), ("s-1", "s-2")
REGIONS, BANDS = ("DE", "US", "FR", None), ("13-17", "18-24", "65+", "rather not say", None)
AGES = {"13-17": 13, "18-24": 18, "65+": 65}


def items(n: int, **columns: Sequence[Any]) -> pa.Table:
    """Items as rules see them; a column that is not given is null."""
    texts = {
        name: pa.array(columns.get(name, [None] * n), pa.string()) for name in ("category", "brand", "seller_id")
    }
    gaps = pa.array(columns.get("mean_gap_days", [None] * n), pa.float64())
    return pa.table({"item_id": [f"item-{row:04d}" for row in range(n)], **texts, "mean_gap_days": gaps})


def eligible_by(n: int, rules: Mapping[str, Any], **columns: Sequence[Any]) -> Eligibility:
    return eligibility_of(items(n, **columns), Rules.of(checked_rules(rules, "test")))


def people(shop: ShopperHistories, region: Sequence[Any], age_band: Sequence[Any]) -> ShopperHistories:
    texts = {"region": np.array(region, object), "age_band": np.array(age_band, object)}
    return replace(shop, users=shop.users | texts)


@pytest.mark.parametrize(
    ("band", "age"),
    [("18-24", 18), ("65+", 65), ("0-17", 0), (" 25 to 34", 25), ("18", 18), ("21_30", 21), ("18\N{EN DASH}24", 18)],
)
def test_an_age_band_counts_as_its_lowest_age(band: str, age: int) -> None:
    assert first_age(band) == age


@pytest.mark.parametrize("band", ["<18", "under 18", "1980s", "1980-1989", "adult", "-24", "18yrs"])
def test_a_band_without_a_lowest_age_is_an_unknown_age(band: str) -> None:
    assert first_age(band) == 0


def test_items_are_blocked_for_everybody_by_item_category_brand_and_seller() -> None:
    rules = {"blocked": {"items": ["item-0000"], "categories": ["home"], "brands": ["Acme"], "sellers": ["s-2"]}}
    eligibility = eligible_by(
        8,
        rules,
        category=[None, "home", "home/mugs", "homes", "garden/home", None, None, None],
        brand=[None] * 5 + ["Acme", "acme", None],
        seller_id=[None] * 7 + ["s-2"],
    )
    assert eligibility.blocked.tolist() == [True, True, True, False, False, True, False, True]
    assert eligibility.restricted.tolist() == eligibility.blocked.tolist()


def test_a_minimum_age_is_the_regions_own_and_the_strictest_where_the_region_is_unknown() -> None:
    rules = {
        "age_limits": [
            {"category": "drinks", "least_age": 18, "by_region": {"US": 21, "DE": 0}},
            {"item": "item-0001", "least_age": 65},
        ]
    }
    eligibility = eligible_by(3, rules, category=["drinks/wine", "drinks/wine", "tea"])
    shop = people(
        shoppers(3, *([[]] * 7)),
        region=["US", "DE", "FR", None, "", "FR", "DE"],
        age_band=["18-24", None, "18-24", "18-24", "18-24", "13-17", "65+"],
    )
    user = np.repeat(np.arange(7), 3)
    seen = eligibility.is_eligible(shop, user, np.tile(np.arange(3), 7)).reshape(7, 3)
    assert seen[:, 0].tolist() == [False, True, True, False, False, False, True]
    assert seen[:, 1].tolist() == [False] * 6 + [True]
    assert seen[:, 2].all()
    assert eligibility.restricted.tolist() == [True, True, False]
    assert not eligibility.blocked.any()


@pytest.mark.parametrize(
    ("days_ago", "own_gap", "items_gap", "shown"),
    [
        (29, np.nan, None, False),
        (30, np.nan, None, True),  # "the last 30 days" are those 0 to 29 days ago
        (9, 10.0, None, True),  # due on the day after, on which the shelf is read
        (8, 10.0, None, False),
        (9, np.nan, 10.0, True),
        (8, np.nan, 10.0, False),
        (9, 11.0, 10.0, False),  # the shopper's own rhythm comes before the item's
        (9, 10.0, 99.0, True),
    ],
)
def test_what_was_just_bought_is_withheld_until_it_is_due_again(
    days_ago: int, own_gap: float, items_gap: float | None, shown: bool
) -> None:
    eligibility = eligible_by(2, {"just_bought": {"days": 30}}, mean_gap_days=[items_gap, None])
    bought = touch(0, bought=2, days_ago=days_ago) | {"mean_gap_days": own_gap}
    shop = shoppers(2, [bought, touch(1, viewed=3, days_ago=1)], [touch(1, bought=1, days_ago=40)])
    user, item = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert eligibility.is_eligible(shop, user, item).tolist() == [shown, True, True, True]


names = st.lists(st.sampled_from([path for path in PATHS if path]), max_size=2)
limits = st.fixed_dictionaries(
    {"least_age": st.sampled_from([14, 18, 21, 66])},
    optional={"by_region": st.dictionaries(st.sampled_from(["DE", "US"]), st.sampled_from([0, 16, 21]))},
)
some_rules = st.fixed_dictionaries(
    {
        "blocked": st.fixed_dictionaries(
            {
                "items": st.lists(st.sampled_from([f"item-{row:04d}" for row in range(60)]), max_size=4),
                "categories": names,
                "brands": st.lists(st.just("Acme"), max_size=1),
                "sellers": st.lists(st.just("s-2"), max_size=1),
            }
        ),
        "age_limits": st.lists(
            st.one_of(
                st.tuples(limits, st.sampled_from(["home", "toys/trains"])).map(
                    lambda of: {**of[0], "category": of[1]}
                ),
                limits.map(lambda limit: {**limit, "brand": "Bolt"}),
                limits.map(lambda limit: {**limit, "item": "item-0007"}),
            ),
            max_size=3,
        ),
    },
    optional={"just_bought": st.fixed_dictionaries({"days": st.integers(1, 90)})},
)


def least_age(item: Mapping[str, Any], region: str | None, rules: Mapping[str, Any]) -> int:
    """The least age of an item, said the slow way."""

    def is_of(kind: str, name: str) -> bool:
        value = item[{"item": "item_id", "seller": "seller_id"}.get(kind, kind)]
        return value == name or (kind == "category" and value is not None and value.startswith(f"{name}/"))

    plural = {"item": "items", "category": "categories", "brand": "brands", "seller": "sellers"}
    blocked = rules["blocked"]
    if any(is_of(kind, name) for kind, kinds in plural.items() for name in blocked[kinds]):
        return UNREACHABLE_AGE
    ages = [0]
    for limit in rules["age_limits"]:
        if any(kind in limit and is_of(kind, limit[kind]) for kind in plural):
            by_region = limit.get("by_region", {})
            strictest = max([limit["least_age"], *by_region.values()])
            ages.append(by_region.get(region, limit["least_age"]) if region else strictest)
    return max(ages)


@settings(max_examples=40, deadline=None)
@given(some_rules, st.integers(0, 2), st.sampled_from([0, 10]), st.integers(0, 100), st.booleans())
def test_no_list_breaks_a_rule_and_shelves_stay_full(
    rules: Mapping[str, Any], seed: int, dormant_days: int, draw: int, candidates_know: bool
) -> None:
    shop, drawn = drawn_shop(seed)
    rng, n, length = np.random.default_rng(draw), len(drawn.catalogue), 12
    shop = people(
        shop, rng.choice(np.array(REGIONS, object), len(shop)), rng.choice(np.array(BANDS, object), len(shop))
    )
    drawn_columns = {"category": PATHS, "brand": BRANDS, "seller_id": SELLERS}
    columns = {name: rng.choice(np.array(values, object), n) for name, values in drawn_columns.items()}
    table = items(n, **columns, mean_gap_days=rng.choice(np.array([None, 3.0, 40.0], object), n))
    eligibility = eligibility_of(table, Rules.of(checked_rules(rules, "test")))
    rows, strangers = table.to_pylist(), [least_age(row, None, rules) > 0 for row in table.to_pylist()]
    assert eligibility.restricted.tolist() == strangers

    policy = ShelfPolicy(length, dormancy=Dormancy(dormant_days, "fused"))
    listed = drawn.without(eligibility.blocked)
    # Ranking holds the rules by itself too: candidates may have been drawn under others.
    found = candidates(shop, listed, 40, eligibility=eligibility if candidates_know else None)
    on = top_n.shelves(shop, found, listed, Ranker({}, {}), eligibility, policy)
    shelves = top_n.shelf_rows(shop, on, listed, eligibility).to_pylist()
    user_of, item_of = (
        {name: row for row, name in enumerate(ids.to_pylist())} for ids in (shop.user_id, table["item_id"])
    )
    region, band = shop.users["region"], shop.users["age_band"]
    for place in shelves:
        user = user_of[place["user_id"]]
        age = AGES.get(band[user], 0)
        shown = [place["item_id"], *([place["reason_item_id"]] if place["reason_item_id"] else [])]
        assert all(least_age(rows[item_of[name]], region[user], rules) <= age for name in shown), place
        mine = slice(shop.indptr[user], shop.indptr[user + 1])
        at = np.flatnonzero(shop.history["item_pos"][mine] == item_of[place["item_id"]])
        if len(at) and "just_bought" in rules:
            pair = {name: column[mine][at[0]] for name, column in shop.history.items()}
            gap = rows[item_of[place["item_id"]]]["mean_gap_days"]
            gap = pair["mean_gap_days"] if pair["mean_gap_days"] == pair["mean_gap_days"] else gap
            since = pair["days_since_last_purchase"]
            assert not since < rules["just_bought"]["days"] or (gap is not None and gap <= since + 1), place

    unruled = candidates(shop, drawn, 60)
    for user in range(len(shop)):
        if candidates_know and (not dormant_days or shop.users["days_since_last_event"][user] <= dormant_days):
            mine = unruled.item[unruled.user == user]
            fit = eligibility.is_eligible(shop, np.full(len(mine), user), mine).sum()
            assert (on.user == user).sum() >= min(length, fit)

    for_anybody = replace(drawn.catalogue, withheld=eligibility.restricted)
    pools = exploration.pool_items(for_anybody, np.zeros(n, np.int64), np.zeros(n, np.int64))
    assert not any(strangers[position] for pool in pools for position in pool.position.tolist())


def test_without_rules_tiers_and_boost_shelves_are_what_the_ranker_makes_of_the_candidates() -> None:
    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 40)
    plain = top_n.shelves(shop, found, drawn, Ranker({}, {}), None, ShelfPolicy(12))
    disabled = ShelfPolicy(12, boost=replace(NO_BOOST, new_item_boost_days=1), dormancy=Dormancy(10_000, "fused"))
    no_rules = eligible_by(len(drawn.catalogue), {})
    ruled = candidates(shop, drawn.without(no_rules.blocked), 40, eligibility=no_rules)
    same = top_n.shelves(shop, ruled, drawn, Ranker({}, {}), no_rules, disabled)
    for name in ("user", "item", "rank", "value", "source"):
        np.testing.assert_array_equal(getattr(same, name), getattr(plain, name))
    assert top_n.shelf_rows(shop, same, drawn, no_rules).equals(top_n.shelf_rows(shop, plain, drawn, None))
    assert len(plain.user) == 12 * len(shop)
