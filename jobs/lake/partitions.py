"""Partitions of the lake and their manifests: which stand, why one is stale, and how one is written whole.

`<table>/ds=<day>/` holds one day of a table or of an artifact. Its manifest is removed first on a rewrite and comes
back last, so that a run that dies leaves nothing that looks whole.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import fs

from jobs.lake.code_version import builder_version
from jobs.lake.filesystems import filesystem_of
from jobs.lake.manifest import MANIFEST_NAME, Manifest, as_json
from jobs.lake.tables import remedy

MOST_REASONS = 3
"""So many are logged; the others are counted."""
NEVER_BUILT = "it was never built, or not to its end"
_RECORDED: set[tuple[str, str]] = set()
"""Roots of lakes and code digests that this process has seen written down."""
log = logging.getLogger(__name__)


class MissingPartitionError(LookupError):
    """A table has no whole partition for that day: it was never built, or a run died while building it."""


class LakeWriteError(OSError):
    """A partition could not be written whole; nothing of it is trusted."""


@dataclass(frozen=True)
class Partitions:
    """Days of tables and artifacts under `root`, a folder or `s3://bucket/prefix`."""

    root: str

    @cached_property
    def _filesystem(self) -> tuple[fs.FileSystem, str]:
        filesystem, base = filesystem_of(self.root)
        if isinstance(filesystem, fs.LocalFileSystem):
            Path(base).mkdir(parents=True, exist_ok=True)
        return filesystem, base

    def _inside(self, table: str, ds: date, name: str = "") -> str:
        return f"{self._filesystem[1]}/{table}/ds={ds}" + (f"/{name}" if name else "")

    # Manifests ---------------------------------------------------------------------------------------------

    def find_manifest(self, table: str, ds: date) -> Manifest | None:
        """Return the manifest of one day of a table or an artifact, or None."""
        path = self._inside(table, ds, MANIFEST_NAME)
        if self._filesystem[0].get_file_info(path).type == fs.FileType.NotFound:
            return None
        with self._filesystem[0].open_input_stream(path) as stream:
            return Manifest.from_json(stream.readall())

    def manifest(self, table: str, ds: date) -> Manifest:
        """Return the manifest of one day.

        Raises:
            MissingPartitionError: there is none, with the command that builds it.
        """
        found = self.find_manifest(table, ds)
        if found is None:
            raise MissingPartitionError(f"{table} has no ds={ds}; {remedy(table, ds)}")
        return found

    def row_count(self, table: str, days: Iterable[date]) -> int:
        """Return how many rows days of a table have.

        Raises:
            MissingPartitionError: one of the days has no manifest.
        """
        return sum(self.manifest(table, ds).row_count or 0 for ds in days)

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
            raise write_error(error, f"{manifest.name}/ds={ds}") from error

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
        parameters: Mapping[str, object],
        metrics: Mapping[str, object],
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
            parameters=as_json(parameters),
            metrics=dict(metrics),
            code=self._record_code(table),
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

    # Staleness ---------------------------------------------------------------------------------------------

    def build_if_stale(
        self,
        name: str,
        ds: date,
        inputs: Mapping[str, str],
        parameters: Mapping[str, object],
        build: Callable[[], Manifest],
    ) -> Manifest:
        """Return the manifest of one day; call `build`, which writes it, unless it stands, made of the same.

        The log says why something that stood is built again.
        """
        return build() if self.is_stale(name, ds, inputs, parameters) else self.manifest(name, ds)

    def is_stale(self, name: str, ds: date, inputs: Mapping[str, str], parameters: Mapping[str, object]) -> bool:
        """Tell whether one day must be built; of one that stood, log why."""
        stale = self.why_stale(name, ds, inputs, parameters)
        log_stale(name, {ds: stale})
        return bool(stale)

    def why_stale(
        self, name: str, ds: date, inputs: Mapping[str, str], parameters: Mapping[str, object]
    ) -> list[str]:
        """Return in words why one day must be built: no manifest, or an input, parameter or module that changed.

        An empty list means that it stands, made of the same.
        """
        found = self.find_manifest(name, ds)
        if found is None:
            return [NEVER_BUILT]
        return found.differences(inputs, parameters) + self._code_differences(name, found.code)

    def _code_differences(self, name: str, was: str) -> list[str]:
        code = builder_version(name)
        if code.digest == was:
            return []
        before: dict[str, str] = self.get_json(_code_path(was)) or {}
        if not before:
            return ["the code changed"]
        changed = sorted(part for part in {**before, **code.parts} if before.get(part) != code.parts.get(part))
        return [f"{part} changed" for part in changed]

    def _record_code(self, name: str) -> str:
        """Write down what the code of a table consists of, once; return its digest."""
        code = builder_version(name)
        if (self.root, code.digest) not in _RECORDED:
            if self.get_json(_code_path(code.digest)) is None:
                self.put_json(_code_path(code.digest), dict(code.parts))
            _RECORDED.add((self.root, code.digest))
        return code.digest

    # JSON and pages ---------------------------------------------------------------------------------------

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

    def names(self, folder: str) -> list[str]:
        """Return the names of what stands directly in a folder of reports, sorted; none where there is no folder."""
        filesystem, base = self._filesystem
        selector = fs.FileSelector(f"{base}/{folder}", allow_not_found=True)
        return sorted(str(info.base_name) for info in filesystem.get_file_info(selector))

    def get_json(self, path: str) -> Any:
        """Return what `put_json` wrote, or None."""
        filesystem, base = self._filesystem
        if filesystem.get_file_info(f"{base}/{path}").type == fs.FileType.NotFound:
            return None
        with filesystem.open_input_stream(f"{base}/{path}") as stream:
            return json.loads(stream.readall())


def log_stale(name: str, reasons: Mapping[date, Sequence[str]]) -> None:
    """Log why days that stood are built again, from what `why_stale` returned: a line for days of equal reasons."""
    days: dict[tuple[str, ...], list[date]] = {}
    for ds, why in reasons.items():
        if why and list(why) != [NEVER_BUILT]:
            days.setdefault(tuple(why), []).append(ds)
    for why, (first, *others) in days.items():
        which = f"{name}/ds={first} and {len(others):,} more days are" if others else f"{name}/ds={first} is"
        more = f"; and {len(why) - MOST_REASONS} more" if len(why) > MOST_REASONS else ""
        log.info("%s built again: %s%s", which, "; ".join(why[:MOST_REASONS]), more)


def _code_path(digest: str) -> str:
    return f"runs/code/{digest}.json"


def write_error(error: BaseException, where: str) -> LakeWriteError:
    text = str(error)
    if "No space left on device" in text:
        return LakeWriteError(f"{where}: the disk is full; free space, then run the same command again")
    if isinstance(error, OSError):
        return LakeWriteError(f"{where}: {error}; nothing of it is trusted, run the same command again")
    raise error
