"""Files that last: written whole, waited for, and with errors that say what, where and the remedy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from serving.stores.manifest import StoreError


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


def write_whole(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Replace a file in one step: readers see the old bytes or the new ones. `lasting` waits for the disk."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        if lasting:
            os.fsync(file.fileno())
    beside.replace(path)
    if lasting:
        sync(path.parent)
