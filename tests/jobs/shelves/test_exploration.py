"""Exploration pools: from exposures and what followed them to posteriors, their order and the snapshot's columns."""

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from jobs.config.parameters import Parameters
from jobs.features.catalogue import Catalogue
from jobs.lake.contracts import contract, spark_schema
from jobs.lake.lake import Lake
from jobs.shelves import exploration
from jobs.shelves.exploration import (
    FIRST_GUESS,
    KNOWN_WITHIN,
    POOL_ITEMS,
    PRIOR_EXPOSURES,
    draws,
    pool_items,
    pools_of,
)
from jobs.spark.queries import query
from serving.snapshot.contents import ORDERINGS

DS = date(2026, 2, 28)
NOON = datetime(2026, 2, 28, 12)
LIMITS = {"window_days": 28, "places": 20, "follow_minutes": 30}


def outcomes(
    spark: SparkSession, exposures: list[dict[str, Any]], interactions: list[dict[str, Any]]
) -> dict[str, tuple[int, int]]:
    """Run the query on a few rows: item to exposures and clicks. Rows are of DS at noon unless they say otherwise."""
    views = {}
    for name, rows in (("exposures", exposures), ("interactions", interactions)):
        schema = T.StructType([T.StructField("ds", T.DateType()), *spark_schema(contract(f"staging/{name}")).fields])
        filled = []
        for number, row in enumerate(rows):
            base = {"ds": row.get("ts", NOON).date(), "ts": NOON, "event_type": "click", "position": 0}
            base |= {"interaction_id": str(number), "event_date": row.get("ts", NOON).date()} | row
            filled.append(tuple(base.get(field) for field in schema.names))
        views[name] = spark.createDataFrame(filled, schema)
    followed = query(spark, "marts/followed_exposures", views, {"ds": DS, **LIMITS})
    rows = query(spark, "marts/exposure_outcomes", {"followed_exposures": followed}, {}).collect()
    return {row.item_id: (row.exposure_count, row.click_count) for row in rows}


def shown(item_id: str, request_id: str = "r1", **more: Any) -> dict[str, Any]:
    return {"item_id": item_id, "request_id": request_id, "user_id": "u1"} | more


def test_exposures_count_once_and_are_followed_by_what_names_their_request(spark: SparkSession) -> None:
    found = outcomes(
        spark,
        [shown("a"), shown("b", position=1), shown("a", "r2", user_id=None), shown("c", position=20)],
        [
            {"item_id": "a", "request_id": "r1", "event_type": "click"},
            {"item_id": "a", "request_id": "r1", "event_type": "purchase"},
            {"item_id": "b", "request_id": "r1", "event_type": "impression"},
            {"item_id": "b", "request_id": "r2", "event_type": "click"},
        ],
    )
    assert found == {"a": (2, 1), "b": (1, 0)}  # c stands beyond the places that are looked at


def test_an_event_without_a_request_follows_the_shoppers_latest_exposure_within_half_an_hour(
    spark: SparkSession,
) -> None:
    later = NOON + timedelta(minutes=10)
    found = outcomes(
        spark,
        [shown("a", "r1"), shown("a", "r2", ts=later), shown("b", "r1"), shown("c", "r1"), shown("d", "r1")],
        [
            {"item_id": "a", "user_id": "u1", "ts": later + timedelta(minutes=1), "event_type": "view"},
            {"item_id": "b", "user_id": "u1", "ts": NOON + timedelta(minutes=30), "event_type": "view"},
            {"item_id": "c", "user_id": "u1", "ts": NOON - timedelta(seconds=1), "event_type": "view"},
            {"item_id": "d", "user_id": "u2", "ts": later, "event_type": "view"},
        ],
    )
    assert found == {"a": (2, 1), "b": (1, 0), "c": (1, 0), "d": (1, 0)}


def test_the_window_has_28_days_and_ends_with_the_day(spark: SparkSession) -> None:
    first, before, after = NOON - timedelta(days=27), NOON - timedelta(days=28), NOON + timedelta(days=1)
    found = outcomes(
        spark,
        [shown("a", ts=first), shown("b", ts=before), shown("c", ts=after), shown("d", ts=NOON)],
        [{"item_id": "d", "request_id": "r1", "ts": after}],
    )
    assert found == {"a": (1, 0), "d": (1, 0)}


def catalogue(n: int, *, age: list[int] | None = None, stock: list[float] | None = None) -> Catalogue:
    names = ("home", "home/mugs", "toys")
    return Catalogue(
        item_id=pa.array([f"i{number:04d}" for number in range(n)]),
        columns={
            "age_days": np.array(age or [200] * n),
            "stock": np.array(stock or [np.nan] * n),
            "weight_30d": np.arange(n)[::-1] * 10,
        },
        category_code=np.array([-1 if number % 10 == 9 else number % 3 for number in range(n)], np.int32),
        category_names=names,
    )


def none(n: int) -> np.ndarray:
    return np.zeros(n, np.int64)


def test_before_any_exposure_every_item_has_the_prior_and_the_most_wanted_come_first() -> None:
    pools = pool_items(catalogue(300), none(300), none(300))
    assert [pool.pool for pool in pools] == ["", "home", "toys"]
    assert pools[0].position.tolist() == list(range(POOL_ITEMS))
    rate = FIRST_GUESS[0] / sum(FIRST_GUESS)
    np.testing.assert_allclose(pools[0].alpha, rate * PRIOR_EXPOSURES)
    np.testing.assert_allclose(pools[0].alpha + pools[0].beta, PRIOR_EXPOSURES)


def test_new_and_uncertain_items_have_separate_places_and_items_out_of_stock_have_none() -> None:
    age = [5 if number < 150 else 31 for number in range(300)]
    age[0] = 30
    stock = [0.0 if number in (1, 200) else 3.0 for number in range(300)]
    pool = pool_items(catalogue(300, age=age, stock=stock), none(300), none(300))[0]
    assert pool.new.sum() == POOL_ITEMS
    assert (~pool.new).sum() == POOL_ITEMS
    assert set(pool.position[pool.new].tolist()) <= set(range(150))
    assert 0 in pool.position[pool.new]
    assert not {1, 200} & set(pool.position.tolist())


def test_an_item_leaves_the_pools_once_its_rate_is_known() -> None:
    exposures, clicks = none(50), none(50)
    exposures[3], clicks[3] = 10_000, 1_000
    exposures[4], clicks[4] = 40, 4
    pool = pool_items(catalogue(50), exposures, clicks)[0]
    assert 3 not in pool.position
    assert 4 in pool.position
    mean = pool.alpha / (pool.alpha + pool.beta)
    deviation = np.sqrt(mean * (1 - mean) / (pool.alpha + pool.beta + 1))
    assert (deviation >= KNOWN_WITHIN * mean).all()


def test_a_category_with_few_items_has_no_pool_of_its_own() -> None:
    assert [pool.pool for pool in pool_items(catalogue(40), none(40), none(40))] == ["", "home"]


def test_draws_follow_their_posteriors_and_are_the_same_again() -> None:
    exposures, clicks = none(300), none(300)
    exposures[:], clicks[:20] = 30, 9
    found = pool_items(catalogue(300), exposures, clicks)[0]
    drawn = draws(found, 7, DS)
    assert drawn.shape == (ORDERINGS, len(found.position))
    np.testing.assert_array_equal(drawn, draws(found, 7, DS))
    assert not np.array_equal(drawn, draws(found, 8, DS))
    mean = found.alpha / (found.alpha + found.beta)
    error = np.sqrt(mean * (1 - mean) / (found.alpha + found.beta + 1) / ORDERINGS)
    assert (np.abs(drawn.mean(axis=0) - mean) < 5 * error).all()


def test_the_table_becomes_the_snapshots_pools_in_the_order_of_the_catalogue() -> None:
    of = catalogue(300, age=[5 if number % 4 == 0 else 90 for number in range(300)])
    told = pa.table({"item_id": ["i0004", "gone"], "exposure_count": [50, 9], "click_count": [2, 9]})
    table = exploration.exploration(of, told, 7, DS)
    assert table.column_names == [column.name for column in contract("marts/exploration").stored_columns]
    pools = pools_of(table, of.item_id.to_pylist())
    assert [pool.category for pool in pools] == ["", "home", "toys"]
    wanted = pool_items(of, *exploration.outcome_counts(of, told))
    for pool, want in zip(pools, wanted, strict=True):
        order = np.argsort(want.position)
        np.testing.assert_array_equal(pool.positions, want.position[order])
        np.testing.assert_array_equal(pool.new, want.new[order])
        np.testing.assert_array_equal(pool.draws, draws(want, 7, DS)[:, order])
        np.testing.assert_allclose(pool.means, (want.alpha / (want.alpha + want.beta))[order])
        assert pool.prior == want.prior


@pytest.fixture
def staged(spark: SparkSession, lake: Lake) -> Lake:
    """A lake with a day's features and exposures, and no more."""
    items = spark_schema(contract("features/item"))
    defaults: dict[str, Any] = {"int": 0, "bigint": 0, "double": 0.0, "date": DS, "string": "x"}
    rows = []
    for number in range(30):
        row = {field.name: defaults[field.dataType.simpleString()] for field in items}
        row |= {"item_pos": number, "item_id": f"i{number:04d}", "category": "home", "stock": 5, "age_days": 90}
        rows.append(tuple(row[field.name] for field in items))
    lake.write(spark.createDataFrame(rows, items), "features/item", DS, inputs={})
    shape = spark_schema(contract("staging/exposures"))
    told = {"request_id": "r", "ts": NOON, "item_id": "i0003", "position": 0}
    seen = spark.createDataFrame([tuple(told.get(field.name) for field in shape)], shape)
    lake.write(seen, "staging/exposures", DS, inputs={})
    lake.write(
        spark.createDataFrame([], spark_schema(contract("staging/interactions"))),
        "staging/interactions",
        DS,
        inputs={},
    )
    return lake


def test_a_night_builds_it_once_and_again_when_exposures_change(spark: SparkSession, staged: Lake) -> None:
    built = exploration.build(staged, DS, Parameters())
    rows = staged.arrow("marts/exploration", DS)
    assert set(rows["pool"].to_pylist()) == {"", "home"}
    assert built.metrics == {"pools": 2, "exposures": 1}
    assert exploration.build(staged, DS, Parameters()) == built
    again = exploration.build(staged, DS, Parameters().with_values({"seed": 1}))
    assert again.fingerprint != built.fingerprint
