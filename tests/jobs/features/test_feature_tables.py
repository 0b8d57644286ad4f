"""The features of a day, in a lake: as things stood then, the same from the same, and built only when stale."""

import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from jobs.config.parameters import Parameters
from jobs.features import feature_tables as features
from jobs.features.event_history import EventHistory
from jobs.lake.contracts import contract, spark_schema
from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from jobs.lake.tables import SHARDS
from jobs.shelves import fallback
from jobs.spark.engine import OnSpark
from tests.jobs.commands import topshelf

FIRST, DS, LAST = date(2026, 1, 1), date(2026, 1, 10), date(2026, 1, 14)
DAYS = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
KINDS = ("impression", "click", "view", "add_to_cart", "purchase", "rating")
Row = dict[str, Any]
pytestmark = pytest.mark.usefixtures("nothing_compiled")


def events(seed: int, count: int, days: list[date], landed: list[date] | None = None) -> list[Row]:
    """Return events on random days of `days`, each landed on its own day or on one of `landed`."""
    draw = random.Random(seed)
    rows = []
    for n in range(count):
        day = draw.choice(days)
        kind = draw.choice(KINDS)
        user = draw.choice([None, *(f"u{k}" for k in range(8))])
        rows.append(
            {
                "ds": draw.choice(landed) if landed else day,
                "interaction_id": f"{seed}-{n}",
                "user_id": user,
                "session_id": f"s{n % 7}",
                "item_id": f"i{draw.randrange(12)}",
                "event_type": kind,
                "ts": datetime(day.year, day.month, day.day, draw.randrange(24), draw.randrange(60)),
                "event_date": day,
                "value": draw.choice([None, 1.5, 4.0]) if kind in ("rating", "view") else None,
                "quantity": draw.choice([None, Decimal(1), Decimal(3)]) if kind == "purchase" else None,
                "unit_price_minor": draw.choice([None, 199, 2500]) if kind == "purchase" else None,
                "region": draw.choice([None, "UK", "FR"]),
            }
        )
    return rows


def returns(purchases: list[Row], days: list[date]) -> list[Row]:
    """Return rows that take one piece of each of the purchases back, on one of `days` after the other."""
    bought = [row for row in purchases if row["event_type"] == "purchase"]
    told = {"event_type": "return", "quantity": Decimal(1)}
    return [
        row | told | {"interaction_id": f"back-{day}-{n}", "ds": day, "event_date": day}
        for n, row in enumerate(bought)
        for day in [days[n % len(days)]]
    ]


def items(days: list[date], deleted: bool = False) -> list[Row]:
    def of(k: int, day: date) -> Row:
        told = {"title": f"{k} of {day}", "category": f"home/c{k % 3}", "price_minor": 100 + k, "stock": k % 4}
        return {"ds": day, "item_id": f"i{k}", "deleted": deleted and k % 2 == 0, **told}

    return [of(k, day) for day in days for k in range(0, 12, 2)]


def users(days: list[date], deleted: bool = False) -> list[Row]:
    return [
        {"ds": day, "user_id": user_id, "region": "DE", "age_band": "25-34", "deleted": deleted}
        for day in days
        for user_id in ("u0", "u1", "u2", "newcomer")
    ]


def frame(spark: SparkSession, table: str, rows: list[Row]) -> DataFrame:
    schema = T.StructType([T.StructField("ds", T.DateType()), *spark_schema(contract(table)).fields])
    return spark.createDataFrame([tuple(row.get(name) for name in schema.names) for row in rows], schema)


def stage(spark: SparkSession, lake: Lake, days: list[date], *tables: list[Row]) -> None:
    """Write staging for `days` from rows of interactions, items and users."""
    for table, rows in zip((features.INTERACTIONS, features.ITEMS, features.USERS), tables, strict=True):
        inputs = {day: {"rows": str(len(rows))} for day in days}
        lake.write_days(frame(spark, table, rows), table, days, inputs=inputs)


def tables_of(lake: Lake, ds: date) -> dict[str, pa.Table]:
    """Return every table of the day and the fallback shelves, sorted by grain."""
    found = {}
    for table in (*features.TABLES, fallback.FALLBACK):
        grain = [(column, "ascending") for column in contract(table).grain if column != "ds"]
        found[table] = lake.arrow(table, ds).sort_by(grain)
    return found


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> dict[str, pa.Table]:
    features.build_if_stale(lake, ds, parameters)
    fallback.build(lake, ds, parameters)
    return tables_of(lake, ds)


def test_nothing_that_lands_or_happens_after_the_day_changes_a_byte_of_it(spark: SparkSession, lake: Lake) -> None:
    before = [day for day in DAYS if day <= DS]
    after = [day for day in DAYS if day > DS]
    drawn = events(1, 300, before)
    past = [*drawn, *returns(drawn[:150], before[-3:])]
    stage(spark, lake, before, past, items([FIRST]), users([FIRST]))
    told = build(spark, lake, DS, Parameters())
    assert all(len(table) > 0 for table in told.values())

    future = events(2, 200, after)
    late = events(3, 100, before, landed=after)
    early_stamped = events(4, 50, after, landed=[DS])
    everything = [*past, *future, *late, *early_stamped, *returns(drawn, after)]
    random.Random(5).shuffle(everything)
    full = Lake(f"{lake.root}-full")
    changed_later = (items([FIRST]) + items(after, deleted=True), users([FIRST]) + users(after, deleted=True))
    stage(spark, full, DAYS, everything, *changed_later)
    again = build(spark, full, DS, Parameters())

    for table, rows in told.items():
        assert rows.equals(again[table]), table
    features.build_if_stale(full, LAST, Parameters())
    assert full.manifest(features.ITEM, LAST).fingerprint != full.manifest(features.ITEM, DS).fingerprint


def test_spark_builds_the_rows_that_duckdb_builds(spark: SparkSession, lake: Lake) -> None:
    drawn = events(6, 400, DAYS)
    stage(spark, lake, DAYS, [*drawn, *returns(drawn[:200], DAYS[-3:])], items([FIRST, DS]), users([FIRST]))
    here = build(spark, lake, DS, Parameters())
    there = Lake(f"{lake.root}-spark")
    stage(spark, there, DAYS, [*drawn, *returns(drawn[:200], DAYS[-3:])], items([FIRST, DS]), users([FIRST]))
    with OnSpark(spark) as engine:
        history = EventHistory(there, engine, [day for day in DAYS if day <= DS])
        assert features.build_if_stale(there, DS, Parameters(), history)
    fallback.build(there, DS, Parameters())
    for table, rows in tables_of(there, DS).items():
        assert rows.cast(here[table].schema).equals(here[table]), table
        for shard in range(SHARDS if "user_id" in contract(table).grain else 0):
            mine = lake.shard(table, DS, shard)
            assert mine.equals(there.shard(table, DS, shard).cast(mine.schema)), f"shard {shard} of {table}"


def test_a_table_is_built_again_only_when_its_inputs_or_weights_changed(spark: SparkSession, lake: Lake) -> None:
    stage(spark, lake, [FIRST], events(1, 40, [FIRST]), items([FIRST]), users([FIRST]))
    parameters = Parameters()
    assert features.build_if_stale(lake, FIRST, parameters)
    stamp = {table: lake.manifest(table, FIRST) for table in features.TABLES}
    assert not features.build_if_stale(lake, FIRST, parameters)

    heavier = parameters.with_values({"features.event_weight_milli.view": 2000})
    assert features.build_if_stale(lake, FIRST, heavier)
    assert lake.manifest(features.ITEM, FIRST).fingerprint != stamp[features.ITEM].fingerprint

    assert features.build_if_stale(lake, FIRST, parameters)
    for table, manifest in stamp.items():
        assert lake.manifest(table, FIRST).inputs == manifest.inputs
        assert lake.manifest(table, FIRST).row_count == manifest.row_count


def test_only_the_stale_tables_are_built(spark: SparkSession, lake: Lake) -> None:
    stage(spark, lake, [FIRST], events(1, 40, [FIRST]), items([FIRST]), users([FIRST]))
    features.build_if_stale(lake, FIRST, Parameters())
    told = {table: lake.find_manifest(table, FIRST) for table in features.TABLES}
    inputs = {FIRST: {"rows": "none"}}
    lake.write_days(
        frame(spark, features.USERS, users([FIRST], deleted=True)), features.USERS, [FIRST], inputs=inputs
    )
    built: list[str] = []
    write = Lake.write_parts

    def noted(self: Lake, frame: DataFrame, table: str, *given: Any, **named: Any) -> Any:
        built.append(table)
        return write(self, frame, table, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "write_parts", noted)
        assert features.build_if_stale(lake, FIRST, Parameters())
    assert built == [features.USER, features.NEWCOMER, features.USER_ITEM, features.USER_CATEGORY]
    assert lake.find_manifest(features.ITEM, FIRST) == told[features.ITEM]
    assert not set(lake.arrow(features.USER, FIRST)["user_id"].to_pylist()) & {"u0", "u1", "u2"}


def test_a_day_that_staging_lacks_is_named_with_its_remedy(spark: SparkSession, lake: Lake) -> None:
    stage(spark, lake, DAYS[:2], events(1, 5, DAYS[:2]), [], [])
    with pytest.raises(
        MissingPartitionError, match=r"staging/interactions has no ds=2026-01-03; run topshelf stage ingest"
    ):
        features.build_if_stale(lake, DAYS[2], Parameters())


def test_a_gap_before_the_day_is_not_passed_over(spark: SparkSession, lake: Lake) -> None:
    days = [DAYS[0], DAYS[2]]
    stage(spark, lake, days, events(1, 5, days), [], [])
    with pytest.raises(MissingPartitionError, match=r"no ds=2026-01-02; run topshelf stage ingest --ds 2026-01-03"):
        features.build_if_stale(lake, DAYS[2], Parameters())


def test_a_shop_without_items_users_or_categories_has_features(spark: SparkSession, lake: Lake) -> None:
    stage(spark, lake, [FIRST], events(1, 30, [FIRST]), [], [])
    features.build_if_stale(lake, FIRST, Parameters())
    told = {table: lake.manifest(table, FIRST) for table in features.TABLES}
    assert told[features.USER_CATEGORY].row_count == 0
    assert all(told[table].row_count for table in (features.ITEM, features.USER, features.USER_ITEM))


def test_the_stages_run_from_their_command_lines(
    spark: SparkSession, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    stage(spark, lake, [FIRST], events(1, 30, [FIRST]), items([FIRST]), users([FIRST]))
    for name in ("features", "features", "fallback"):
        topshelf("stage", name, "--ds", FIRST, "--lake", lake.root)
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{FIRST}: features: 12 item, ")
    assert told[1].startswith(f"{FIRST}: features: nothing changed; 12 item, ")
    assert told[2].startswith(f"{FIRST}: fallback: ")
