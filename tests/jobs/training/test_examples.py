"""Labels: what happened to a pair in the horizon and nothing else, joined to the candidates of its shopper."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from jobs.features.counting import counted_events
from jobs.lake.contracts import arrow_type, contract, spark_schema
from jobs.lake.lake import Lake
from jobs.ranking.pair_features import FEATURES
from jobs.spark.engine import OnSpark
from jobs.training import examples as module
from jobs.training.examples import ExampleShard, Part, labels_of, load_examples
from jobs.training.labels import positive_pairs, shown_pairs
from tests.jobs.small_shop import DECAY_DAYS, drawn_shop, lay, lay_shop

DS = date(2026, 2, 1)
NOON = datetime(2026, 2, 3, 12)


def frame(spark: SparkSession, table: str, rows: list[dict[str, Any]]) -> DataFrame:
    """Rows of a staged table or of features/item, typed by the contract; what is not given is null, or of NOON."""
    schema = T.StructType([T.StructField("ds", T.DateType()), *spark_schema(contract(table)).fields])
    filled = []
    for number, row in enumerate(rows):
        ts = row.get("ts", NOON)
        base = {"ds": ts.date(), "ts": ts, "event_date": ts.date(), "interaction_id": str(number), "user_id": "u"}
        filled.append(tuple((base | row).get(name) for name in schema.names))
    return spark.createDataFrame(filled, schema)


def table(name: str, rows: dict[str, list[Any]]) -> pa.Table:
    """Rows typed by the contract."""
    return pa.table({c.name: pa.array(rows[c.name], arrow_type(c.type)) for c in contract(name).stored_columns})


def items(spark: SparkSession) -> DataFrame:
    priced = {"a": 250, "b": None, "c": 100}
    rows = [
        {"item_id": name, "item_pos": at, "price_minor": price} for at, (name, price) in enumerate(priced.items())
    ]
    return frame(spark, "features/item", rows)


def act(item_id: str, event_type: str, **more: Any) -> dict[str, Any]:
    return {"item_id": item_id, "event_type": event_type} | more


def test_labels_count_the_horizon_s_acts_and_its_money(spark: SparkSession) -> None:
    first, last = datetime(2026, 2, 2), datetime(2026, 2, 15, 23, 59)
    acts = [
        act("a", "view", value=12.0, ts=first),
        act("a", "view", value=45.5, ts=last),
        act("a", "click"),
        act("a", "add_to_cart"),
        act("a", "purchase", quantity=Decimal(3)),  # at the item's price
        act("a", "purchase", quantity=Decimal(2), unit_price_minor=200),
        act("a", "view", value=900.0, ts=last + timedelta(minutes=1)),  # the horizon is over
        act("a", "view", value=900.0, ts=first - timedelta(minutes=1)),  # it has not begun
        act("b", "purchase"),
        act("c", "rating", value=5.0),
        act("c", "rating", value=0.5, user_id="hater"),
        act("b", "purchase", user_id="regrets"),
        act("b", "return", quantity=Decimal(1), user_id="regrets", ts=last),
        act("c", "impression"),
        act("b", "impression", user_id="shown"),
        act("a", "view", user_id=None, session_id="s"),
        act("gone", "purchase"),
    ]
    engine = OnSpark(spark)
    counted = counted_events(engine, frame(spark, "staging/interactions", acts), DS + timedelta(days=14), after=DS)
    rows = positive_pairs(engine, counted, items(spark)).collect()
    found = {(row.user_id, row.item_pos): row for row in rows}
    assert set(found) == {("u", 0), ("u", 1), ("u", 2)}
    told = found["u", 0]
    assert (told.purchased, told.view_count, told.cart_count, told.dwell_s) == (True, 3, 1, 45.5)
    assert told.revenue_minor == 3 * 250 + 2 * 200
    assert (found["u", 1].purchased, found["u", 1].revenue_minor) == (True, None)  # bought, and nobody knows for what
    assert (found["u", 2].purchased, found["u", 2].dwell_s, found["u", 2].view_count) == (False, None, 0)


def test_what_was_shown_counts_by_the_first_time_and_what_followed_that(spark: SparkSession) -> None:
    def exposure(item_id: str, request_id: str, position: int, **more: Any) -> dict[str, Any]:
        return {"item_id": item_id, "request_id": request_id, "position": position} | more

    early = NOON - timedelta(days=1)
    shown = [
        exposure("a", "r1", 0, ts=early),
        exposure("a", "r2", 3),
        exposure("b", "r1", 1, ts=early),
        exposure("b", "r2", 4),
        exposure("c", "r3", 5, ts=datetime(2026, 2, 16)),  # after the horizon
        exposure("c", "r4", 20),  # further down than anybody looks
        exposure("c", "r5", 2, user_id=None),
    ]
    acts = [
        act("a", "view", ts=early + timedelta(minutes=29)),  # of no request, but soon after
        act("b", "click", request_id="r2"),  # of the second time
    ]
    frames = frame(spark, "staging/exposures", shown), frame(spark, "staging/interactions", acts)
    rows = shown_pairs(OnSpark(spark), *frames, items(spark), DS + timedelta(days=14), 14).collect()
    assert {(row.item_pos, row.position, row.followed) for row in rows} == {(0, 0, True), (1, 1, False)}


def test_labels_join_their_candidates_and_unknown_facts_are_zero() -> None:
    labels = pa.table(
        {
            "user_id": ["v", "u", "stranger"],
            "item_pos": pa.array([1, 2, 1], pa.int32()),
            "purchased": [True, False, True],
            "view_count": pa.array([0, 4, 9], pa.int32()),
            "cart_count": pa.array([0, 1, 9], pa.int32()),
            "dwell_s": pa.array([None, 8.5, 9.0], pa.float32()),
            "revenue_minor": pa.array([700, None, 9], pa.int64()),
        }
    )
    user, item = np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2], np.int32)
    told = labels_of(labels, pa.array(["u", "v"]), user, item, 3)
    assert {name: column.to_pylist() for name, column in told.items()} == {
        "interaction": [0, 1, 1, 0],
        "purchase": [0, 0, 1, 0],
        "view_count": [0, 4, 0, 0],
        "cart_count": [0, 1, 0, 0],
        "dwell_s": [0, 8.5, 0, 0],
        "revenue_minor": [0, 0, 700, 0],
    }
    nothing = labels_of(labels.slice(0, 0), pa.array(["u", "v"]), user, item, 3)
    assert all(column.to_pylist() == [0] * 4 for column in nothing.values())


def test_examples_have_the_column_order_of_their_contract(lake: Lake) -> None:
    shop, of = drawn_shop()
    lay_shop(lake, DS, shop, of.catalogue)
    one, other = shop.user_id[1].as_py(), shop.user_id[2].as_py()
    n = shop.n_items
    pairs = {"user_id": [one] * n + [other] * n, "item_pos": [*range(n), *range(n)]}
    rows = pairs | {column.name: [0] * 2 * n for column in contract("marts/labels").stored_columns[2:]}
    lay(lake, "marts/labels", DS, table("marts/labels", rows | {"purchased": [True] * n + [False] * n}))
    batches = list(ExampleShard(lake, DS, 60, DECAY_DAYS)(0))
    assert batches[0].schema.names == [column.name for column in contract("marts/examples").stored_columns]
    told = pa.Table.from_batches(batches)
    assert set(told["interaction"].to_pylist()) == {1}
    assert told["purchase"].to_pylist() == [int(user_id == one) for user_id in told["user_id"].to_pylist()]


def test_examples_have_the_place_of_what_was_shown_if_that_fact_is_required(lake: Lake) -> None:
    rows = {column.name: [0, 0, 0] for column in contract("marts/examples").stored_columns}
    rows |= {"user_id": ["u", "u", "v"], "item_pos": [4, 7, 4], "features": [[0.0] * len(FEATURES)] * 3}
    rows |= {"is_whole": [True, True, False]}
    lay(lake, "marts/examples", DS, table("marts/examples", rows))
    plain = load_examples(lake, DS)
    assert list(plain.labels) == ["purchase", "interaction"]
    wanted = ("purchase", "interaction", "place", "followed")
    assert load_examples(lake, DS, wanted).labels["place"].tolist() == [0, 0, 0]  # a window without exposures
    shown = {"user_id": ["u", "v", "v"], "item_pos": [7, 4, 9], "position": [0, 2, 1]}
    lay(lake, "marts/shown", DS, table("marts/shown", shown | {"followed": [True, False, True]}))
    told = load_examples(lake, DS, wanted).labels
    assert (told["place"].tolist(), told["followed"].tolist()) == ([0, 1, 3], [0, 1, 0])


def test_of_shoppers_who_are_not_whole_a_sample_and_all_labels_are_examples(lake: Lake) -> None:
    shop, of = drawn_shop()
    lay_shop(lake, DS, shop, of.catalogue)
    n = shop.n_items
    users = [user for user in shop.user_id.to_pylist() for _ in range(n)]
    pairs = {"user_id": users, "item_pos": [*range(n)] * len(shop)}
    rows = pairs | {column.name: [0] * len(users) for column in contract("marts/labels").stored_columns[2:]}
    bought = [item % 7 == 0 for item in pairs["item_pos"]]
    labelled = {
        name: [value for value, kept in zip(values, bought, strict=True) if kept] for name, values in rows.items()
    }
    lay(lake, "marts/labels", DS, table("marts/labels", labelled | {"purchased": [True] * sum(bought)}))
    whole = pa.Table.from_batches(ExampleShard(lake, DS, 60, DECAY_DAYS, seed=5)(0))
    some = pa.Table.from_batches(ExampleShard(lake, DS, 60, DECAY_DAYS, 5, 0.2, 0.3)(0))
    is_whole = np.array(some["is_whole"])
    kept_whole = set(np.array(some["user_id"])[is_whole])
    assert 0.1 < len(kept_whole) / len(shop) < 0.6
    wanted = np.isin(np.array(whole["user_id"]), list(kept_whole)) | (np.array(whole["draw"]) < 0.2)
    wanted |= np.array(whole["interaction"]) > 0
    of_whole = whole.filter(pa.array(wanted))
    columns = [name for name in some.schema.names if name not in ("is_whole", "features")]
    assert some.select(columns).equals(of_whole.select(columns))
    features = [np.concatenate(found["features"].to_pylist()) for found in (some, of_whole)]
    np.testing.assert_array_equal(*features)  # a missing number is NaN
    assert 0.15 < (np.array(whole["draw"]) < 0.2).mean() < 0.25


def test_a_window_that_trains_is_loaded_up_to_a_number_of_examples_with_all_labels(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 400
    rows = {column.name: [0] * n for column in contract("marts/examples").stored_columns}
    rows |= {"user_id": [f"u{number // 100}" for number in range(n)], "item_pos": [*range(100)] * 4}
    rows |= {"features": [[0.0] * len(FEATURES)] * n, "is_whole": [number >= 300 for number in range(n)]}
    rows |= {
        "draw": [number % 100 / 100 for number in range(n)],
        "interaction": [int(number % 50 == 49) for number in range(n)],
    }
    lay(lake, "marts/examples", DS, table("marts/examples", rows))
    monkeypatch.setattr(module, "MOST_SAMPLED", 100)
    laid = lake.manifest("marts/examples", DS)
    sampled = msgspec.structs.replace(laid, parameters={"negative_share": 0.1})
    monkeypatch.setattr(Lake, "manifest", lambda *_: sampled)
    assert len(load_examples(lake, DS).user) == n
    assert load_examples(lake, DS, part=Part.WHOLE).user_id.to_pylist() == ["u3"]
    sample = load_examples(lake, DS, part=Part.SAMPLE)
    assert len(sample.user) == 4 * (25 + 2)  # a quarter by their draws, and two labels of each shopper
    assert (sample.labels["interaction"] > 0).sum() == 8
    assert sample.is_whole.tolist() == [False, False, False, True]
