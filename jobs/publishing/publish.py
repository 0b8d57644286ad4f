"""Publish one night: write its snapshot into a store, judge it, and move the pointer if the publishing rule allows.

    topshelf stage publish --ds 2026-01-31 --lake data/lake --store lmdb://data/store

Reads marts/top_n, marts/shopper_lists, marts/fallback, marts/usual_price, marts/exploration, features/item,
features/user, features/newcomer, the neighbours of artifacts/cf, and artifacts/item_lists. A shopper without a shelf
gets a record without items that holds their segment.
Shards of users are loaded one after another. Where TOPSHELF_SPARK_MASTER names a cluster, its executors load them.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, date, datetime

import msgspec
import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from jobs.experiments.running import NO_EXPERIMENTS, RunningExperiments
from jobs.lake.lake import Lake
from jobs.publishing.archive import archive_artifacts
from jobs.publishing.gates import GateLimits, judge
from jobs.publishing.night_contents import NightContents, read_night
from jobs.publishing.shard_loader import Load, OnSpark, ShardSource, in_this_process
from jobs.publishing.snapshot_columns import (
    Segments,
    catalogue_of,
    fallback_shelves,
    neighbours_shown,
    segments_of,
)
from jobs.publishing.versions import KEEP, make_way, manifest_of, promote_published, sweep, verify
from jobs.shelves.exploration import pools_of
from jobs.spark.session import session
from serving.snapshot.contents import (
    SnapshotCatalogue,
    catalogue_blobs,
    item_list_blobs,
    neighbour_blobs,
    pool_blobs,
    segment_blobs,
    shelf_blobs,
)
from serving.snapshot.experiments import experiment_blobs
from serving.snapshot.manifest import SnapshotManifest
from serving.stores import open_store
from serving.stores.archive import Archive
from serving.stores.protocols import Loading, Store

SAMPLE_USERS = 2_000
LIMITS = GateLimits()


@dataclass(frozen=True)
class PublishOutcome:
    """The outcome of a publish: the manifest, whether the snapshot is live, and why or why not."""

    manifest: SnapshotManifest
    live: bool
    reason: str
    promoted: bool
    """It is live by this publish, and was not before."""


def publish(
    night: NightContents,
    store: Store,
    *,
    keep: int = KEEP,
    limits: GateLimits = LIMITS,
    force: str = "",
    now: str = "",
    archive: Archive | None = None,
    load: Load = in_this_process,
) -> PublishOutcome:
    """Load the night's snapshot beside the live one, judge and verify it, move the pointer, remove old versions.

    With an archive, the snapshot is copied there whether it went live or not, and then the pointer.
    Repeating a publish changes nothing. After a crash it goes on where it stopped.
    `force` is the written reason for overruling a failed gate. `now` is the time to put into the manifest.

    Raises:
        PublishError: the night's tables make no snapshot.
        StoreError: the store or the archive failed.
    """
    if force:
        make_way(store, night.version)
    with store.begin(night.version, night.n_shards) as loading:
        if not loading.sealed:
            manifest, sample, item_ids = _load(night, loading, load)
            results = judge(store, manifest, sample, item_ids, limits=limits)
            manifest = msgspec.structs.replace(manifest, gates=results, forced=force, published_at=now)
            loading.seal(manifest)
            verify(store, manifest, sample)
        elif night.version not in store.pointer().published:  # an earlier attempt died before it verified
            verify(store, manifest_of(store, night.version), {}, whole=True)
        manifest = manifest_of(store, night.version)
        was_live = store.pointer().live == manifest.version
        live, reason = promote_published(store, manifest)
        if archive is not None:
            with closing(store.open(manifest.version)) as stored:
                archive.put(stored)
            archive.follow(store.pointer())
    sweep(store, keep)
    return PublishOutcome(manifest, live, reason, promoted=live and not was_live)


def _load(
    night: NightContents, loading: Loading, load: Load
) -> tuple[SnapshotManifest, dict[bytes, bytes], Sequence[str]]:
    """Load all of a night; return the manifest so far, a sample of records by key, and the item ids."""
    catalogue = catalogue_of(night.items, night.withheld, night.usual_prices)
    withheld = {} if night.withheld is None else {"withheld_items": int(night.withheld.sum())}
    segments = segments_of(night.users(shard) for shard in range(night.n_shards))
    blobs, blob_bytes = {}, 0
    for name, data in _blobs(night, catalogue, segments):
        blobs[name] = loading.write_blob(name, data)
        blob_bytes += len(data)
    every = max(1, night.expected_users // SAMPLE_USERS)
    item_ids = pa.array(catalogue.item_ids, pa.string())
    source = ShardSource(night.ds, night.shelves, night.own_lists, night.users, segments, item_ids, every)
    loaded = load(source, loading, night.version, night.n_shards)
    seen = np.logical_or.reduce([shard.seen for shard in loaded])
    shelves = Counter(night.fallback["shelf"].to_pylist())
    manifest = SnapshotManifest(
        version=night.version,
        day=str(night.ds),
        run_id=night.run_id,
        model_version=night.model_version,
        policy_version=night.policy_version,
        users=sum(shard.users for shard in loaded),
        items=len(catalogue.item_ids),
        top_n=night.top_n,
        n_shards=night.n_shards,
        shards=[shard.report for shard in loaded],
        blobs=blobs,
        blob_bytes=blob_bytes,
        metrics={
            **night.metrics,
            **withheld,
            "coverage": float(seen.mean()) if len(seen) else 0.0,
            "users_with_shelf": sum(shard.users_with_shelf for shard in loaded),
            "users_with_lists": sum(shard.users_with_lists for shard in loaded),
            "global_shelf_items": shelves["global"],
            "items_on_sale": int(np.count_nonzero(catalogue.stock[catalogue.popularity])),
        },
    )
    sample = {key: record for shard in loaded for key, record in shard.sample.items()}
    return manifest, sample, catalogue.item_ids


def _blobs(night: NightContents, catalogue: SnapshotCatalogue, segments: Segments) -> Iterator[tuple[str, bytes]]:
    yield from catalogue_blobs(catalogue)
    yield from shelf_blobs(fallback_shelves(night.fallback, catalogue.item_ids))
    yield from neighbour_blobs(*neighbours_shown(night.neighbours, night.withheld), len(catalogue.item_ids))
    for name, listed in night.item_lists.items():
        yield from item_list_blobs(name, *neighbours_shown(listed, night.withheld), len(catalogue.item_ids))
    yield from segment_blobs(list(segments))
    pools = [] if night.exploration is None else pools_of(night.exploration, catalogue.item_ids)
    yield from pool_blobs(pools, len(catalogue.item_ids))
    yield from experiment_blobs(night.experiments.layers, night.experiments.buckets)


def build(
    lake: Lake,
    ds: date,
    store_url: str,
    *,
    run_id: str = "",
    force: str = "",
    archive_url: str = "",
    landing: str = "",
    spark: SparkSession | None = None,
    experiments: RunningExperiments = NO_EXPERIMENTS,
) -> PublishOutcome:
    """Publish one night of the lake into a store; with an archive, copy the snapshot and the artifacts there.

    With a Spark session, its executors load the shards in parallel. `experiments` are those that run on the night.

    Raises:
        MissingPartitionError: an earlier stage has not run for the day.
        OtherExperimentsError: shelves were ranked for other experiments.
        PublishError: the night's tables make no snapshot.
        StoreError: the store or the archive failed.
    """
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(store_url)))
        archive = stack.enter_context(closing(Archive(archive_url))) if archive_url else None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        load = OnSpark(spark, store_url) if spark else in_this_process
        night = read_night(lake, ds, run_id, landing, experiments)
        published = publish(night, store, force=force, now=now, archive=archive, load=load)
        if archive is not None:
            archive_artifacts(lake, ds, archive)
        return published


def executors() -> SparkSession | None:
    """Return the session of the cluster that TOPSHELF_SPARK_MASTER names, or None: on one machine tasks cost more."""
    return None if os.environ.get("TOPSHELF_SPARK_MASTER", "local").startswith("local") else session()
