"""Users a second published on one core, from Arrow to a verified live snapshot, and what a user takes up."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import boto3
import lmdb
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from jobs.publishing.night_contents import SHELF_TEXTS, NightContents
from jobs.publishing.publish import publish
from serving.stores import open_store
from serving.stores.key_value.layout import hashed
from serving.stores.key_value.store import KeyValueStore
from serving.stores.protocols import Store
from tests.bench.figures import Figure
from tests.bench.shop import many
from tests.bench.wire import resp, send
from tests.serving import servers

LMDB_USERS, REDIS_USERS, DYNAMODB_USERS = 200_000, 40_000, 4_000
_BATCH = 1_000
Pairs = list[tuple[bytes, bytes]]


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, not the servers started before it, on one core."""
    before, threads = os.sched_getaffinity(0), pa.cpu_count()
    os.sched_setaffinity(0, {max(before)})
    pa.set_cpu_count(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        pa.set_cpu_count(threads)


def published(night: NightContents, url: str) -> tuple[float, list[Pairs]]:
    """Publish into an empty store: seconds, and each shard's keys and records as they are stored."""
    with closing(open_store(url)) as store:
        began = time.perf_counter()
        done = publish(night, store)
        taken = time.perf_counter() - began
        assert done.live, done.reason
        return taken, [list(store.open(night.version).scan(shard)) for shard in range(night.n_shards)]


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def lmdb_figures(folder: Path) -> list[Figure]:
    night = many(LMDB_USERS)
    files = [folder / f"{shard}.parquet" for shard in range(night.n_shards)]
    for shard, path in enumerate(files):
        pq.write_table(night.shelves(shard), path, compression="zstd")
    from_files = replace(
        night, shelves=lambda shard: pq.ParquetFile(files[shard], read_dictionary=SHELF_TEXTS).read(use_threads=False)
    )
    with one_core():
        file_s, _ = published(from_files, f"lmdb://{folder}/files")
        shutil.rmtree(folder / "files")
        arrow_s, shards = published(night, f"lmdb://{folder}/store")
        bare_s = _timed(lambda: _bare_lmdb(folder / "bare", shards))
    on_disk = sum(path.stat().st_size for path in (folder / "store" / "versions").glob("*/shards/*.mdb"))
    raw = sum(len(key) + len(record) for pairs in shards for key, record in pairs)
    floor = "putmulti in append mode of ready keys and records, and a sync"
    rate = LMDB_USERS / bare_s
    return [
        Figure("LMDB, from Arrow", LMDB_USERS / arrow_s, "users/s", rate, floor, "at least 100,000"),
        Figure("LMDB, from parquet", LMDB_USERS / file_s, "users/s", rate, floor),
        Figure("LMDB on disk", on_disk / LMDB_USERS, "bytes a user", raw / LMDB_USERS, "the bytes of key and record"),
    ]


def _bare_lmdb(folder: Path, shards: list[Pairs]) -> None:
    folder.mkdir()
    for shard, pairs in enumerate(shards):
        env = lmdb.open(str(folder / str(shard)), subdir=False, map_size=4 << 30, lock=False, sync=False)
        for first in range(0, len(pairs), 10_000):
            with env.begin(write=True) as txn:
                txn.cursor().putmulti(pairs[first : first + 10_000], append=True)
        env.sync(True)
        env.close()


def redis_figures(folder: Path) -> list[Figure]:
    night = many(REDIS_USERS)
    with servers.redis_server(folder / "redis") as (port, _), one_core():
        taken, shards = published(night, f"redis://127.0.0.1:{port}?namespace=shop")
        client = redis.Redis(port=port)
        with closing(open_store(f"redis://127.0.0.1:{port}?namespace=shop")) as store:
            keys = [key for pairs in shards for key, _ in pairs][:: REDIS_USERS // 2_000]
            memory = [client.memory_usage(_record_key(store, night.version, key)) for key in keys]
        client.flushall()
        pairs = [pair for pairs in shards for pair in pairs]
        empty = client.info("memory")["used_memory"]
        stored = [(b"shop:1:" + hashed(key), record) for key, record in pairs]
        requests = [
            resp(b"MSET", *(text for pair in stored[first : first + _BATCH] for text in pair))
            for first in range(0, len(stored), _BATCH)
        ]
        bare_s = _timed(lambda: send(port, requests))
        each = (client.info("memory")["used_memory"] - empty) / REDIS_USERS
        client.close()
    raw, record = sum(len(record) for _, record in pairs) / REDIS_USERS, "the record's bytes"
    floor = "MSET of ready bytes by 1,000 over a plain socket"
    return [
        Figure("Redis, from Arrow", REDIS_USERS / taken, "users/s", REDIS_USERS / bare_s, floor),
        Figure("Redis, MEMORY USAGE, mean", sum(memory) / len(memory), "bytes a user", raw, record),
        Figure("Redis, MEMORY USAGE, largest", max(memory), "bytes a user", raw, record, "at most 1,000"),
        Figure("Redis, memory with its tables", each, "bytes a user", raw, record, "at most 1,000"),
    ]


def _record_key(store: Store, version: str, key: bytes) -> bytes:
    assert isinstance(store, KeyValueStore)
    return store.layout.key(store.layout.number(version), hashed(key))


def dynamodb_figures(folder: Path) -> list[Figure]:
    night = many(DYNAMODB_USERS, n_items=5_000)
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    (folder / "dynamodb").mkdir()
    with servers.dynamodb_server(folder / "dynamodb") as (port, _), one_core():
        endpoint = f"http://127.0.0.1:{port}"
        url = f"dynamodb://topshelf?region=local&endpoint={endpoint}&namespace=shop"
        published(replace(night, run_id="warmup", shelves=lambda shard: night.shelves(shard)[: 200 * 100]), url)
        taken, shards = published(replace(night, ds=night.ds.replace(day=30)), url + "2")
        client = boto3.client("dynamodb", region_name="local", endpoint_url=endpoint)
        puts = [
            {"PutRequest": {"Item": {"k": {"B": b"bare:" + hashed(key)}, "v": {"B": record}}}}
            for pairs in shards
            for key, record in pairs
        ]

        def bare() -> None:
            for first in range(0, len(puts), 25):
                client.batch_write_item(RequestItems={"topshelf": puts[first : first + 25]})

        bare_s = _timed(bare)
        client.close()
    floor = "boto3's batch_write_item of 25 ready items, one after another"
    return [Figure("DynamoDB Local, from Arrow", DYNAMODB_USERS / taken, "users/s", DYNAMODB_USERS / bare_s, floor)]


def main() -> list[Figure]:
    figures = []
    for measure in (lmdb_figures, redis_figures, dynamodb_figures):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            figures += measure(folder)
    return figures
