"""A sealed version of the LMDB store, open for reading. A process's threads share its mapped files."""

import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb

from serving.snapshot.manifest import SnapshotManifest, UnknownVersionError, read_json
from serving.snapshot.record import shard_of, user_of
from serving.stores.files import store_errors


class _SharedFiles:
    """The open files of this process. LMDB allows each to be open once, so a version opened twice shares them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[int, int], tuple[Any, Any, int]] = {}

    def take(self, path: Path) -> tuple[Any, Callable[[], None]]:
        """Return a read transaction on a file, and a function that gives it back.

        The transaction may stay open, because the file never changes.
        """
        stat = path.stat()
        key = (stat.st_dev, stat.st_ino)
        with self._lock:
            if key in self._open:
                env, txn, users = self._open[key]
            else:
                env = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False, create=False)
                txn, users = env.begin(), 0
            self._open[key] = (env, txn, users + 1)
        return txn, lambda: self._give_back(key)

    def _give_back(self, key: tuple[int, int]) -> None:
        with self._lock:
            env, txn, users = self._open.pop(key)
            if users > 1:
                self._open[key] = (env, txn, users - 1)
                return
            txn.abort()
            env.close()


_FILES = _SharedFiles()


class LmdbVersion:
    """A sealed version (`serving.stores.protocols.StoredVersion`): all shards mapped, blobs mapped by `blob`."""

    def __init__(self, path: Path) -> None:
        """Raises UnknownVersionError, and StoreError for a file that is missing or not of its sealed size."""
        self._path, self._close = path, list[Callable[[], None]]()
        try:
            data = (path / "manifest.json").read_bytes()
        except FileNotFoundError as error:
            raise UnknownVersionError(
                f"{path.parent.parent} holds no version {path.name}; see topshelf snapshots"
            ) from error
        self.manifest = SnapshotManifest.from_json(data, str(path / "manifest.json"))
        with store_errors(f"{path} is not complete", "promote another version and publish this night again"):
            sizes = read_json((path / "files.json").read_bytes(), dict[str, int], str(path / "files.json"))
            for name, size in sizes.items():
                if (path / name).stat().st_size != size:  # reading beyond a cut file's end would kill the process
                    raise OSError(f"{name} has {(path / name).stat().st_size} bytes, not {size}")
            self._txns = []
            for shard in range(self.manifest.n_shards):
                txn, give_back = _FILES.take(path / "shards" / f"{shard:05d}.mdb")
                self._txns.append(txn)
                self._close.append(give_back)

    def get(self, key: bytes) -> bytes | None:
        if not 0 < len(key) <= 511:
            return None
        value: bytes | None = self._txns[shard_of(user_of(key), len(self._txns))].get(key)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    look_up = get  # memory is mapped: there is no network to wait for

    def scan(self, shard: int) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._txns[shard].cursor())

    def blob(self, name: str) -> memoryview:
        path = self._path / "blobs" / f"{name}.npy"
        failure = f"blob {name} of {self.manifest.version} cannot be read"
        with store_errors(failure, "publish the night again"), path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))

    def close(self) -> None:
        """Give the files back; each is unmapped when no version in the process uses it any more."""
        while self._close:
            self._close.pop()()
