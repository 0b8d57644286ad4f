"""What a stage's queries run on, and what becomes of rows that are many, odd, or read too late."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.lake.contracts import ContractMismatchError
from jobs.lake.lake import Lake
from jobs.lake.partitions import LakeWriteError, MissingPartitionError
from jobs.lake.tables import ITEMS, SHARDS, USERS
from jobs.spark import engine as engines
from jobs.spark import in_process
from jobs.spark.engine import Engine, OnSpark, engine_for
from jobs.spark.in_process import InProcess
from jobs.spark.queries import QueryBindingError

DS = date(2026, 1, 31)
SHOPPERS = [f"u{n}" for n in range(40)]


def rows_of(**more: Any) -> pa.Table:
    n = len(SHOPPERS)
    columns = {
        "user_id": pa.array(SHOPPERS[::-1]),
        "region": pa.array(["DE", None] * (n // 2)),
        "age_band": pa.nulls(n, pa.string()),
        "signed_up_at": pa.array([datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)] * n, pa.timestamp("us", "UTC")),
        "preferred_categories": pa.array([["home/mugs", "garden"]] * n),
        "deleted": pa.array([False] * n),
    }
    return pa.table(columns | more)


@pytest.fixture(params=["duckdb", "spark"])
def engine(request: pytest.FixtureRequest, spark: SparkSession) -> Engine:
    return InProcess() if request.param == "duckdb" else OnSpark(spark)


def test_rows_are_written_by_the_shard_of_their_shopper_and_read_back_as_they_were(
    engine: Engine, lake: Lake
) -> None:
    with engine:
        written = engine.write(lake, engine.table(rows_of()), USERS, DS, inputs={"made": "here"})
        again = engine.arrow(engine.stored(lake, USERS, [DS]))
    assert (written.row_count, written.inputs) == (len(SHOPPERS), {"made": "here"})
    shards = [lake.shard(USERS, DS, shard)["user_id"].to_pylist() for shard in range(SHARDS)]
    assert all(shard == sorted(shard) for shard in shards)
    assert sorted(user for shard in shards for user in shard) == sorted(SHOPPERS)
    assert lake.arrow(USERS, DS).sort_by("user_id").equals(rows_of().sort_by("user_id"))
    assert again["ds"].to_pylist() == [DS] * len(SHOPPERS)


@pytest.mark.parametrize("name", ["region=EU", "user_id=7", "ds=2020-01-01", "[1]", "what?", "it's *", "{a,b}"])
def test_a_lake_in_a_folder_of_any_name_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    lake = Lake("data/lake")
    with InProcess() as engine:
        engine.write(lake, engine.table(rows_of()), USERS, DS, inputs={})
        found = engine.arrow(engine.stored(lake, USERS, [DS])).sort_by("user_id")
    stored = lake.arrow(USERS, DS).sort_by("user_id")
    assert found["user_id"].to_pylist() == stored["user_id"].to_pylist()
    assert found["region"].to_pylist() == stored["region"].to_pylist()
    assert found["ds"].to_pylist() == [DS] * len(SHOPPERS)


def test_a_column_that_an_older_file_lacks_is_null_there(lake: Lake) -> None:
    days = [DS, DS + timedelta(days=1)]
    with InProcess() as engine:
        for day in days:
            engine.write(lake, engine.table(rows_of()), USERS, day, inputs={})
        for path in Path(lake.root, USERS, f"ds={DS}").glob("*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns(["region"]), path)
        both = engine.arrow(engine.stored(lake, USERS, days))
        old = engine.arrow(engine.stored(lake, USERS, [DS]))
    assert old["region"].null_count == len(SHOPPERS)
    assert both["region"].null_count == len(SHOPPERS) * 3 // 2


def test_a_table_without_shoppers_is_one_sorted_file(engine: Engine, lake: Lake) -> None:
    with engine:
        prices = engine.table(pa.table({"item_id": ["b", "a"], "usual_price_minor": pa.array([2, 1], pa.int64())}))
        written = engine.write(lake, prices, "marts/usual_price", DS, inputs={})
    assert len(written.files) == 1
    assert lake.arrow("marts/usual_price", DS)["item_id"].to_pylist() == ["a", "b"]


def test_other_columns_than_the_contracts_are_refused_by_name(engine: Engine, lake: Lake) -> None:
    odd = rows_of(odd=pa.nulls(len(SHOPPERS), pa.string())).drop_columns(["region"])
    with (
        engine,
        pytest.raises(ContractMismatchError, match=r"misses region.*has odd, which"),
    ):
        engine.write(lake, engine.table(odd), USERS, DS, inputs={})
    assert lake.find_manifest(USERS, DS) is None


def test_a_day_that_was_never_built_is_named(engine: Engine, lake: Lake) -> None:
    with engine, pytest.raises(MissingPartitionError, match=f"{ITEMS} has no ds=2026-01-31"):
        engine.stored(lake, ITEMS, [DS])


def test_a_query_wants_its_views_and_parameters(engine: Engine) -> None:
    with engine, pytest.raises(QueryBindingError, match="misses parameter ds"):
        engine.query("features/latest_user", {"users": engine.table(rows_of())}, {})


def test_days_are_written_one_file_each_and_an_empty_one_too(engine: Engine, lake: Lake) -> None:
    other = date(2026, 2, 1)
    with engine:
        days = engine.table(rows_of(ds=pa.array([DS] * len(SHOPPERS), pa.date32())))
        engine.write_days(lake, days, USERS, [DS, other], inputs={DS: {}, other: {}})
    assert [lake.manifest(USERS, day).row_count for day in (DS, other)] == [len(SHOPPERS), 0]
    assert lake.arrow(USERS, other).num_rows == 0


@pytest.mark.parametrize("written", [date(2026, 1, 1), date(2026, 2, 1)])
def test_rows_of_another_day_are_not_lost_without_a_word(lake: Lake, written: date) -> None:
    with InProcess() as engine:
        rows = engine.table(rows_of(ds=pa.array([DS] * len(SHOPPERS), pa.date32())))
        with pytest.raises(ValueError, match="staging/users: there are rows of ds=2026-01-31, which is not among"):
            engine.write_days(lake, rows, USERS, [written], inputs={written: {}})


def test_a_query_that_was_given_other_rows_keeps_those_it_was_made_of(engine: Engine) -> None:
    def shopper(region: str) -> pa.Table:
        row = rows_of().slice(0, 1).set_column(1, "region", pa.array([region]))
        return row.append_column("ds", pa.array([DS], pa.date32()))

    with engine:
        first, second = (
            engine.query("features/latest_user", {"users": engine.table(shopper(region))}, {"ds": DS})
            for region in ("DE", "FR")
        )
        assert engine.arrow(second)["region"].to_pylist() == ["FR"]
        assert engine.arrow(engine.keep(first))["region"].to_pylist() == ["DE"]
        assert engine.count(first, "user_id") == 1


def test_a_query_that_memory_and_disk_cannot_hold_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "MEMORY_SHARE", 0.0005)
    with InProcess() as engine:
        engine._connection.execute("SET max_temp_directory_size = '1MB'")
        many = engine.select("SELECT MD5(CAST(id AS STRING)) AS a FROM RANGE(20000000) AS t(id)", {})
        with pytest.raises(LakeWriteError, match=r"needs more room.*TMPDIR.*run the same command again"):
            engine.keep(engine.select("SELECT a FROM given ORDER BY a DESC", {"given": many}))


def test_few_rows_stay_in_this_process_and_many_or_a_cluster_take_spark(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOPSHELF_SPARK_MASTER", raising=False)
    with engine_for(1000) as few:
        assert isinstance(few, InProcess)
    monkeypatch.setattr(engines, "session", lambda: spark)
    assert isinstance(engine_for(engines.MOST_ROWS_HERE + 1), OnSpark)
    monkeypatch.setenv("TOPSHELF_SPARK_MASTER", "spark://cluster:7077")
    assert isinstance(engine_for(0), OnSpark)
    monkeypatch.setenv("TOPSHELF_SPARK_MASTER", "local[2]")
    with engine_for(0) as local:
        assert isinstance(local, InProcess)
