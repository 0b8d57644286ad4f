"""Load the shards of marts/top_n and marts/shopper_lists into a version: one after another here, or on Spark.

publish(night, store, load=OnSpark(spark, store_url))
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from jobs.lake.tables import SHOPPER_LISTS, TOP_N
from jobs.publishing.own_list_columns import own_list_columns
from jobs.publishing.snapshot_columns import PublishError, Segments, shelf_columns
from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import ShardReport, StoreError
from serving.snapshot.record import RecordError, ShelfColumns, encode, user_of
from serving.stores import open_store
from serving.stores.protocols import Batch, Loading

_BATCH = 4000  # users encoded at once


@dataclass
class Tally:
    """Collects, while a shard's shelves stream by, which items occur and a sample of records."""

    seen: NDArray[np.bool_]  # [items] whether the item is on any shelf
    sample_every: int
    sample: dict[bytes, bytes] = field(default_factory=dict)  # key -> record

    def take(self, columns: ShelfColumns, keys: list[bytes], records: list[bytes]) -> None:
        self.seen[columns.positions] = True
        self.take_sample(keys, records)

    def take_sample(self, keys: list[bytes], records: list[bytes]) -> None:
        of = slice(None, None, self.sample_every)
        self.sample.update(zip(keys[of], records[of], strict=True))


@dataclass(frozen=True)
class Loaded:
    """The outcome of one shard."""

    report: ShardReport
    sample: dict[bytes, bytes]
    seen: NDArray[np.bool_]
    users: int
    """Distinct ones: a user whose answers may read several shelves has a record for each."""
    users_with_shelf: int
    """The records of the others hold their segment alone."""
    users_with_lists: int
    """They have a record of their own lists beside it."""


@dataclass(frozen=True)
class ShardSource:
    """What the records of any shard are made of. It is small enough to be sent to every executor."""

    ds: date
    shelves: Callable[[int], pa.Table]
    own_lists: Callable[[int], pa.Table]
    users: Callable[[int], pa.Table]
    segments: Segments
    item_ids: pa.Array
    sample_every: int

    def load(self, loading: Loading, shard: int) -> Loaded:
        """Load one shard, unless an earlier attempt loaded the same records.

        Raises:
            PublishError: the shard's rows make no records.
            StoreError: the store failed.
        """
        columns, keys = shelf_columns(self.shelves(shard), self.users(shard), self.item_ids, self.segments)
        own, own_keys = own_list_columns(self.own_lists(shard), self.item_ids)
        tally = Tally(np.zeros(len(self.item_ids), bool), self.sample_every)

        def batches() -> Iterator[Batch]:
            own_done = 0
            for first in range(0, len(keys), _BATCH):
                part = columns.slice_users(first, min(first + _BATCH, len(keys)))
                owners = keys[first : first + _BATCH]
                records = self._encoded(TOP_N, shard, part)
                tally.take(part, owners, records)
                # Every owner of lists has another record too, so those of the last batch take all that is left.
                is_last = first + _BATCH >= len(keys)
                own_end = len(own_keys) if is_last else bisect_right(own_keys, owners[-1])
                own_owners = own_keys[own_done:own_end]
                own_records = self._encoded(SHOPPER_LISTS, shard, own.slice_users(own_done, own_end))
                tally.take_sample(own_owners, own_records)
                own_done = own_end
                yield merged((owners, records), (own_owners, own_records))

        done = loading.finished.get(shard)
        if done is not None:  # the marts may have been rebuilt since
            digest = RecordDigest()
            for batch in batches():
                digest.update(*batch)
            if digest.hexdigest() != done.sha256:
                done = None
        report = done or loading.write_shard(shard, batches())
        owners = [user_of(key) for key in keys]
        with_shelf = {owners[row] for row in np.flatnonzero(np.diff(columns.offsets))}
        return Loaded(report, tally.sample, tally.seen, len(set(owners)), len(with_shelf), len(own_keys))

    def _encoded(self, table: str, shard: int, columns: ShelfColumns) -> list[bytes]:
        try:
            return encode(columns)
        except RecordError as error:
            raise PublishError(f"{table}/ds={self.ds}, shard {shard}: {error}") from error


def merged(one: tuple[list[bytes], list[bytes]], other: tuple[list[bytes], list[bytes]]) -> Batch:
    """Return two batches of keys, ascending in each, and records as one."""
    if not other[0]:
        return one
    keys, records = one[0] + other[0], one[1] + other[1]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [keys[row] for row in order], [records[row] for row in order]


Load = Callable[[ShardSource, Loading, str, int], list[Loaded]]
"""Loads all shards of a version in their order, given the source, the loading, the version and how many there are."""


def in_this_process(source: ShardSource, loading: Loading, version: str, n_shards: int) -> list[Loaded]:
    """Load one shard after another. Memory holds the catalogue and one shard at a time."""
    return [source.load(loading, shard) for shard in range(n_shards)]


@dataclass(frozen=True)
class OnSpark:
    """Loads shards as Spark tasks. The executors must reach the lake and the store."""

    spark: SparkSession
    store_url: str  # with the password, which `Store.url` leaves out

    def __call__(self, source: ShardSource, loading: Loading, version: str, n_shards: int) -> list[Loaded]:
        task = _Task(source, self.store_url, version, n_shards)
        results = self.spark.sparkContext.parallelize(range(n_shards), n_shards).map(task).collect()
        for result in results:
            if isinstance(result, Exception):
                raise result
        return [result for result in results if isinstance(result, Loaded)]


@dataclass(frozen=True)
class _Task:
    """Loads one shard in an executor. Our own errors are returned, so that Spark does not wrap them."""

    source: ShardSource
    store_url: str
    version: str
    n_shards: int

    def __call__(self, shard: int) -> Loaded | PublishError | StoreError:
        try:
            with closing(open_store(self.store_url)) as store:
                return self.source.load(store.join(self.version, self.n_shards), shard)
        except (PublishError, StoreError) as error:
            return error
