"""Keep runs of several nights from writing the same partitions of one lake at once.

Two nights share more than it seems: each ingests every landed day up to its own, and each builds the features of the
earlier days that teach its ranker. A lock dies with its process, so a run that was killed blocks nobody; one that
lives on unseen, as when only its supervisor died, is waited for, and what it built is then kept.

A lake on `s3://` has no such locks: there, run one night at a time (the pool of the nightly DAG does).
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from serving.stores.places import S3Address, place_of


@contextmanager
def held(lake_root: str, name: str) -> Iterator[None]:
    """Hold a lock of the lake under `lake_root` until the block ends; wait for whoever holds it now."""
    place = place_of(lake_root)
    if isinstance(place, S3Address):
        yield
        return
    folder = place / "_locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / name, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run that holds {folder / name}", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
