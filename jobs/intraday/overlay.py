"""Write the overlay of the live snapshot: trending items and new items, which change between nights.

    topshelf overlay --store lmdb://data/store

The command shows the live overlay. `write_overlay` is for the jobs that make one.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

import msgspec

from jobs.publishing.gates import item_ids_of
from serving.snapshot.blobs import unpack
from serving.snapshot.manifest import SnapshotManifest, StoreError
from serving.snapshot.overlay import (
    OverlayContents,
    OverlayItem,
    is_over,
    overlay_blobs,
    overlay_name,
    overlay_url,
    read_overlay,
)
from serving.snapshot.pointer import promoted, published, retained
from serving.stores import open_store
from serving.stores.protocols import Store, StoredVersion

KEEP = 3
_ATTEMPTS = 20
Scored = tuple[str, float]


class StaleBaseError(StoreError):
    """The snapshot that an overlay was made for is no longer live. The next run makes one for the new snapshot."""


def write_overlay(
    store_url: str,
    base_version: str,
    *,
    trending: Sequence[tuple[str, float]] | None = None,
    new_items: Sequence[OverlayItem] | None = None,
) -> str:
    """Make an overlay of `base_version` live and return its version. Repeating it changes nothing.

    A part that is None is taken from the live overlay of the same base, so that two jobs can each write their own.
    Items come in order: the most trending first, the newest first. Trending items and neighbours that the base's
    rules withhold are left out.

    Raises:
        StaleBaseError: another snapshot is live.
        StoreError: the store cannot be written, or the overlay is too large.
    """
    with closing(open_store(store_url)) as base, closing(open_store(overlay_url(store_url))) as store:
        for _ in range(_ATTEMPTS):
            live = base.pointer().live
            if live != base_version:
                raise StaleBaseError(f"{base_version} is not live, {live} is; make the overlay for that one")
            old = store.pointer()
            live_contents = read_live(store, base_version)
            with closing(base.open(base_version)) as stored:
                visible = _visible_in(stored)
            contents = OverlayContents(
                live_contents.trending
                if trending is None
                else visible((item_id, float(score)) for item_id, score in trending),
                live_contents.new_items
                if new_items is None
                else [msgspec.structs.replace(item, neighbours=visible(item.neighbours)) for item in new_items],
            )
            name = _load(store, base_version, contents)
            new = promoted(published(old, name), name, base_version[:10])
            if new == old or store.swap_pointer(old, new):
                _sweep(store)
                return name
    raise StoreError(f"other writers kept moving the overlay's pointer in {store_url}; run it again")


def _visible_in(stored: StoredVersion) -> Callable[[Iterable[Scored]], list[Scored]]:
    """Return a filter that removes items which the base's rules withhold."""
    if "withheld" not in stored.manifest.blobs:
        return list
    withheld, ids = unpack(stored.blob("withheld")), item_ids_of(stored)
    withheld_positions = set(withheld.tolist())
    return lambda rows: [row for row in rows if ids.find(row[0]) not in withheld_positions]


def read_live(store: Store, base_version: str) -> OverlayContents:
    """Return the contents of the live overlay of a base, empty if there is none."""
    live = store.pointer().live
    if live is None or not is_over(live, base_version):
        return OverlayContents()
    with closing(store.open(live)) as stored:
        return read_overlay(stored.blob("trending"), stored.blob("new_items"), live)


def _load(store: Store, base_version: str, contents: OverlayContents) -> str:
    name = overlay_name(base_version, contents)
    with store.begin(name, 0) as loading:
        if not loading.sealed:
            blobs = overlay_blobs(contents)
            digests = {blob: loading.write_blob(blob, data) for blob, data in blobs.items()}
            loading.seal(
                SnapshotManifest(
                    version=name,
                    day=base_version[:10],
                    run_id="",
                    users=0,
                    items=len(contents.new_items),
                    top_n=0,
                    n_shards=0,
                    shards=[],
                    blobs=digests,
                    blob_bytes=sum(map(len, blobs.values())),
                    metrics={"base": base_version, "trending": len(contents.trending or [])},
                )
            )
    return name


def _sweep(store: Store) -> None:
    """Remove all but the newest KEEP overlays and those that the pointer needs."""
    present = {manifest.version for manifest in store.versions()}
    for version in sorted(present - retained(store.pointer(), present, KEEP)):
        with store.begin(version, 0):
            store.delete(version)


def describe_live(store_url: str) -> str:
    """Return a sentence on what is laid over the live snapshot of a store."""
    with closing(open_store(store_url)) as base, closing(open_store(overlay_url(store_url))) as store:
        version = base.pointer().live
        if version is None:
            return f"nothing is live in {store_url}"
        contents = read_live(store, version)
        return f"over {version}: {len(contents.trending or [])} trending, {len(contents.new_items)} new items"
