"""The file system that an address names, and the path in it: a local folder, or `s3://bucket/prefix`.

>>> filesystem_of("s3://shop/landing")[1]
'shop/landing'
"""

import os
from pathlib import Path

from pyarrow import fs


def filesystem_of(root: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a landing folder or a lake, and the folder's path in it."""
    if root.startswith("s3://"):
        return fs.S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL")), root[5:].rstrip("/")
    return fs.LocalFileSystem(), str(Path(root).resolve())
