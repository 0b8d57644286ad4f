"""Lists of one shopper's own in a lake: rules hold on them, and they are built only when stale."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.config.parameters import Parameters
from jobs.config.rules import checked_rules
from jobs.lake.contracts import contract, spark_schema
from jobs.lake.lake import Lake
from jobs.lake.tables import ITEM, SHOPPER_LISTS, USER, USER_ITEM
from jobs.shelves import shopper_lists

DS = date(2026, 1, 31)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PLAIN: dict[str, Any] = {"int": 0, "bigint": 0, "double": 0.0, "date": DS, "string": "x", "timestamp": NOON}
RULES = {
    "blocked": {"items": ["recalled"]},
    "age_limits": [{"item": "wine", "least_age": 18}],
    "just_bought": {"days": 20},
}
pytestmark = pytest.mark.usefixtures("nothing_compiled")


def lay(spark: SparkSession, lake: Lake, table: str, rows: list[dict[str, Any]]) -> None:
    """Write a day of a table; a column that a row leaves out is plain where it may not be null."""
    schema = spark_schema(contract(table))
    plain = {c.name: None if c.nullable else PLAIN[c.type] for c in contract(table).stored_columns}
    lake.write(
        spark.createDataFrame([tuple((plain | row)[field.name] for field in schema) for row in rows], schema),
        table,
        DS,
        inputs={},
    )


def bought(user: str, item: str, days_ago: int, gap: float = 12.0) -> dict[str, Any]:
    row = {"user_id": user, "item_id": item, "purchase_count": 2, "purchase_day_count": 2, "mean_gap_days": gap}
    return row | {"days_since_last_purchase": days_ago, "days_since_last_event": days_ago}


def viewed(user: str, item: str, days_ago: int) -> dict[str, Any]:
    row = {"user_id": user, "item_id": item, "view_count": 1, "days_since_last_event": days_ago}
    return row | {"last_event_ts": NOON - timedelta(days=days_ago)}


@pytest.fixture
def shop(spark: SparkSession, lake: Lake) -> Lake:
    """A lake with one day's features of a minor and an adult who do the same."""
    ids = sorted(("fresh", "due", "wine", "recalled", "lamp"))
    counts = {
        "purchaser_count_30d": 9,
        "purchaser_count_total": 9,
        "repeat_purchaser_count": 5,
        "mean_gap_days": 12.0,
    }
    lay(spark, lake, ITEM, [counts | {"item_pos": row, "item_id": item} for row, item in enumerate(ids)])
    ages = {"adult": "18-24", "minor": "13-17", "no age": None}
    lay(spark, lake, USER, [{"user_id": user, "age_band": band} for user, band in ages.items()])
    pairs = [
        pair
        for user in ages
        for pair in (
            bought(user, "fresh", 10),
            bought(user, "due", 11),
            viewed(user, "wine", 1),
            viewed(user, "recalled", 2),
            viewed(user, "lamp", 3),
        )
    ]
    lay(spark, lake, USER_ITEM, [pair | {"item_pos": ids.index(pair["item_id"])} for pair in pairs])
    return lake


def listed(lake: Lake, user: str, name: str) -> list[str]:
    rows = lake.arrow(SHOPPER_LISTS, DS).to_pylist()
    return [row["item_id"] for row in rows if (row["user_id"], row["list"]) == (user, name)]


def test_without_rules_everything_is_listed_and_a_night_builds_it_once(spark: SparkSession, shop: Lake) -> None:
    built = shopper_lists.build(shop, DS, Parameters())
    assert shopper_lists.build(shop, DS, Parameters()) == built
    for user in ("adult", "minor", "no age"):
        assert listed(shop, user, "buy_again") == ["fresh", "due"]
        assert listed(shop, user, "recently_viewed") == ["wine", "recalled", "lamp"]
    shorter = shopper_lists.build(shop, DS, Parameters().with_values({"shelves.own_list_length": 1}))
    assert shorter.fingerprint != built.fingerprint
    assert listed(shop, "adult", "recently_viewed") == ["wine"]


def test_rules_hold_for_each_shopper_and_change_the_lists(spark: SparkSession, shop: Lake) -> None:
    built = shopper_lists.build(shop, DS, Parameters())
    ruled = shopper_lists.build(shop, DS, Parameters(rules=checked_rules(RULES, "test")))
    assert ruled.fingerprint != built.fingerprint
    seen = {user: listed(shop, user, "recently_viewed") for user in ("adult", "minor", "no age")}
    assert seen == {"adult": ["wine", "lamp"], "minor": ["lamp"], "no age": ["lamp"]}
    assert {tuple(listed(shop, user, "buy_again")) for user in seen} == {("due",)}
