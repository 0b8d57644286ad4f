"""The file system that an address names, and the path in it: a local folder, or `s3://bucket/prefix`.

>>> filesystem_of("s3://shop/landing")[1]
'shop/landing'

Landing may name its server, `s3://bucket/prefix?endpoint=URL`; without it AWS_ENDPOINT_URL does. An address of any
other scheme raises PlaceError.
"""

import os

from pyarrow import fs

from serving.stores.places import S3Address, place_of


def filesystem_of(root: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a landing folder or a lake, and the folder's path in it. Raises PlaceError."""
    place = place_of(root)
    if isinstance(place, S3Address):
        endpoint = place.endpoint or os.environ.get("AWS_ENDPOINT_URL")
        return fs.S3FileSystem(endpoint_override=endpoint, region=place.region), place.url.removeprefix("s3://")
    return fs.LocalFileSystem(), str(place.resolve())
