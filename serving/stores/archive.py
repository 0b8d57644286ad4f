"""The archive: every published snapshot on S3, from which a store is rebuilt and a host without one starts.

    s3://bucket/prefix                      s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1

    PREFIX/pointer.json                             the store's pointer, moved by conditional writes
    PREFIX/versions/<version>/manifest.json         written last; without it a version is unfinished
    PREFIX/versions/<version>/shards/<number>.records, blobs/<name>.npy

A version is held as no store holds it, so that any store can be made of it. What goes up is checked by S3 part by
part (SHA-256), what comes down against the manifest's digests. Nothing is ever removed: the bucket's rules do that.
Credentials are boto3's: environment, profile or role.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import msgspec
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from serving.snapshot import pointer as steps
from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import ShardReport, SnapshotManifest, StoreError, UnknownVersionError
from serving.snapshot.pointer import Pointer
from serving.snapshot.record_stream import packed, unpacked
from serving.stores.protocols import Store, StoredVersion

PART_BYTES = 16 << 20
AT_ONCE = 4  # parts sent, and shards fetched, at once
_REFUSED = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}


class Archive:
    """`s3://BUCKET/PREFIX`, with `endpoint` and `region` in the query. Every method raises StoreError."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise StoreError(f"archive {url!r} is no address; give s3://BUCKET/PREFIX")
        query = dict(parse_qsl(parts.query))
        self.bucket, self.prefix = parts.netloc, parts.path.strip("/")
        self.url = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        config = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=30)
        self.endpoint = query.get("endpoint")
        self._options = {"endpoint_url": self.endpoint, "region_name": query.get("region"), "config": config}
        self._transfer = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=AT_ONCE
        )
        self._made: Any = None

    def key(self, *parts: str) -> str:
        return "/".join([self.prefix, *parts] if self.prefix else parts)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            if self._made is None:
                self._made = boto3.session.Session().client("s3", **self._options)
            yield self._made
        except (ClientError, BotoCoreError, Boto3Error, OSError) as error:
            raise StoreError(f"{self.url} did not do it: {error}; mend that and run it again: it goes on") from error

    # Objects -----------------------------------------------------------------------------------------------

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object whole and its ETag, or None."""
        with self._client() as client:
            try:
                found = client.get_object(Bucket=self.bucket, Key=key)
                return found["Body"].read(), found["ETag"]
            except ClientError as error:
                if error.response["Error"]["Code"] in _ABSENT:
                    return None
                raise

    def write_if(self, key: str, data: bytes, etag: str | None) -> bool:
        """Write a small object if it still has this ETag (None: if there is none): whether it was written."""
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        with self._client() as client:
            try:
                client.put_object(Bucket=self.bucket, Key=key, Body=data, ChecksumAlgorithm="SHA256", **condition)
            except ClientError as error:
                if error.response["Error"]["Code"] in _REFUSED:
                    return False
                raise
        return True

    def send(self, key: str, digest: str, parts: Callable[[], Iterable[bytes]]) -> int:
        """Upload what is not there yet under this digest, in parts, each checked by S3: the bytes sent."""
        with self._client() as client:
            try:
                head = client.head_object(Bucket=self.bucket, Key=key)
                if head["Metadata"].get("digest") == digest:
                    return 0
            except ClientError as error:
                if error.response["Error"]["Code"] not in _ABSENT:
                    raise
            source = _Source(parts())
            extra = {"ChecksumAlgorithm": "SHA256", "Metadata": {"digest": digest}}
            reader = io.BufferedReader(source, PART_BYTES)
            client.upload_fileobj(reader, self.bucket, key, ExtraArgs=extra, Config=self._transfer)
            return source.sent

    def forget_parts(self, prefix: str) -> None:
        """Remove the parts of uploads that were never completed: their process is dead."""
        with self._client() as client:
            for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix):
                for upload in page.get("Uploads", []):
                    client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    # Versions ----------------------------------------------------------------------------------------------

    def versions(self) -> list[SnapshotManifest]:
        """The manifests of all whole versions, by day and version."""
        base, found = self.key("versions", ""), []
        with self._client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=base, Delimiter="/")
            names = [of["Prefix"][len(base) : -1] for page in pages for of in page.get("CommonPrefixes", [])]
        for name in names:
            data = self.read(self.key("versions", name, "manifest.json"))
            if data is not None:
                found.append(SnapshotManifest.from_json(data[0], f"{name} in {self.url}"))
        return sorted(found, key=lambda m: (m.day, m.version))

    def manifest(self, version: str) -> SnapshotManifest:
        """Raises UnknownVersionError where it is not whole."""
        data = self.read(self.key("versions", version, "manifest.json"))
        if data is None:
            raise UnknownVersionError(f"{self.url} holds no version {version}; see topshelf archive --list")
        return SnapshotManifest.from_json(data[0], f"{version} in {self.url}")

    def put(self, stored: StoredVersion) -> int:
        """Archive a version, whose caller holds it; what an earlier attempt sent is not sent again: bytes sent."""
        manifest = stored.manifest
        base = self.key("versions", manifest.version)
        self.forget_parts(f"{base}/")
        sent = sum(
            self.send(f"{base}/shards/{number:05d}.records", report.sha256, _of_shard(stored, number, report))
            for number, report in enumerate(manifest.shards)
        )
        for name, digest in manifest.blobs.items():
            sent += self.send(f"{base}/blobs/{name}.npy", digest, _of_blob(stored, name, digest))
        data = manifest.to_json()
        while not self.write_if(f"{base}/manifest.json", data, None):
            found = self.read(f"{base}/manifest.json")
            if found is None:
                continue
            if SnapshotManifest.from_json(found[0], f"{manifest.version} in {self.url}").hash != manifest.hash:
                raise StoreError(
                    f"{self.url} holds another snapshot as {manifest.version}; give each shop a prefix of its own"
                )
            if found[0] == data or self.write_if(f"{base}/manifest.json", data, found[1]):  # gates were overruled
                break
        return sent

    def restore(self, version: str, store: Store) -> SnapshotManifest:
        """Load a version into a store, which may be of another kind, and note it there; the pointer stays.

        What an earlier attempt loaded whole is not loaded again.
        """
        manifest = self.manifest(version)
        with store.begin(version, manifest.n_shards) as loading:
            if not loading.sealed:
                for name, digest in manifest.blobs.items():
                    if loading.write_blob(name, self._blob(version, name)) != digest:
                        raise StoreError(f"blob {name} of {version} in {self.url} was altered; archive it again")

                def load(shard: int) -> ShardReport:
                    done = loading.finished.get(shard)
                    if done == manifest.shards[shard]:
                        return done
                    return loading.write_shard(shard, self._shard(version, shard))

                with ThreadPoolExecutor(AT_ONCE) as pool:
                    reports = list(pool.map(load, range(manifest.n_shards)))
                for shard, (report, wanted) in enumerate(zip(reports, manifest.shards, strict=True)):
                    if report != wanted:
                        store.delete(version)
                        raise StoreError(f"shard {shard} of {version} in {self.url} was altered; archive it again")
                loading.seal(manifest)
            steps.move(store, lambda old: steps.published(old, version))
        return manifest

    def _blob(self, version: str, name: str) -> bytes:
        found = self.read(self.key("versions", version, "blobs", f"{name}.npy"))
        if found is None:
            raise StoreError(f"blob {name} of {version} is gone from {self.url}; archive the version again")
        return found[0]

    def _shard(self, version: str, shard: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        key = self.key("versions", version, "shards", f"{shard:05d}.records")
        with self._client() as client:
            body = client.get_object(Bucket=self.bucket, Key=key)["Body"]
            yield from unpacked(body, f"{key} in {self.bucket}")

    # Pointer -----------------------------------------------------------------------------------------------

    def pointer(self) -> Pointer:
        return self._pointer()[0]

    def _pointer(self) -> tuple[Pointer, str | None]:
        found = self.read(self.key("pointer.json"))
        return (Pointer(), None) if found is None else (msgspec.json.decode(found[0], type=Pointer), found[1])

    def follow(self, pointer: Pointer) -> None:
        """Take over a store's pointer, unless a later one is here already."""
        while True:
            current, etag = self._pointer()
            if current.seq >= pointer.seq:
                return
            if self.write_if(self.key("pointer.json"), msgspec.json.encode(pointer), etag):
                return

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
            self._made = None


class _Source(io.RawIOBase):
    """An iterable of bytes as a file to read; `sent` is how much was read."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts, self._rest = iter(parts), memoryview(b"")
        self.sent = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._parts, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        self.sent += size
        return size


def _of_shard(stored: StoredVersion, shard: int, report: ShardReport) -> Callable[[], Iterator[bytes]]:
    def parts() -> Iterator[bytes]:
        digest = RecordDigest()
        yield from packed(stored.scan(shard), digest)
        if digest.hexdigest() != report.sha256:  # raised before the upload is completed, so nothing is kept of it
            raise StoreError(f"shard {shard} of {stored.manifest.version} was altered; publish the night again")

    return parts


def _of_blob(stored: StoredVersion, name: str, digest: str) -> Callable[[], Iterator[bytes]]:
    def parts() -> Iterator[bytes]:
        data = stored.blob(name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(f"blob {name} of {stored.manifest.version} was altered; publish the night again")
        yield bytes(data)

    return parts
