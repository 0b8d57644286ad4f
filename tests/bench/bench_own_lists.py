"""What shoppers' own lists take up beside shelves of 100 items, by their length: Redis' memory, LMDB's disk, time.

    python -m tests.bench own_lists

Every shopper has both lists, full: the most that a shop can have. Without lists of its own a shopper costs nothing
more.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import redis

from jobs.publishing.own_list_columns import NO_LISTS
from jobs.publishing.publish import publish
from serving.snapshot.own_lists import LISTS, OWN_LISTS
from serving.snapshot.record import record_key
from serving.stores import open_store
from serving.stores.key_value.layout import hashed
from serving.stores.key_value.store import KeyValueStore
from tests.bench.bench_publish import one_core
from tests.bench.figures import Figure
from tests.bench.shop import ITEMS, many, user_id
from tests.serving import servers
from tests.serving.small_shop import item_ids

USERS, LENGTHS, SAMPLE = 20_000, (0, 2, 5, 10, 20), 1_000


def lists_of(length: int) -> Callable[[int], pa.Table]:
    """Return marts/shopper_lists of a shard, each list of `length` random items."""
    night, ids = many(USERS), pa.array(item_ids(ITEMS))

    def lists(shard: int) -> pa.Table:
        users = night.users(shard)["user_id"].combine_chunks()
        rows, draw = np.arange(len(users) * length), np.random.default_rng(shard)
        tables = [
            pa.table(
                {
                    "list": pa.repeat(name, len(rows)),
                    "user_id": users.take(pa.array(rows // max(1, length))),
                    "rank": pa.array((rows % max(1, length) + 1).astype(np.int32)),
                    "item_id": ids.take(pa.array(draw.integers(0, ITEMS, len(rows)))),
                    "score": pa.array(draw.random(len(rows))),
                },
                NO_LISTS.schema,
            )
            for name in LISTS
        ]
        return pa.concat_tables(tables)

    return lists


def in_redis(folder: Path, length: int) -> tuple[int, float]:
    """Publish a night with lists of this length into an empty Redis; return the bytes of a user, by two measures.

    These are the largest sum of MEMORY USAGE of a user's keys, and the used memory a user, with tables and blobs.
    """
    night = replace(many(USERS), own_lists=lists_of(length))
    with servers.redis_server(folder) as (port, _):
        client = redis.Redis(port=port)
        with closing(open_store(f"redis://127.0.0.1:{port}?namespace=shop")) as store:
            assert publish(night, store).live
            assert isinstance(store, KeyValueStore)
            number = store.layout.number(night.version)
            records = [
                [
                    store.layout.key(number, hashed(record_key(user_id(user), variant)))
                    for variant in ("base", OWN_LISTS)
                ]
                for user in range(0, USERS, USERS // SAMPLE)
            ]
            usage = [sum(client.memory_usage(key) or 0 for key in keys) for keys in records]
            taken = client.info("memory")["used_memory"]
        client.flushall()
        taken -= client.info("memory")["used_memory"]
        client.close()
    return max(usage), taken / USERS


def redis_figures() -> list[Figure]:
    found = {}
    for length in LENGTHS:
        with tempfile.TemporaryDirectory() as folder:
            found[length] = in_redis(Path(folder), length)
    figures = []
    for length, (usage, taken) in found.items():
        told = f"lists of {length} and {length}" if length else "no lists"
        more = taken - found[0][1]
        figures.append(Figure(f"Redis, MEMORY USAGE, {told}", usage, "bytes a user", wanted="at most 1,000"))
        figures.append(Figure(f"Redis, memory more than without, {told}", more, "bytes a user"))
    return figures


def in_lmdb(folder: Path, length: int) -> list[Figure]:
    """Publish the same into an empty LMDB store, on one core."""
    night = replace(many(USERS), own_lists=lists_of(length))
    tables = [night.own_lists(shard) for shard in range(night.n_shards)]
    night = replace(night, own_lists=tables.__getitem__)
    with closing(open_store(f"lmdb://{folder}/store")) as store, one_core():
        began = time.perf_counter()
        assert publish(night, store).live
        taken_s = time.perf_counter() - began
    on_disk = sum(path.stat().st_size for path in folder.glob("store/versions/*/shards/*.mdb"))
    told = f"lists of {length} and {length}" if length else "no lists"
    return [
        Figure(f"LMDB on disk, {told}", on_disk / USERS, "bytes a user"),
        Figure(f"published into LMDB, {told}", USERS / taken_s, "users/s"),
    ]


def main() -> list[Figure]:
    figures = redis_figures()
    for length in LENGTHS:
        with tempfile.TemporaryDirectory() as folder:
            figures += in_lmdb(Path(folder), length)
    return figures
