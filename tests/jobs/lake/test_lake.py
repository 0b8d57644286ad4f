"""The lake: a partition is whole or it is not there, whatever happens while it is written."""

import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from jobs.lake.contracts import ContractMismatchError, contract, spark_schema
from jobs.lake.lake import Lake
from jobs.lake.manifest import MANIFEST_NAME
from jobs.lake.partitions import LakeWriteError, MissingPartitionError
from jobs.lake.tables import SHARDS
from tests.jobs.killed import kill_once_there_is

D1, D2 = date(2026, 1, 1), date(2026, 1, 2)
USERS = "staging/users"


def users(spark, names, region=None):
    rows = [(name, region, None, None, None, False) for name in names]
    return spark.createDataFrame(rows, spark_schema(contract(USERS)))


def parquet_files(lake: Lake, ds: date = D1) -> list[Path]:
    return sorted(Path(lake.root).glob(f"{USERS}/ds={ds}/*.parquet"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    try:
        refused = subprocess.run(mount, capture_output=True, text=True, check=False).stderr
    except OSError as error:
        refused = str(error)
    if refused:
        pytest.skip(f"a disk that can fill up needs the right to mount one: {refused.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # Spark may hold a torn file open a little longer


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_a_shard_read_in_parts_is_the_shard(spark, lake, size):
    lake.write(users(spark, [f"u{n}" for n in range(60)]), USERS, D1, inputs={})
    for shard in range(SHARDS):
        whole, parts = lake.shard(USERS, D1, shard), list(lake.shard_batches(USERS, D1, shard, size))
        assert all(len(part) == size for part in parts[:-1])
        assert [row for part in parts for row in part.to_pylist()] == whole.to_pylist()
    assert list(lake.shard_batches(USERS, D1, SHARDS, size)) == []


# Whole partitions --------------------------------------------------------------------------------------------


def test_a_written_day_reads_back_with_its_day_and_its_manifest(spark, lake):
    manifest = lake.write(users(spark, ["b", "a"]), USERS, D1, inputs={"landing/users/ds=2026-01-01": "f00"})
    assert (manifest.row_count, manifest.inputs) == (2, {"landing/users/ds=2026-01-01": "f00"})
    read = lake.read(spark, USERS, D1).collect()
    assert sorted((row["user_id"], row["ds"]) for row in read) == [("a", D1), ("b", D1)]
    assert lake.days(USERS) == [D1]


def test_the_same_rows_in_any_order_are_the_same_bytes(spark, lake, tmp_path):
    names = [f"user {n}" for n in range(200)]
    first = lake.write(users(spark, names), USERS, D1, inputs={})
    other = Lake(str(tmp_path / "other")).write(users(spark, names[::-1]).repartition(5), USERS, D1, inputs={})
    assert sorted(first.files.values()) == sorted(other.files.values())


def test_a_day_that_was_never_built_is_told_with_the_command_that_builds_it(lake):
    with pytest.raises(
        MissingPartitionError, match=r"staging/users has no ds=2026-01-01; run topshelf stage ingest --ds"
    ):
        lake.manifest(USERS, D1)


def test_a_day_without_its_manifest_is_not_there_though_its_files_are(spark, lake):
    lake.write(users(spark, ["a"]), USERS, D1, inputs={})
    (Path(lake.root) / USERS / f"ds={D1}" / MANIFEST_NAME).unlink()
    assert parquet_files(lake)
    assert lake.days(USERS) == []
    for use in (lambda: lake.read(spark, USERS, D1), lambda: lake.arrow(USERS, D1)):
        with pytest.raises(MissingPartitionError, match=r"run topshelf stage ingest"):
            use()


def test_what_a_dead_run_left_behind_is_no_part_of_the_next_one(spark, lake):
    lake.write(users(spark, ["stale"]), USERS, D1, inputs={})
    (Path(lake.root) / USERS / f"ds={D1}" / MANIFEST_NAME).unlink()
    lake.write_days(
        users(spark, ["a"]).selectExpr("DATE'2026-01-01' AS ds", "*"), USERS, [D1, D2], inputs={D1: {}, D2: {}}
    )
    assert [row["user_id"] for row in lake.read_days(spark, USERS, [D1, D2]).collect()] == ["a"]
    assert (lake.manifest(USERS, D2).row_count, lake.manifest(USERS, D2).files) == (0, {})


def test_a_frame_that_breaks_the_contract_leaves_the_day_as_it_was(spark, lake):
    lake.write(users(spark, ["a"]), USERS, D1, inputs={})
    with pytest.raises(ContractMismatchError, match="misses region"):
        lake.write(users(spark, ["b"]).drop("region"), USERS, D1, inputs={})
    assert [row["user_id"] for row in lake.read(spark, USERS, D1).collect()] == ["a"]


def test_a_job_that_dies_while_writing_withdraws_the_day(spark, lake):
    lake.write(users(spark, ["a"]), USERS, D1, inputs={})
    torn = users(spark, [f"u{n}" for n in range(50)]).selectExpr(
        "IF(user_id = 'u49', RAISE_ERROR('torn'), user_id) AS user_id", "region", "age_band", "signed_up_at",
        "preferred_categories", "deleted",
    )  # fmt: skip
    with pytest.raises(Exception, match="torn"):
        lake.write(torn, USERS, D1, inputs={})
    with pytest.raises(MissingPartitionError):
        lake.read(spark, USERS, D1)
    assert lake.write(users(spark, ["b"]), USERS, D1, inputs={}).row_count == 1


# A full disk -------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_the_same_command_works_once_there_is_space(spark, small_disk):
    lake = Lake(str(small_disk / "lake"))
    noise = spark.range(200_000).selectExpr(
        "sha2(CAST(id AS STRING), 512) AS region", "CAST(id AS STRING) AS user_id"
    )
    rows = noise.selectExpr(
        "user_id", "region", "CAST(NULL AS STRING) AS age_band", "CAST(NULL AS TIMESTAMP) AS signed_up_at",
        "CAST(NULL AS ARRAY<STRING>) AS preferred_categories", "FALSE AS deleted",
    )  # fmt: skip
    lake.write(users(spark, ["whole"]), USERS, D1, inputs={})
    with pytest.raises(
        LakeWriteError, match=r"staging/users/ds=2026-01-02: the disk is full; free space, then run the same"
    ):
        lake.write(rows, USERS, D2, inputs={})
    assert lake.days(USERS) == [D1]
    assert [row["user_id"] for row in lake.read(spark, USERS, D1).collect()] == ["whole"]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert lake.write(rows, USERS, D2, inputs={}).row_count == 200_000
    assert lake.days(USERS) == [D1, D2]


def test_a_disk_that_fills_while_an_artifact_or_a_manifest_is_written_is_told(small_disk):
    lake = Lake(str(small_disk / "lake"))
    with pytest.raises(LakeWriteError, match="artifacts/cf/ds=2026-01-01: the disk is full"):
        lake.write_artifact("artifacts/cf", D1, {"item_factors": np.zeros(1_000_000)}, inputs={})
    (small_disk / "lake/artifacts/cf/ds=2026-01-01/item_factors.npy").unlink()
    filler = small_disk / "filler"
    with filler.open("wb") as stream:
        stream.write(b"\0" * (4 * 1024 * 1024 - 24 * 1024))
    with pytest.raises(LakeWriteError, match="the disk is full"):
        lake.write_artifact(
            "artifacts/cf", D1, {"a": np.zeros(8)}, inputs={f"input {n}": "f" * 64 for n in range(2000)}
        )
    with pytest.raises(
        MissingPartitionError, match=r"artifacts/cf has no ds=2026-01-01; run topshelf stage train_cf"
    ):
        lake.manifest("artifacts/cf", D1)
    filler.unlink()
    assert lake.write_artifact("artifacts/cf", D1, {"a": np.zeros(8)}, inputs={}).files.keys() == {"a.npy"}


# kill -9 -----------------------------------------------------------------------------------------------------

WRITES_AN_ARTIFACT = """
import sys
from datetime import date
import numpy as np
from jobs.lake.lake import Lake
arrays = {f"part_{n}": np.arange(2_000_000) for n in range(200)}
Lake(sys.argv[1]).write_artifact("artifacts/cf", date(2026, 1, 1), arrays, inputs={})
"""
WRITES_A_TABLE = """
import sys
from datetime import date
from jobs.lake.lake import Lake
from jobs.spark.session import session
rows = session().range(3_000_000).selectExpr(
    "CAST(id AS STRING) AS user_id", "sha2(CAST(id AS STRING), 512) AS region", "CAST(NULL AS STRING) AS age_band",
    "CAST(NULL AS TIMESTAMP) AS signed_up_at", "CAST(NULL AS ARRAY<STRING>) AS preferred_categories",
    "FALSE AS deleted",
)
Lake(sys.argv[1]).write(rows, "staging/users", date(2026, 1, 1), inputs={})
"""


def test_a_kill_while_an_artifact_is_rewritten_leaves_none_and_the_next_run_completes_it(lake):
    lake.write_artifact("artifacts/cf", D1, {"old": np.zeros(3)}, inputs={})
    kill_once_there_is("artifacts/cf/ds=2026-01-01/part_3.npy", lake, WRITES_AN_ARTIFACT)
    with pytest.raises(
        MissingPartitionError, match=r"artifacts/cf has no ds=2026-01-01; run topshelf stage train_cf"
    ):
        lake.array("artifacts/cf", D1, "part_0")
    lake.write_artifact("artifacts/cf", D1, {"new": np.ones(3)}, inputs={})
    assert lake.manifest("artifacts/cf", D1).files.keys() == {"new.npy"}


def test_a_kill_while_spark_rewrites_a_day_leaves_none_and_the_next_run_completes_it(spark, lake):
    lake.write(users(spark, ["old"]), USERS, D1, inputs={})
    lake.write(users(spark, ["other day"]), USERS, D2, inputs={})
    kill_once_there_is(f"{USERS}/ds={D1}/_temporary/**/*.parquet", lake, WRITES_A_TABLE)
    with pytest.raises(MissingPartitionError, match=r"staging/users has no ds=2026-01-01; run topshelf stage ingest"):
        lake.read(spark, USERS, D1)
    assert lake.days(USERS) == [D2]
    lake.write(users(spark, ["new"]), USERS, D1, inputs={})
    assert [row["user_id"] for row in lake.read(spark, USERS, D1).collect()] == ["new"]
    assert [path.name for path in sorted((Path(lake.root) / USERS / f"ds={D1}").iterdir()) if path.is_dir()] == []
