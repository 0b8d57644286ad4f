"""Files that last: written whole by one at a time, waited for, with errors that say what, where and the remedy.

with locked(folder / "pointer.lock"):
    write_whole(folder / "pointer.json", data)
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from serving.snapshot.manifest import StoreError

PRIVATE = 0o600  # the mode of what only the endpoint's own user may read


@contextmanager
def told(
    what: str, remedy: str = "free space or mend the disk, then run it again; what was live still is"
) -> Iterator[None]:
    """Turn the system's errors into one that says what, where and the remedy."""
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise StoreError(f"{what}: {error}; {remedy}") from error


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, made where there is none; others wait. The hold ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes, *, lasting: bool = True, mode: int = 0o666) -> None:
    """Replace a file in one step: readers see the old bytes or the new ones.

    `lasting` waits for the disk; `mode` is that of the file, less what the umask takes. One writer at a time.
    """
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)  # a dead writer's, perhaps of another mode
    beside.touch(mode)
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        if lasting:
            os.fsync(file.fileno())
    beside.replace(path)
    if lasting:
        sync(path.parent)
