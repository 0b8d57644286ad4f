"""A sealed version of the LMDB store, open for reading: every shard mapped, shared by a process's threads."""

import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from serving.snapshot.manifest import SnapshotManifest, UnknownVersionError
from serving.snapshot.record import shard_of, user_of
from serving.stores.files import told


class _SharedFiles:
    """LMDB allows a file to be open once in a process; versions opened twice share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[int, int], tuple[Any, Any, int]] = {}

    def take(self, path: Path) -> tuple[Any, Callable[[], None]]:
        """A read transaction that stays open (the file never changes), and what gives it back."""
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
    """A sealed version: every shard mapped, blobs mapped when asked for."""

    def __init__(self, path: Path) -> None:
        self._path, self._close = path, list[Callable[[], None]]()
        try:
            data = (path / "manifest.json").read_bytes()
        except FileNotFoundError as error:
            raise UnknownVersionError(
                f"{path.parent.parent} holds no version {path.name}; see topshelf snapshots"
            ) from error
        self.manifest = SnapshotManifest.from_json(data, str(path / "manifest.json"))
        with told(f"{path} is not whole", "promote another version and publish this night again"):
            sizes: dict[str, int] = msgspec.json.decode((path / "files.json").read_bytes(), type=dict[str, int])
            for name, size in sizes.items():
                if (path / name).stat().st_size != size:  # reading a cut mapping would end the process
                    raise OSError(f"{name} has {(path / name).stat().st_size} bytes and not {size}")
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

    look_up = get  # a mapped page: nothing to wait for

    def scan(self, shard: int) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._txns[shard].cursor())

    def blob(self, name: str) -> memoryview:
        path = self._path / "blobs" / f"{name}.npy"
        what = f"blob {name} of {self.manifest.version} cannot be read"
        with told(what, "publish the night again"), path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))

    def close(self) -> None:
        while self._close:
            self._close.pop()()
