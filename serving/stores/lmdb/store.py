"""The embedded store: immutable LMDB files in a folder, which any number of workers map into memory read-only.

    FOLDER/pointer.json                    the pointer; replaced whole under pointer.lock
    FOLDER/versions/<version>/             manifest.json, blobs/<name>.npy, shards/<number>.mdb, files.json (sizes)
    FOLDER/loading/<version>/              the same while it is loaded; its loader holds loading/<version>.lock

A version is renamed from `loading` to `versions` in one step, and its files never change after that.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import lmdb
import msgspec

from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import (
    BusyVersionError,
    ShardReport,
    SnapshotManifest,
    StoreError,
    UnknownVersionError,
    check_version_name,
    read_json,
)
from serving.snapshot.pointer import Pointer
from serving.snapshot.record import shard_of, user_of
from serving.stores.files import locked, store_errors, sync, write_whole
from serving.stores.lmdb.version import LmdbVersion
from serving.stores.protocols import Batch

_FIRST_MAP_BYTES = 64 << 20  # doubled when full; the file is never larger than its content
_SYNCS_AT_ONCE = 16


class LmdbStore:
    """`lmdb://FOLDER` (`serving.stores.protocols.Store`). The first write makes the folder."""

    def __init__(self, url: str) -> None:
        """Raises StoreError for a URL without a folder."""
        self.url = url
        self.folder = Path(url.removeprefix("lmdb://"))
        if not url.removeprefix("lmdb://"):
            raise StoreError("store URL lmdb:// names no folder; give lmdb://FOLDER")

    def _sealed(self, version: str) -> Path:
        return self.folder / "versions" / _checked(version)

    def begin(self, version: str, n_shards: int) -> "LmdbLoading":
        return LmdbLoading(self.folder, version, n_shards)

    def join(self, version: str, n_shards: int) -> "LmdbLoading":
        return LmdbLoading(self.folder, version, n_shards, joins=True)

    def versions(self) -> list[SnapshotManifest]:
        paths = sorted((self.folder / "versions").glob("*/manifest.json"))
        manifests = []
        for path in paths:
            with suppress(FileNotFoundError):  # removed since, by a publisher that sweeps
                manifests.append(SnapshotManifest.from_json(path.read_bytes(), str(path)))
        return sorted(manifests, key=lambda manifest: (manifest.day, manifest.version))

    def open(self, version: str) -> "LmdbVersion":
        return LmdbVersion(self._sealed(version))

    def delete(self, version: str) -> None:
        with store_errors(f"{version} in {self.url} could not be removed whole"):
            sealed, loading = self._sealed(version), self.folder / "loading" / version
            if sealed.exists():  # hidden from readers in one step; removing its files may take longer
                shutil.rmtree(loading, ignore_errors=True)
                loading.parent.mkdir(parents=True, exist_ok=True)
                sealed.rename(loading)
            shutil.rmtree(loading, ignore_errors=True)

    def unfinished(self) -> list[str]:
        unfinished = []
        for path in sorted((self.folder / "loading").glob("*/")):
            with suppress(BusyVersionError):
                os.close(_take_lock(path.with_name(f"{path.name}.lock"), path.name))
                unfinished.append(path.name)
        self._remove_spare_locks()
        return unfinished

    def _remove_spare_locks(self) -> None:
        """Remove the lock files of loaders that were killed after their version was whole."""
        for path in sorted((self.folder / "loading").glob("*.lock")):
            with suppress(BusyVersionError):
                descriptor = _take_lock(path, path.stem)
                if not path.with_suffix("").exists():
                    path.unlink(missing_ok=True)
                os.close(descriptor)

    def pointer(self) -> Pointer:
        path = self.folder / "pointer.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return Pointer()
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}; mend the disk or the file's rights") from error
        return read_json(data, Pointer, str(path), "remove it, then run topshelf promote VERSION")

    def swap_pointer(self, old: Pointer, new: Pointer) -> bool:
        with store_errors(f"the pointer in {self.url} could not be moved"), locked(self.folder / "pointer.lock"):
            if self.pointer().seq != old.seq:
                return False
            write_whole(self.folder / "pointer.json", msgspec.json.encode(new))
            return True

    def close(self) -> None:
        """Do nothing: no file is held open."""


def _checked(version: str) -> str:
    """Return the name of a version. Raises UnknownVersionError for an invalid one; a lock file's is invalid too."""
    check_version_name(version)
    if version.endswith(".lock"):
        raise UnknownVersionError(f"{version!r} is no version name; see topshelf snapshots")
    return version


def _take_lock(path: Path, version: str) -> int:
    """Lock a file and return its descriptor. The lock ends with the process, even a killed one.

    Raises BusyVersionError where another process holds it.
    """
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise BusyVersionError(f"{version} is held by another process; wait for it, or end it") from error
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # its holder removed the file between the open and the lock


def _must_be_held(path: Path, version: str) -> None:
    """Raise StoreError where no process holds the lock."""
    with suppress(BusyVersionError):
        os.close(_take_lock(path, version))
        raise StoreError(f"no process holds {version}; run the publish again, it continues from here")


class LmdbLoading:
    """A held version (`serving.stores.protocols.Loading`): being loaded into files, or sealed already."""

    def __init__(self, folder: Path, version: str, n_shards: int, *, joins: bool = False) -> None:
        self._folder, self._version, self._n_shards = folder, _checked(version), n_shards
        self._path = folder / "loading" / version
        self._lock_path = folder / "loading" / f"{version}.lock"
        self.finished: dict[int, ShardReport] = {}
        with store_errors(f"{self._path} could not be made"):
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            self._lock: int | None = None
            if joins:
                _must_be_held(self._lock_path, version)
            else:
                self._lock = _take_lock(self._lock_path, version)
            self.sealed = (folder / "versions" / version / "manifest.json").exists()
        for path in (self._path / "shards").glob("*.json"):
            shard, of_shards = path.stem.split("-of-")
            if int(of_shards) == n_shards:
                self.finished[int(shard)] = read_json(path.read_bytes(), ShardReport, str(path))

    def _writable_folder(self, name: str) -> Path:
        if self.sealed:
            raise StoreError(f"{self._version} is sealed; a sealed version never changes")
        path = self._path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def write_shard(self, shard: int, batches: Iterable[Batch]) -> ShardReport:
        """Write a shard's file, and its report once the file is on the disk: only then it counts as finished."""
        with store_errors(f"shard {shard} of {self._version} could not be written to {self._path}"):
            target = self._writable_folder("shards") / f"{shard:05d}.mdb"
            report = target.with_name(f"{shard:05d}-of-{self._n_shards}.json")
            report.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
            result = _write_lmdb(target, shard, self._n_shards, batches)
            write_whole(report, msgspec.json.encode(result))
        return result

    def write_blob(self, name: str, data: bytes) -> str:
        with store_errors(f"blob {name} of {self._version} could not be written to {self._path}"):
            write_whole(
                self._writable_folder("blobs") / f"{name}.npy", data, lasting=False
            )  # `seal` waits for all files
        return hashlib.sha256(data).hexdigest()

    def seal(self, manifest: SnapshotManifest) -> None:
        with store_errors(f"{self._version} could not be sealed in {self._path}"):
            for report in self._writable_folder("shards").glob("*.json"):
                report.unlink()
            files = sorted(path for path in self._path.glob("*/*") if path.suffix in {".mdb", ".npy"})
            sizes = {str(path.relative_to(self._path)): path.stat().st_size for path in files}
            for path in files:
                path.chmod(0o444)
            with ThreadPoolExecutor(_SYNCS_AT_ONCE) as pool:  # a file system combines waits that run side by side
                list(pool.map(sync, [*files, *self._path.glob("*/")]))
            write_whole(self._path / "files.json", msgspec.json.encode(sizes))
            write_whole(self._path / "manifest.json", manifest.to_json())
            target = self._folder / "versions" / self._version
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.rename(target)
            sync(target.parent)
            sync(self._path.parent)
            self.sealed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._lock is not None:
            if self.sealed or not self._path.exists():
                self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


def _write_lmdb(path: Path, shard: int, n_shards: int, batches: Iterable[Batch]) -> ShardReport:
    digest, largest, last = RecordDigest(), 0, b""
    env = lmdb.open(
        str(path), subdir=False, map_size=_FIRST_MAP_BYTES, lock=False, sync=False, metasync=False, readahead=False
    )
    try:
        for keys, records in batches:
            if not keys:
                continue
            if keys[0] <= last and last:
                raise StoreError(f"shard {shard}: key {keys[0]!r} comes after {last!r}; sort them by their bytes")
            if shard_of(user_of(keys[0]), n_shards) != shard:
                raise StoreError(f"key {keys[0]!r} does not belong to shard {shard} of {n_shards}")
            _append(env, keys, records)
            digest.update(keys, records)
            largest, last = max(largest, *map(len, records)), keys[-1]
        env.sync(True)
    finally:
        env.close()
    return ShardReport(digest.count, digest.bytes, digest.hexdigest(), largest)


def _append(env: Any, keys: Sequence[bytes], records: Sequence[bytes]) -> None:
    """Append keys and records in one transaction. Raises StoreError for keys that do not ascend."""
    while True:
        try:
            with env.begin(write=True) as txn:
                _, added = txn.cursor().putmulti(zip(keys, records, strict=True), append=True, overwrite=False)
        except lmdb.MapFullError:
            env.set_mapsize(env.info()["map_size"] * 2)
            continue
        except lmdb.KeyExistsError as error:
            raise StoreError("keys of a shard must ascend, each once; sort them by their bytes") from error
        if added != len(keys):
            raise StoreError("keys of a shard must ascend, each once; sort them by their bytes")
        return
