"""Objects below a prefix of an S3 bucket, as the archive and landing use them. Credentials are boto3's.

    s3://bucket/prefix                      s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1

Without `endpoint`, AWS_ENDPOINT_URL names a server other than AWS.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from serving.snapshot.manifest import StoreError
from serving.stores.places import s3_address

ABSENT = {"NoSuchKey", "404", "NotFound"}
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=30)
"""For work that may take long: 4 tries."""
QUICK = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=2, read_timeout=10)
"""For work that is repeated by its caller, or that somebody waits for."""
_CONDITION_FAILED = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409"}


class S3Prefix:
    """`s3://BUCKET/PREFIX`. Every method raises StoreError where S3 fails; PlaceError for an URL that is none."""

    def __init__(self, url: str, config: Config = PATIENT, remedy: str = "mend that and run it again") -> None:
        """Connect when first used. `remedy` ends the message of an error."""
        address = s3_address(url)
        self.bucket, self.prefix, self.url, self.endpoint = (
            address.bucket,
            address.prefix,
            address.url,
            address.endpoint,
        )
        self._options = {"endpoint_url": address.endpoint, "region_name": address.region, "config": config}
        self._remedy = remedy
        self._connected: Any = None

    def key(self, *parts: str) -> str:
        """Return the key of an object below the prefix."""
        return "/".join([self.prefix, *parts] if self.prefix else parts)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Connect where there is no connection yet. The block's errors of the driver are raised as StoreError."""
        try:
            if self._connected is None:
                self._connected = boto3.session.Session().client("s3", **self._options)
            yield self._connected
        except (ClientError, BotoCoreError, Boto3Error, OSError) as error:
            raise StoreError(f"{self.url} failed: {error}; {self._remedy}") from error

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return a whole object and its ETag, or None."""
        with self.client() as client:
            try:
                answer = client.get_object(Bucket=self.bucket, Key=key)
                return answer["Body"].read(), answer["ETag"]
            except ClientError as error:
                if error.response["Error"]["Code"] in ABSENT:
                    return None
                raise

    def holds(self, key: str) -> bool:
        """Return whether there is an object of this key; asked by a listing, so nothing need be readable."""
        with self.client() as client:
            found = client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1).get("Contents", [])
        return any(entry["Key"] == key for entry in found)

    def write_if(self, key: str, data: bytes, etag: str | None) -> bool:
        """Write an object if it still has this ETag (None: if it is absent). Return whether it was written."""
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        with self.client() as client:
            try:
                client.put_object(Bucket=self.bucket, Key=key, Body=data, ChecksumAlgorithm="SHA256", **condition)
            except ClientError as error:
                if error.response["Error"]["Code"] in _CONDITION_FAILED:
                    return False
                raise
        return True

    def write_once(self, key: str, data: bytes) -> None:
        """Write an object unless it is there already, as after a write whose answer was lost."""
        while not self.write_if(key, data, None) and not self.holds(key):
            pass  # two writes met, and S3 refused both

    def folders(self, below: str) -> list[str]:
        """Return the names of the folders in a folder `below` the prefix, sorted."""
        base = self.key(below, "")
        with self.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=base, Delimiter="/")
            found = [folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", [])]
        return sorted(folder[len(base) : -1] for folder in found)

    def keys(self, below: str) -> list[str]:
        """Return the keys of all objects in a folder `below` the prefix, sorted."""
        with self.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key(below, ""))
            return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))

    def is_empty(self) -> bool:
        """Return whether there is no object below the prefix."""
        base = f"{self.prefix}/" if self.prefix else ""
        with self.client() as client:
            return not client.list_objects_v2(Bucket=self.bucket, Prefix=base, MaxKeys=1).get("KeyCount")

    def close(self) -> None:
        """Close the connection; it is made again when needed."""
        if self._connected is not None:
            self._connected.close()
            self._connected = None
