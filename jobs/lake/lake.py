"""The lake: parquet under `<table>/ds=<day>/`, local or on `s3://`, each partition with its manifest.

>>> Lake("data/lake").manifest("features/item", date(2026, 1, 31)).row_count
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.lake.code_version import code_version
from jobs.lake.contracts import arrow_type, check_columns, contract, spark_schema
from jobs.lake.filesystems import filesystem_of
from jobs.lake.manifest import MANIFEST_NAME, Manifest
from jobs.lake.tables import SHARDS, remedy


class MissingPartitionError(LookupError):
    """A table has no whole partition for that day: it was never built, or a run died while building it."""


class LakeWriteError(OSError):
    """A partition could not be written whole; nothing of it is trusted."""


@dataclass(frozen=True)
class Lake:
    """Reads and writes whole partitions. `root` is a folder or `s3://bucket/prefix`."""

    root: str

    @cached_property
    def _filesystem(self) -> tuple[fs.FileSystem, str]:
        if not self.root.startswith("s3://"):
            Path(self.root).mkdir(parents=True, exist_ok=True)
        return filesystem_of(self.root)

    def location(self, table: str, ds: date | None = None) -> str:
        """Return the address that Spark reads: of one day, or of the whole table."""
        base = self.root.replace("s3://", "s3a://") if self.root.startswith("s3://") else self._filesystem[1]
        return f"{base}/{table}" + (f"/ds={ds}" if ds else "")

    def _inside(self, table: str, ds: date, name: str = "") -> str:
        return f"{self._filesystem[1]}/{table}/ds={ds}" + (f"/{name}" if name else "")

    # Manifests ---------------------------------------------------------------------------------------------

    def find_manifest(self, table: str, ds: date) -> Manifest | None:
        """Return the manifest of one day of a table or an artifact, or None."""
        path = self._inside(table, ds, MANIFEST_NAME)
        if self._filesystem[0].get_file_info(path).type == fs.FileType.NotFound:
            return None
        with self._filesystem[0].open_input_stream(path) as stream:
            return Manifest.from_json(stream.readall().decode())

    def manifest(self, table: str, ds: date) -> Manifest:
        """Return the manifest of one day.

        Raises:
            MissingPartitionError: there is none, with the command that builds it.
        """
        found = self.find_manifest(table, ds)
        if found is None:
            raise MissingPartitionError(f"{table} has no ds={ds}; {remedy(table, ds)}")
        return found

    def fingerprints(self, ds: date, *tables: str) -> dict[str, str]:
        """Return `{table/ds=day: fingerprint}`, as a manifest's `inputs` want it."""
        return {f"{table}/ds={ds}": self.manifest(table, ds).fingerprint for table in tables}

    def days(self, table: str) -> list[date]:
        """Return the days of a table that have a manifest, ascending."""
        filesystem, base = self._filesystem
        selector = fs.FileSelector(f"{base}/{table}", allow_not_found=True)
        folders = [info.base_name for info in filesystem.get_file_info(selector) if info.base_name.startswith("ds=")]
        days = sorted(date.fromisoformat(name[3:]) for name in folders)
        return [day for day in days if self.find_manifest(table, day) is not None]

    def _write_manifest(self, manifest: Manifest, ds: date) -> None:
        path = self._inside(manifest.name, ds, MANIFEST_NAME)
        partial = path + ".partial"
        try:
            with self._filesystem[0].open_output_stream(partial) as stream:
                stream.write(manifest.to_json().encode())
            self._filesystem[0].move(partial, path)
        except OSError as error:
            raise _write_error(error, f"{manifest.name}/ds={ds}") from error

    def _begin(self, table: str, ds: date) -> None:
        """Withdraw trust, then empty the partition: first the manifest, then the rest."""
        filesystem = self._filesystem[0]
        path = self._inside(table, ds, MANIFEST_NAME)
        if filesystem.get_file_info(path).type != fs.FileType.NotFound:
            filesystem.delete_file(path)
        filesystem.create_dir(self._inside(table, ds), recursive=True)
        filesystem.delete_dir_contents(self._inside(table, ds), missing_dir_ok=True)

    def _finish(
        self,
        table: str,
        ds: date,
        inputs: Mapping[str, str],
        parameters: Mapping[str, Any],
        metrics: Mapping[str, Any],
    ) -> Manifest:
        files = self._checksums(table, ds)
        parquet = [name for name in files if name.endswith(".parquet")]
        row_count = sum(self._row_count(table, ds, name) for name in parquet)
        manifest = Manifest(
            name=table,
            ds=str(ds),
            row_count=row_count if parquet or not files else None,
            files=files,
            inputs=dict(inputs),
            parameters=json.loads(json.dumps(dict(parameters), default=str)),
            metrics=dict(metrics),
            code=code_version(),
        )
        self._write_manifest(manifest, ds)
        return manifest

    def _checksums(self, table: str, ds: date) -> dict[str, str]:
        infos = self._filesystem[0].get_file_info(fs.FileSelector(self._inside(table, ds)))
        found = {}
        for info in sorted(infos, key=lambda info: str(info.base_name)):
            if info.type == fs.FileType.File and not info.base_name.startswith((".", "_")):
                digest = hashlib.sha256()
                with self._filesystem[0].open_input_stream(info.path) as stream:
                    while block := stream.read(1 << 22):
                        digest.update(block)
                found[info.base_name] = digest.hexdigest()
        return found

    def _row_count(self, table: str, ds: date, name: str) -> int:
        with self._filesystem[0].open_input_file(self._inside(table, ds, name)) as stream:
            return int(pq.ParquetFile(stream).metadata.num_rows)

    # Tables ------------------------------------------------------------------------------------------------

    def write(
        self,
        frame: DataFrame,
        table: str,
        ds: date,
        *,
        inputs: Mapping[str, str],
        parameters: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        in_shards: bool = False,
    ) -> Manifest:
        """Write one day of a table whole: contract held, partitions fixed by the grain, manifest last.

        `in_shards` tells that the frame comes from `map_shards`, its partitions already the shards, in order.

        Raises:
            ContractMismatchError: the frame is not what the contract says.
            LakeWriteError: Spark could not write (a full disk, a store that is gone).
        """
        want = contract(table)
        check_columns(want, frame.schema)
        names = [column.name for column in want.stored_columns]
        grain = [name for name in want.grain if name != "ds"]
        ordered = frame.select(*names) if in_shards else _fixed_partitions(frame.select(*names), grain)
        self._begin(table, ds)
        try:
            ordered.write.mode("append").parquet(self.location(table, ds))
        except Exception as error:
            raise _write_error(error, f"{table}/ds={ds}") from error
        return self._finish(table, ds, inputs, parameters or {}, metrics or {})

    def write_days(
        self,
        frame: DataFrame | None,
        table: str,
        days: Sequence[date],
        *,
        inputs: Mapping[date, Mapping[str, str]],
        parameters: Mapping[str, Any] | None = None,
        metrics: Mapping[date, Mapping[str, Any]] | None = None,
    ) -> dict[date, Manifest]:
        """Write several days of a table in one job, one file a day; `frame` carries `ds` as a date.

        Days without rows get an empty partition with a manifest; a frame of None has no rows at all.

        Raises:
            ContractMismatchError: the frame is not what the contract says.
            LakeWriteError: Spark could not write (a full disk, a store that is gone).
        """
        if frame is not None:
            check_columns(contract(table), frame.schema)
        for ds in days:
            self._begin(table, ds)
        if frame is not None:
            self._append_days(frame, table, f"{table}/ds={days[0]} to ds={days[-1]}")
        told = metrics or {}
        return {ds: self._finish(table, ds, inputs[ds], parameters or {}, told.get(ds, {})) for ds in days}

    def _append_days(self, frame: DataFrame, table: str, where: str) -> None:
        want = contract(table)
        names = [column.name for column in want.stored_columns]
        ordered = frame.select("ds", *names).repartition("ds").sortWithinPartitions(*want.grain)
        try:
            ordered.write.mode("append").partitionBy("ds").parquet(self.location(table))
        except Exception as error:
            raise _write_error(error, where) from error

    def read(self, spark: SparkSession, table: str, ds: date) -> DataFrame:
        """Return one day of a table, with `ds`.

        Raises:
            MissingPartitionError: the day was never built, or not to its end.
        """
        return self.read_days(spark, table, [ds])

    def read_days(self, spark: SparkSession, table: str, days: Iterable[date]) -> DataFrame:
        """Return several days of a table, with `ds`.

        Raises:
            MissingPartitionError: one of the days has no manifest.
        """
        schema = spark_schema(contract(table))
        wanted = [ds for ds in days if self.manifest(table, ds).files]
        if not wanted:
            return spark.createDataFrame([], schema).withColumn("ds", F.lit(None).cast("date"))
        reader = spark.read.schema(schema.add("ds", "date")).option("basePath", self.location(table))
        return reader.parquet(*(self.location(table, ds) for ds in wanted))

    def arrow(self, table: str, ds: date, columns: Sequence[str] | None = None) -> pa.Table:
        """Return one day of a table as Arrow, files in name order, without `ds`.

        Raises:
            MissingPartitionError: the day was never built, or not to its end.
        """
        names = sorted(name for name in self.manifest(table, ds).files if name.endswith(".parquet"))
        parts = []
        for name in names:
            with self._filesystem[0].open_input_file(self._inside(table, ds, name)) as stream:
                parts.append(pq.ParquetFile(stream).read(columns=list(columns) if columns else None))
        return pa.concat_tables(parts)

    def shard(
        self,
        table: str,
        ds: date,
        shard: int,
        columns: Sequence[str] | None = None,
        dictionaries: Sequence[str] = (),
    ) -> pa.Table:
        """Return one user shard of one day of a table as Arrow, sorted by the grain.

        Columns of strings that repeat are read several times faster as `dictionaries`, and are of that type then.

        Raises:
            MissingPartitionError: the day was never built, or not to its end.
        """
        names = [name for name in self.manifest(table, ds).files if name.startswith(f"part-{shard:05d}-")]
        if not names:
            schema = pa.schema([(c.name, arrow_type(c.type)) for c in contract(table).stored_columns])
            return schema.empty_table().select(list(columns) if columns else schema.names)
        with self._filesystem[0].open_input_file(self._inside(table, ds, names[0])) as stream:
            file = pq.ParquetFile(stream, read_dictionary=list(dictionaries))
            return file.read(columns=list(columns) if columns else None)

    # Artifacts ---------------------------------------------------------------------------------------------

    def write_artifact(
        self,
        name: str,
        ds: date,
        arrays: Mapping[str, npt.NDArray[Any]],
        *,
        texts: Mapping[str, str] | None = None,
        inputs: Mapping[str, str],
        parameters: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write an artifact whole: each array as `<key>.npy`, each text under its key, the manifest last.

        Raises:
            LakeWriteError: a file could not be written.
        """
        self._begin(name, ds)
        try:
            for key, array in arrays.items():
                with self._filesystem[0].open_output_stream(self._inside(name, ds, f"{key}.npy")) as stream:
                    np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
            for key, text in (texts or {}).items():
                with self._filesystem[0].open_output_stream(self._inside(name, ds, key)) as stream:
                    stream.write(text.encode())
        except OSError as error:
            raise _write_error(error, f"{name}/ds={ds}") from error
        return self._finish(name, ds, inputs, parameters or {}, metrics or {})

    def array(self, name: str, ds: date, key: str) -> npt.NDArray[Any]:
        """Return one array of an artifact: memory-mapped on a local lake, so that workers share its pages.

        Raises:
            MissingPartitionError: the artifact was never built, or not to its end.
        """
        self.manifest(name, ds)
        path = self._inside(name, ds, f"{key}.npy")
        if isinstance(self._filesystem[0], fs.LocalFileSystem):
            return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
        with self._filesystem[0].open_input_stream(path) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))

    def text(self, name: str, ds: date, key: str) -> str:
        """Return one text file of an artifact.

        Raises:
            MissingPartitionError: the artifact was never built, or not to its end.
        """
        self.manifest(name, ds)
        with self._filesystem[0].open_input_stream(self._inside(name, ds, key)) as stream:
            return str(stream.readall().decode())

    def put_json(self, path: str, value: object) -> None:
        """Write a report such as `marts/evaluation/ds=…/published.json`, whole or not at all."""
        self.put_text(path, json.dumps(value, indent=1, sort_keys=True))

    def put_text(self, path: str, text: str) -> None:
        """Write a page, whole or not at all."""
        filesystem, base = self._filesystem
        filesystem.create_dir(f"{base}/{path}".rsplit("/", 1)[0], recursive=True)
        with filesystem.open_output_stream(f"{base}/{path}.partial") as stream:
            stream.write(text.encode())
        filesystem.move(f"{base}/{path}.partial", f"{base}/{path}")

    def get_json(self, path: str) -> Any:
        """Return what `put_json` wrote, or None."""
        filesystem, base = self._filesystem
        if filesystem.get_file_info(f"{base}/{path}").type == fs.FileType.NotFound:
            return None
        with filesystem.open_input_stream(f"{base}/{path}") as stream:
            return json.loads(stream.readall())


def _fixed_partitions(frame: DataFrame, grain: Sequence[str]) -> DataFrame:
    """Lay rows into files by the grain alone: by the user's shard, else into one sorted file."""
    if "user_id" in grain:
        shard = (F.crc32(F.col("user_id")) % F.lit(SHARDS)).cast("int")
        return frame.repartitionById(SHARDS, shard).sortWithinPartitions(*grain)
    return frame.coalesce(1).sortWithinPartitions(*grain) if grain else frame.coalesce(1)


def _write_error(error: BaseException, where: str) -> LakeWriteError:
    text = str(error)
    if "No space left on device" in text:
        return LakeWriteError(f"{where}: the disk is full; free space, then run the same command again")
    if isinstance(error, OSError):
        return LakeWriteError(f"{where}: {error}; nothing of it is trusted, run the same command again")
    raise error
