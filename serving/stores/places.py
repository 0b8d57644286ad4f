"""Reads addresses of places: a folder, or an address whose scheme is known. Any other scheme is refused.

>>> place_of("s3://shop/landing?endpoint=http://127.0.0.1:7070")
S3Address(bucket='shop', prefix='landing', endpoint='http://127.0.0.1:7070', region=None)

Without this check `gs://shop/lake` would be a folder named `gs:` in the working directory.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from serving.snapshot.manifest import StoreError

STORES = ("lmdb", "redis", "rediss", "redis+cluster", "rediss+cluster", "dynamodb")
FOLDER_OR_S3 = "a folder, or s3://BUCKET/PREFIX"
S3_FORM = "s3://BUCKET/PREFIX"
STORE_FORM = "lmdb://FOLDER, redis://HOST:PORT/DB or dynamodb://TABLE"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")  # one slash too: what is left of a URL that was taken for a path

_PASSWORD = re.compile(r"//[^/@]*@")


class PlaceError(StoreError, ValueError):
    """An address names no place of the kind that is wanted; the message says what is."""


@dataclass(frozen=True, slots=True)
class S3Address:
    """`s3://BUCKET/PREFIX`, with `endpoint` and `region` in the query."""

    bucket: str
    prefix: str
    endpoint: str | None = None
    region: str | None = None

    @property
    def url(self) -> str:
        """The address without its query."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def without_password(address: str) -> str:
    """Return an address as it may be shown: user and password are starred out."""
    return _PASSWORD.sub("//***@", address)


def scheme_of(address: str) -> str:
    """Return the scheme as it is written, or an empty text for a path."""
    found = _SCHEME.match(address)
    return found[1] if found else ""


def folder_of(address: str) -> Path:
    """Return the path of a folder or file of this host. Raises PlaceError."""
    if scheme_of(address):
        raise PlaceError(f"{address!r} is no folder of this host; give a path")
    return Path(address)


def s3_address(url: str) -> S3Address:
    """Return the parts of an S3 URL. Raises PlaceError."""
    parts = urlsplit(url)
    if not url.startswith("s3://") or not parts.netloc:
        raise PlaceError(f"{url!r} is no S3 URL; give {S3_FORM}")
    query = dict(parse_qsl(parts.query))
    unknown = query.keys() - {"endpoint", "region"}
    if unknown:
        raise PlaceError(f"{url!r} has {', '.join(sorted(unknown))} in its query; endpoint and region are known")
    return S3Address(parts.netloc, parts.path.strip("/"), query.get("endpoint"), query.get("region"))


def place_of(address: str) -> Path | S3Address:
    """Return the folder or the S3 address that `address` names. Raises PlaceError for any other scheme."""
    scheme = scheme_of(address)
    if not scheme:
        return Path(address)
    if scheme != "s3":
        raise PlaceError(f"{address!r} is of a scheme that is not known; give {FOLDER_OR_S3}")
    return s3_address(address)


def check_store(url: str) -> None:
    """Check the scheme of a store's URL, and the folder of one in files. Raises PlaceError."""
    scheme = scheme_of(url)
    if scheme not in STORES or not url.startswith(f"{scheme}://"):
        raise PlaceError(f"store URL {without_password(url)!r} is not known; give {STORE_FORM}")
    if scheme == "lmdb":
        folder_of(url.removeprefix("lmdb://"))
