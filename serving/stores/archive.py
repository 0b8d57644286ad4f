"""The archive: every published snapshot on S3. Stores are rebuilt from it, and new hosts start from it.

    s3://bucket/prefix                      s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1

    PREFIX/pointer.json                             the store's pointer, moved by conditional writes
    PREFIX/versions/<version>/manifest.json         written last; without it a version is unfinished
    PREFIX/versions/<version>/shards/<number>.records, blobs/<name>.npy

The format is no store's own, so that a store of any kind can be made of it. S3 checks uploads part by part (SHA-256);
downloads are checked against the manifest's digests. Nothing is removed here: the bucket's lifecycle rules do that.
Credentials are boto3's: environment, profile or role.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from serving.snapshot import pointer as steps
from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import ShardReport, SnapshotManifest, StoreError, UnknownVersionError, read_json
from serving.snapshot.pointer import Pointer
from serving.snapshot.record_stream import pack_stream, unpack_stream
from serving.stores.protocols import Store, StoredVersion
from serving.stores.s3 import ABSENT, PATIENT, S3Prefix

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PART_BYTES = 16 << 20
AT_ONCE = 4  # parts uploaded, and shards downloaded, side by side


class Archive(S3Prefix):
    """`s3://BUCKET/PREFIX`, with `endpoint` and `region` in the query. Every method raises StoreError where S3 fails.

    Requests time out after 5 s (connect) or 30 s (read) and are tried 4 times.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, PATIENT, "mend that and run it again: it continues")
        self._transfer = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=AT_ONCE
        )

    # Objects -----------------------------------------------------------------------------------------------

    def send(self, key: str, digest: str, parts: Callable[[], Iterable[bytes]]) -> int:
        """Upload an object in parts, unless it is there already with this digest. Return the bytes sent."""
        with self.client() as client:
            try:
                head = client.head_object(Bucket=self.bucket, Key=key)
                if head["Metadata"].get("digest") == digest:
                    return 0
            except ClientError as error:
                if error.response["Error"]["Code"] not in ABSENT:
                    raise
            source = _PartsFile(parts())
            extra = {"ChecksumAlgorithm": "SHA256", "Metadata": {"digest": digest}}
            reader = io.BufferedReader(source, PART_BYTES)
            client.upload_fileobj(reader, self.bucket, key, ExtraArgs=extra, Config=self._transfer)
            return source.sent

    def forget_parts(self, prefix: str) -> None:
        """Remove the parts of uploads that were never completed; no process may be uploading below the prefix."""
        with self.client() as client:
            for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix):
                for upload in page.get("Uploads", []):
                    client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    # Versions ----------------------------------------------------------------------------------------------

    def versions(self) -> list[SnapshotManifest]:
        """Return the manifests of all complete versions, by day and version."""
        manifests = []
        for name in self.folders("versions"):
            data = self.read(self.key("versions", name, "manifest.json"))
            if data is not None:
                manifests.append(SnapshotManifest.from_json(data[0], f"{name} in {self.url}"))
        return sorted(manifests, key=lambda manifest: (manifest.day, manifest.version))

    def manifest(self, version: str) -> SnapshotManifest:
        """Return a version's manifest. Raises UnknownVersionError where the version is absent or incomplete."""
        data = self.read(self.key("versions", version, "manifest.json"))
        if data is None:
            raise UnknownVersionError(f"{self.url} holds no version {version}; see topshelf archive --list")
        return SnapshotManifest.from_json(data[0], f"{version} in {self.url}")

    def put(self, stored: StoredVersion) -> int:
        """Archive a version that the caller holds. Return the bytes sent.

        Objects that an earlier attempt sent are not sent again. Raises StoreError for altered records or blobs, and
        where the archive has another snapshot of this name.
        """
        manifest = stored.manifest
        base = self.key("versions", manifest.version)
        self.forget_parts(f"{base}/")
        sent = sum(
            self.send(f"{base}/shards/{number:05d}.records", report.sha256, _shard_parts(stored, number, report))
            for number, report in enumerate(manifest.shards)
        )
        for name, digest in manifest.blobs.items():
            sent += self.send(f"{base}/blobs/{name}.npy", digest, _blob_parts(stored, name, digest))
        data = manifest.to_json()
        while not self.write_if(f"{base}/manifest.json", data, None):
            archived = self.read(f"{base}/manifest.json")
            if archived is None:
                continue
            old_data, etag = archived
            if SnapshotManifest.from_json(old_data, f"{manifest.version} in {self.url}").hash != manifest.hash:
                raise StoreError(
                    f"{self.url} holds another snapshot as {manifest.version}; give each shop a prefix of its own"
                )
            # The manifest of the same snapshot changes when its failed gates were overruled.
            if old_data == data or self.write_if(f"{base}/manifest.json", data, etag):
                break
        return sent

    def restore(self, version: str, store: Store) -> SnapshotManifest:
        """Load a version into a store of any kind and record it there as published. Return its manifest.

        The live version stays live. Shards that an earlier attempt loaded whole are not loaded again. Raises
        StoreError for altered data, UnknownVersionError, BusyVersionError.
        """
        manifest = self.manifest(version)
        with store.begin(version, manifest.n_shards) as loading:
            if not loading.sealed:
                for name, digest in manifest.blobs.items():
                    if loading.write_blob(name, self._blob(version, name)) != digest:
                        raise StoreError(f"blob {name} of {version} in {self.url} was altered; archive it again")

                def load(shard: int) -> ShardReport:
                    finished = loading.finished.get(shard)
                    if finished == manifest.shards[shard]:
                        return finished
                    return loading.write_shard(shard, self.read_shard(version, shard))

                with ThreadPoolExecutor(AT_ONCE) as pool:
                    reports = list(pool.map(load, range(manifest.n_shards)))
                for shard, (report, promised) in enumerate(zip(reports, manifest.shards, strict=True)):
                    if report != promised:
                        store.delete(version)
                        raise StoreError(f"shard {shard} of {version} in {self.url} was altered; archive it again")
                loading.seal(manifest)
            steps.move(store, lambda old: steps.published(old, version))
        return manifest

    def _blob(self, version: str, name: str) -> bytes:
        archived = self.read(self.key("versions", version, "blobs", f"{name}.npy"))
        if archived is None:
            raise StoreError(f"blob {name} of {version} is gone from {self.url}; archive the version again")
        return archived[0]

    def read_shard(self, version: str, shard: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Yield a shard's keys and records in batches, unchecked. Raises StoreError for a stream that was cut."""
        key = self.key("versions", version, "shards", f"{shard:05d}.records")
        with self.client() as client:
            body = client.get_object(Bucket=self.bucket, Key=key)["Body"]
            yield from unpack_stream(body, f"{key} in {self.bucket}")

    # Pointer -----------------------------------------------------------------------------------------------

    def pointer(self) -> Pointer:
        """Return the archive's pointer; an empty one where nothing was archived."""
        return self._pointer()[0]

    def _pointer(self) -> tuple[Pointer, str | None]:
        archived = self.read(self.key("pointer.json"))
        if archived is None:
            return Pointer(), None
        data, etag = archived
        where = f"{self.key('pointer.json')} in {self.bucket}"
        return read_json(data, Pointer, where, "remove it; the next night that is archived writes it again"), etag

    def follow(self, pointer: Pointer) -> None:
        """Take over a store's pointer in one step, unless the archive's is at least as late."""
        while True:
            current, etag = self._pointer()
            if current.seq >= pointer.seq:
                return
            if self.write_if(self.key("pointer.json"), msgspec.json.encode(pointer), etag):
                return


class _PartsFile(io.RawIOBase):
    """An iterable of bytes as a file to read; `sent` counts the bytes read so far."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts, self._rest = iter(parts), memoryview(b"")
        self.sent = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        if not self._rest:
            self._rest = memoryview(next(self._parts, b""))
        size = min(len(target), len(self._rest))
        target[:size], self._rest = self._rest[:size], self._rest[size:]
        self.sent += size
        return size


def _shard_parts(stored: StoredVersion, shard: int, report: ShardReport) -> Callable[[], Iterator[bytes]]:
    def parts() -> Iterator[bytes]:
        digest = RecordDigest()
        yield from pack_stream(stored.scan(shard), digest)
        if digest.hexdigest() != report.sha256:  # before the upload completes, so S3 keeps nothing
            raise StoreError(f"shard {shard} of {stored.manifest.version} was altered; publish the night again")

    return parts


def _blob_parts(stored: StoredVersion, name: str, digest: str) -> Callable[[], Iterator[bytes]]:
    def parts() -> Iterator[bytes]:
        data = stored.blob(name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(f"blob {name} of {stored.manifest.version} was altered; publish the night again")
        yield bytes(data)

    return parts
