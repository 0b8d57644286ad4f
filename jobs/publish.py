"""Build a snapshot of one night in a store, and make it live where the publishing rule says so.

    python -m jobs.publish --ds 2026-01-31 --lake data/lake --store lmdb://data/store

Reads marts/top_n, marts/fallback, marts/exploration, features/item, features/user, features/newcomer and the
neighbours of artifacts/cf. A shopper without a shelf gets a record without items, which tells the segment.
Shards of users are loaded one after another, or by Spark's executors where TOPSHELF_SPARK_MASTER names a cluster.
"""

import argparse
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from jobs.archive import archive_artifacts
from jobs.erasure import erased_users, redacted_until, without
from jobs.exploration import pools_of
from jobs.lake import Lake, MissingPartitionError
from jobs.publish_gates import GateLimits, gates
from jobs.settings import SHARDS, stage_arguments
from jobs.shard_load import Load, OnSpark, ShardSource, in_this_process
from jobs.snapshot_columns import (
    POPULARITY,
    PublishError,
    Segments,
    catalogue_of,
    fallback_shelves,
    neighbours_shown,
    segments_of,
)
from jobs.snapshot_versions import KEEP, make_way, manifest_of, promote_published, sweep, verify
from jobs.spark import session
from jobs.withheld import load_withheld
from serving.stores import Loading, Manifest, Store, StoreError, open_store
from serving.stores.archive import Archive
from serving.stores.contents import (
    Catalogue,
    catalogue_blobs,
    neighbour_blobs,
    pool_blobs,
    segment_blobs,
    shelf_blobs,
)
from serving.stores.tombstones import Tombstones

SAMPLE_USERS = 2_000
SHELF_COLUMNS = ["variant", "user_id", "rank", "item_id", "score", "source", "reason_code", "reason_item_id"]
SHELF_TEXTS = ["variant", "user_id", "item_id", "source", "reason_code", "reason_item_id"]
USERS = ("features/user", "features/newcomer")
USER_COLUMNS = ("user_id", "region", "age_band", "preferred_categories")
ITEM_COLUMNS = ("item_pos", "item_id", "title", "category", "brand", "seller_id", "price_minor", "stock")
POLICY_VERSION = "ranked-fill-1"
LIMITS = GateLimits()


@dataclass(frozen=True)
class Night:
    """What one night made. Of one user shard `shelves` gives the table, sorted by the grain, `users` all users."""

    ds: date
    run_id: str
    items: pa.Table
    fallback: pa.Table
    neighbours: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # indptr, positions, scores
    shelves: Callable[[int], pa.Table]
    users: Callable[[int], pa.Table]
    n_shards: int
    top_n: int
    model_version: str = ""
    policy_version: str = ""
    expected_users: int = 0  # roughly; a sample is drawn by it
    metrics: Mapping[str, Any] = field(default_factory=dict)
    exploration: pa.Table | None = None
    withheld: NDArray[np.bool_] | None = (
        None  # [items] what rules keep off lists that are made for nobody in particular
    )

    @property
    def version(self) -> str:
        return f"{self.ds}-{self.run_id[:12]}"


@dataclass(frozen=True)
class Published:
    """What a publish came to: the manifest, whether it went live, and why or why not."""

    manifest: Manifest
    live: bool
    reason: str


def publish(
    night: Night,
    store: Store,
    *,
    keep: int = KEEP,
    limits: GateLimits = LIMITS,
    force: str = "",
    now: str = "",
    archive: Archive | None = None,
    load: Load = in_this_process,
) -> Published:
    """Load the night's snapshot beside the live one, verify it, pass the gates, move the pointer, sweep what is old.

    Where there is an archive, the snapshot goes there as well, whether it went live or not, and the pointer after it.
    Repeating it changes nothing; after a death it goes on where it stopped. `force` is the written reason for
    overruling a failed gate; `now` is the time put into the manifest. Raises PublishError, StoreError.
    """
    if force:
        make_way(store, night.version)
    with store.begin(night.version, night.n_shards) as loading:
        if not loading.sealed:
            manifest, sample, item_ids = _load(night, loading, load)
            judged = gates(store, manifest, sample, item_ids, limits=limits)
            manifest = msgspec.structs.replace(manifest, gates=judged, forced=force, published_at=now)
            loading.seal(manifest)
            verify(store, manifest, sample)
        elif night.version not in store.pointer().published:  # an earlier attempt ended before it was verified
            verify(store, manifest_of(store, night.version), {}, whole=True)
        manifest = manifest_of(store, night.version)
        live, reason = promote_published(store, manifest)
        if archive is not None:
            with closing(store.open(manifest.version)) as stored:
                archive.put(stored)
            archive.follow(store.pointer())
    sweep(store, keep)
    return Published(manifest, live, reason)


def _load(night: Night, loading: Loading, load: Load) -> tuple[Manifest, dict[bytes, bytes], Sequence[str]]:
    """Load all of a night: what its manifest says so far, a sample of its records, and its items."""
    catalogue = catalogue_of(night.items, night.withheld)
    withheld = {} if night.withheld is None else {"withheld_items": int(night.withheld.sum())}
    segments = segments_of(night.users(shard) for shard in range(night.n_shards))
    blobs, blob_bytes = {}, 0
    for name, data in _blobs(night, catalogue, segments):
        blobs[name] = loading.write_blob(name, data)
        blob_bytes += len(data)
    every = max(1, night.expected_users // SAMPLE_USERS)
    item_ids = pa.array(catalogue.item_ids, pa.string())
    source = ShardSource(night.ds, night.shelves, night.users, segments, item_ids, every)
    loaded = load(source, loading, night.version, night.n_shards)
    seen = np.logical_or.reduce([shard.seen for shard in loaded])
    shelves = Counter(night.fallback["shelf"].to_pylist())
    manifest = Manifest(
        version=night.version,
        day=str(night.ds),
        run_id=night.run_id,
        model_version=night.model_version,
        policy_version=night.policy_version,
        users=sum(shard.report.records for shard in loaded),
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
            "global_shelf_items": shelves["global"],
        },
    )
    sample = {key: record for shard in loaded for key, record in shard.sample.items()}
    return manifest, sample, catalogue.item_ids


def _blobs(night: Night, catalogue: Catalogue, segments: Segments) -> Iterator[tuple[str, bytes]]:
    yield from catalogue_blobs(catalogue)
    yield from shelf_blobs(fallback_shelves(night.fallback, catalogue.item_ids))
    yield from neighbour_blobs(*neighbours_shown(night.neighbours, night.withheld), len(catalogue.item_ids))
    yield from segment_blobs(list(segments))
    pools = [] if night.exploration is None else pools_of(night.exploration, catalogue.item_ids)
    yield from pool_blobs(pools, len(catalogue.item_ids))


def night_of(lake: Lake, ds: date, run_id: str = "", landing: str = "") -> Night:
    """What the lake holds of one night. Without a run id, it is the hash of what is published.

    Users erased since landing was last rid of such rows (`jobs.maintenance`) are left out; what the lake has of those
    erased before is of a new user. The manifest's `erasures_until` says up to when that holds.

    Raises MissingPartitionError: a stage before this one has not run for the day.
    """
    top_n = lake.manifest("marts/top_n", ds)
    holdout = lake.get_json(f"marts/evaluation/ds={ds}/holdout.json")
    ranker = lake.find_manifest("artifacts/ranker", ds)
    prints = lake.fingerprints(
        ds, "marts/top_n", "marts/fallback", "marts/exploration", "features/item", *USERS, "artifacts/cf"
    )
    own_id = hashlib.sha256(
        "\n".join(f"{name}={value}" for name, value in sorted(prints.items())).encode()
    ).hexdigest()

    def users(shard: int) -> pa.Table:
        return pa.concat_tables([lake.shard(table, ds, shard, USER_COLUMNS) for table in USERS])

    def near(name: str) -> NDArray[Any]:
        return lake.array("artifacts/cf", ds, f"item_item_{name}")

    top = int(top_n.parameters.get("top_n", 100))
    stones = erased_users(landing) if landing else Tombstones()
    erased = stones.after(redacted_until(lake, ds)) if len(stones) else stones
    withheld = load_withheld(lake, ds, top_n.parameters.get("rules", {}))
    metrics: dict[str, Any] = {"holdout": holdout["metrics"] | {"n_users": holdout["n_users"]}} if holdout else {}
    if len(stones):
        metrics["erasures_until"] = datetime.fromtimestamp(stones.newest(), UTC).isoformat(timespec="milliseconds")
    return Night(
        ds=ds,
        run_id=run_id or top_n.parameters.get("run_id") or own_id,
        items=lake.arrow("features/item", ds, [*ITEM_COLUMNS, *POPULARITY]),
        fallback=lake.arrow("marts/fallback", ds, ["shelf", "shelf_key", "rank", "item_id", "score"]),
        neighbours=(near("indptr"), near("indices"), near("data")),
        shelves=lambda shard: without(lake.shard("marts/top_n", ds, shard, SHELF_COLUMNS, SHELF_TEXTS), erased),
        users=lambda shard: without(users(shard), erased),
        n_shards=SHARDS,
        top_n=top,
        model_version=str((ranker.parameters | ranker.metrics).get("model_version", "")) if ranker else "",
        policy_version=POLICY_VERSION,
        expected_users=(top_n.row_count or 0) // max(1, top),
        metrics=metrics,
        exploration=lake.arrow("marts/exploration", ds),
        withheld=None if withheld is None else withheld.from_strangers,
    )


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
) -> Published:
    """Publish one night of the lake into a store, and archive it with its artifacts where an archive is named.

    With a Spark session, its executors load the shards side by side.

    Raises MissingPartitionError, PublishError, StoreError.
    """
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(store_url)))
        archive = stack.enter_context(closing(Archive(archive_url))) if archive_url else None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        load = OnSpark(spark, store_url) if spark else in_this_process
        night = night_of(lake, ds, run_id, landing)
        published = publish(night, store, force=force, now=now, archive=archive, load=load)
        if archive is not None:
            archive_artifacts(lake, ds, archive)
        return published


def executors() -> SparkSession | None:
    """The cluster's session where TOPSHELF_SPARK_MASTER names a cluster; on one machine tasks do not pay."""
    return None if os.environ.get("TOPSHELF_SPARK_MASTER", "local").startswith("local") else session()


def main() -> None:
    """Run the stage from the command line."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--run-id", default="")
    own.add_argument("--force", metavar="REASON", help="overrule a failed gate; the reason is kept")
    mine, rest = own.parse_known_args()
    if mine.force is not None and not mine.force.strip():
        own.error("--force needs a written reason, which is kept in the manifest")
    given = stage_arguments(__doc__, rest)
    try:
        places = given.settings
        done = build(
            Lake(places.lake),
            given.ds,
            places.store,
            run_id=mine.run_id,
            force=mine.force or "",
            archive_url=places.archive,
            landing=places.landing,
            spark=executors(),
        )
    except (PublishError, StoreError, MissingPartitionError) as error:
        sys.exit(str(error))
    for judged in done.manifest.gates:
        print(f"gate {judged.name}: {judged.outcome}, {judged.reason}")
    state = "live" if done.live else "not live"
    print(f"{done.manifest.version}: {done.manifest.users:,} users; {state}: {done.reason}")


if __name__ == "__main__":
    main()
