"""Archive published snapshots and the night's artifacts on S3, and restore a store from there.

topshelf archive                       the live version, and the store's pointer
topshelf archive VERSION
topshelf restore 2026-01-31-1a2b3c4d5e6f --store redis://host:6379/0
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

from rich.table import Table

from jobs.config.terminal import Terminal
from jobs.lake.lake import Lake
from jobs.lake.manifest import MANIFEST_NAME
from jobs.publishing.console import size_of
from jobs.publishing.versions import manifest_of
from serving.snapshot.manifest import StoreError
from serving.stores import open_store
from serving.stores.archive import Archive
from serving.stores.protocols import Store

NO_ARCHIVE = "no archive is named; give --archive s3://BUCKET/PREFIX, or set TOPSHELF_ARCHIVE"


def open_archive(url: str) -> Archive:
    """Return the archive at a URL. Raises StoreError for an empty URL."""
    if not url:
        raise StoreError(NO_ARCHIVE)
    return Archive(url)


def archive_version(store: Store, archive: Archive, version: str) -> int:
    """Archive one sealed version, which is held meanwhile, then the store's pointer. Return the bytes sent.

    Raises:
        StoreError: the version does not exist, or the archive failed.
    """
    manifest = manifest_of(store, version)
    with store.begin(version, manifest.n_shards), closing(store.open(version)) as stored:
        sent = archive.put(stored)
    archive.follow(store.pointer())
    return sent


def archive_artifacts(lake: Lake, ds: date, archive: Archive) -> int:
    """Archive a night's artifacts, unless the lake itself is on S3. Return the bytes sent. Raises StoreError."""
    if lake.root.startswith("s3://"):
        return 0
    sent = 0
    for folder in sorted(Path(lake.root, "artifacts").glob(f"*/ds={ds}")):
        name = f"artifacts/{folder.parent.name}"
        manifest = lake.find_manifest(name, ds)
        if manifest is None:
            continue  # its build did not finish
        last = {MANIFEST_NAME: hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest()}
        for file, digest in (manifest.files | last).items():
            sent += archive.send(archive.key(name, f"ds={ds}", file), digest, _of_file(folder / file, digest))
    return sent


def _of_file(path: Path, digest: str) -> Callable[[], Iterator[bytes]]:
    def parts() -> Iterator[bytes]:
        found = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(4 << 20):
                found.update(part)
                yield part
        if found.hexdigest() != digest:
            raise StoreError(f"{path} is not what its manifest says; run its stage again")

    return parts


def archive(store_url: str, archive_url: str, version: str | None = None) -> str:
    """Archive the live version, or the named one, and return a sentence about it. Raises StoreError."""
    with closing(open_archive(archive_url)) as remote, closing(open_store(store_url)) as store:
        wanted = version or store.pointer().live
        if wanted is None:
            raise StoreError(f"{store.url} has no live snapshot; run topshelf nightly, or name a version")
        sent = archive_version(store, remote, wanted)
        return f"{wanted} is in {remote.url}; {sent / 1e6:,.1f} MB were sent"


def restore(store_url: str, archive_url: str, version: str) -> str:
    """Load a version from the archive into a store, and return a sentence about it. Raises StoreError."""
    with closing(open_archive(archive_url)) as remote, closing(open_store(store_url)) as store:
        manifest = remote.restore(version, store)
        return f"{version} is in {store.url}: {manifest.users:,} users; topshelf promote {version} makes it live"


def print_archived(archive_url: str) -> None:
    """Print the versions in the archive, the oldest day first."""
    with closing(open_archive(archive_url)) as remote:
        pointer, manifests = remote.pointer(), remote.versions()
    table = Table(title=f"snapshots in {remote.url}", title_justify="left")
    for name in ("version (day-run)", "state", "users", "items", "size"):
        table.add_column(name, no_wrap=True, justify="right" if name in {"users", "items", "size"} else "left")
    for m in manifests:
        state = "live" if m.version == pointer.live else "stored"
        table.add_row(m.version, state, f"{m.users:,}", f"{m.items:,}", size_of(m))
    Terminal().print(table if manifests else f"{remote.url} holds no snapshot; run topshelf archive")
