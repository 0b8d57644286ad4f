"""The lake on a real S3 server: the same code, the same bytes as on a folder."""

import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from jobs.publishing.archive import archive_artifacts
from jobs.spark.session import s3_options
from serving.snapshot.manifest import StoreError
from serving.stores.archive import Archive
from tests.serving import servers

DAY = date(2026, 1, 31)
ROWS = [("", "global", rank, f"item-{rank:03d}", 1.0 / rank) for rank in range(1, 60)]


@pytest.fixture
def s3_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with servers.s3_server(tmp_path / "s3") as (port, _):
        for name, value in servers.S3_KEYS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        yield port


@pytest.fixture
def s3_spark(spark: SparkSession, s3_port: int) -> SparkSession:
    """The run's session, which was started before this S3 server was."""
    servers.need(servers.installed() / "s3a-3.5.0" / "complete")
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[union-attr]
    for name, value in s3_options().items():
        if name.startswith("spark.hadoop."):
            hadoop.set(name.removeprefix("spark.hadoop."), value)
    hadoop.set("fs.s3a.access.key", servers.S3_KEYS["AWS_ACCESS_KEY_ID"])
    hadoop.set("fs.s3a.secret.key", servers.S3_KEYS["AWS_SECRET_ACCESS_KEY"])
    hadoop.set("fs.s3a.impl.disable.cache", "true")
    return spark


def test_a_partition_on_s3_is_written_read_and_replaced_as_in_a_folder(s3_spark: SparkSession, lake: Lake) -> None:
    there = Lake(f"s3://topshelf/{uuid.uuid4().hex[:8]}")
    frame = s3_spark.createDataFrame(ROWS, "shelf_key string, shelf string, rank int, item_id string, score double")
    for at in (lake, there):
        at.write(frame, "marts/fallback", DAY, inputs={}, parameters={"run_id": "a"})
    assert there.manifest("marts/fallback", DAY).row_count == len(ROWS)
    assert there.manifest("marts/fallback", DAY).fingerprint == lake.manifest("marts/fallback", DAY).fingerprint
    assert there.arrow("marts/fallback", DAY).equals(lake.arrow("marts/fallback", DAY))
    wanted = sorted(tuple(row) for row in lake.read(s3_spark, "marts/fallback", DAY).collect())
    assert sorted(tuple(row) for row in there.read(s3_spark, "marts/fallback", DAY).collect()) == wanted
    there.write(frame.limit(20), "marts/fallback", DAY, inputs={}, parameters={"run_id": "b"})
    assert there.manifest("marts/fallback", DAY).row_count == 20
    assert there.read(s3_spark, "marts/fallback", DAY).count() == 20
    assert there.days("marts/fallback") == [DAY]
    with pytest.raises(MissingPartitionError, match="topshelf stage fallback"):
        there.read(s3_spark, "marts/fallback", date(2026, 2, 1))


def test_an_artifact_on_s3_is_read_back(s3_port: int) -> None:
    there = Lake(f"s3://topshelf/{uuid.uuid4().hex[:8]}")
    factors = np.arange(12, dtype=np.float32).reshape(3, 4)
    there.write_artifact("artifacts/cf", DAY, {"item_factors": factors}, texts={"model.txt": "tree"}, inputs={})
    assert there.array("artifacts/cf", DAY, "item_factors").tolist() == factors.tolist()
    assert there.text("artifacts/cf", DAY, "model.txt") == "tree"
    there.put_json("marts/evaluation/ds=2026-01-31/holdout.json", {"ndcg": 0.5})
    assert there.get_json("marts/evaluation/ds=2026-01-31/holdout.json") == {"ndcg": 0.5}


def test_a_nights_artifacts_are_archived_once_and_one_that_was_altered_is_refused(lake: Lake, s3_port: int) -> None:
    lake.write_artifact("artifacts/cf", DAY, {"item_factors": np.ones((5, 4))}, inputs={})
    lake.write_artifact("artifacts/ranker", DAY, {}, texts={"purchase.txt": "tree"}, inputs={})
    archive = Archive("s3://topshelf/archive")
    assert archive_artifacts(lake, DAY, archive) > 0
    assert archive_artifacts(lake, DAY, archive) == 0
    found = archive.read(archive.key("artifacts", "ranker", f"ds={DAY}", "purchase.txt"))
    assert found is not None
    assert found[0] == b"tree"
    (Path(lake.root) / "artifacts" / "ranker" / f"ds={DAY}" / "purchase.txt").write_text("hewn")
    with pytest.raises(StoreError, match="run its stage again"):
        archive_artifacts(lake, DAY, Archive("s3://topshelf/elsewhere"))
    archive.close()
