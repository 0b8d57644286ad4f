"""Durable files: written whole by one writer at a time, with errors that say what, where and the remedy.

with locked(folder / "pointer.lock"):
    write_whole(folder / "pointer.json", data)
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from serving.snapshot.manifest import StoreError

PRIVATE = 0o600  # file mode: readable by the endpoint's own user only


@contextmanager
def store_errors(
    failure: str, remedy: str = "free space or mend the disk, then run it again; what was live is still live"
) -> Iterator[None]:
    """Raise an error of the system or of LMDB as a StoreError that says the failure, the cause and the remedy."""
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise StoreError(f"{failure}: {error}; {remedy}") from error


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, made where there is none; others wait. The lock ends with the process, even a killed one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def take_lock(path: Path) -> int | None:
    """Lock a file, made where there is none, until its descriptor is closed or the process ends, even a killed one.

    Return the descriptor, or None where somebody else holds the lock. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def map_allocated(descriptor: int, size: int) -> mmap.mmap:
    """Map the first `size` bytes of a file, writable and shared. Raises OSError where the disk has no room for them.

    All blocks are allocated first: on a full disk, a write to a mapped hole kills the process (SIGBUS).
    """
    os.posix_fallocate(descriptor, 0, size)
    return mmap.mmap(descriptor, size)


def write_whole(path: Path, data: bytes, *, lasting: bool = True, mode: int = 0o666) -> None:
    """Replace a file in one step: readers see the old bytes or the new ones. Raises OSError.

    `lasting` waits until it is on the disk. `mode` is the file's, reduced by the umask. Only one process may write a
    path at a time.
    """
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)  # left by a writer that died, perhaps with another mode
    beside.touch(mode)
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        if lasting:
            os.fsync(file.fileno())
    beside.replace(path)
    if lasting:
        sync(path.parent)
