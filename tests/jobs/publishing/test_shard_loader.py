"""Shards loaded by Spark's executors: the same snapshot, and errors that come back as they are."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.publishing.publish import publish
from jobs.publishing.shard_loader import OnSpark
from jobs.publishing.snapshot_columns import PublishError
from serving.snapshot.manifest import StoreError
from serving.stores import open_store
from tests.serving import servers
from tests.serving.publisher import whole
from tests.serving.small_shop import night


@pytest.fixture(params=["lmdb", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "lmdb":
        yield f"lmdb://{tmp_path}/store"
        return
    with servers.redis_server(tmp_path / "redis") as (port, _):
        yield f"redis://127.0.0.1:{port}?namespace={uuid.uuid4().hex[:8]}&lease=2"


def test_a_night_loaded_by_executors_is_the_one_loaded_in_one_process(
    spark: SparkSession, url: str, tmp_path: Path
) -> None:
    with closing(open_store(f"lmdb://{tmp_path}/alone")) as alone:
        wanted = publish(night(lists=True), alone).manifest
    with closing(open_store(url)) as store:
        done = publish(night(lists=True), store, load=OnSpark(spark, url))
        assert done.live
        assert (done.manifest.hash, done.manifest.metrics) == (wanted.hash, wanted.metrics)
        assert whole(store, done.manifest.version)


def test_an_error_in_an_executor_ends_the_publish_as_itself(spark: SparkSession, url: str) -> None:
    tonight = night()

    def spoiled(shard: int) -> pa.Table:
        table = tonight.shelves(shard)
        sources = ["tea_leaves"] * len(table) if shard == 2 else table["source"].to_pylist()
        return table.set_column(table.column_names.index("source"), "source", pa.array(sources))

    with closing(open_store(url)) as store:
        with pytest.raises(PublishError, match="source 'tea_leaves'"):
            publish(replace(tonight, shelves=spoiled), store, load=OnSpark(spark, url))
        assert store.pointer().live is None
        assert publish(tonight, store, load=OnSpark(spark, url)).live


def test_an_executor_that_cannot_reach_the_store_says_so(spark: SparkSession, tmp_path: Path) -> None:
    away = f"redis://127.0.0.1:{servers.free_port()}?namespace=away&timeout=1"
    with closing(open_store(f"lmdb://{tmp_path}/store")) as store, pytest.raises(StoreError, match="did not answer"):
        publish(night(), store, load=OnSpark(spark, away))
