"""Reads the tombstones that stand under landing, a folder or `s3://bucket/prefix?endpoint=URL`.

landed_tombstones("s3://shop/landing").erased_at("user-17")
"""

from contextlib import closing
from pathlib import Path

from serving.snapshot.tombstones import FOLDER, Tombstones, UnknownErasuresError
from serving.stores.places import place_of


def landed_tombstones(landing: str | Path) -> Tombstones:
    """Return the erasures under a landing. Raises UnknownErasuresError where nothing is there; StoreError."""
    place = place_of(str(landing))
    if isinstance(place, Path):
        if not place.is_dir():
            raise UnknownErasuresError(landing)
    else:
        _refuse_empty(str(landing))
    tombstones = Tombstones()
    tombstones.take(landed_lines(str(landing)))
    return tombstones


def _refuse_empty(landing: str) -> None:
    from serving.stores.s3 import S3Prefix

    with closing(S3Prefix(landing)) as place:
        if place.is_empty():
            raise UnknownErasuresError(place.url)


def landed_lines(landing: str) -> list[bytes]:
    """Return every tombstone line under a landing; none where it has no tombstones. Raises OSError or StoreError."""
    place = place_of(landing)
    if isinstance(place, Path):
        paths = sorted((place / FOLDER).glob("*.jsonl"))
        return [line for path in paths for line in path.read_bytes().splitlines()]
    from serving.stores.s3 import QUICK, S3Prefix  # boto3 is imported only where landing is on S3

    with closing(S3Prefix(landing, QUICK, "it is tried again")) as there:
        objects = (there.read(key) for key in there.keys(FOLDER) if key.endswith(".jsonl"))
        return [line for found in objects if found is not None for line in found[0].splitlines()]
