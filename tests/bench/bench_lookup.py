"""Looking up one shopper's shelf, one after another, on every store."""

import os
import random
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import boto3
import lmdb

from jobs.publishing.publish import publish
from serving.snapshot.record import decode, record_key, shard_of
from serving.stores import open_store
from serving.stores.key_value.layout import hashed
from serving.stores.key_value.store import KeyValueStore
from serving.stores.protocols import Store
from tests.bench.figures import Figure, percentile
from tests.bench.shop import SHARDS, many, user_id
from tests.bench.wire import get
from tests.serving import servers

USERS, LOOK_UPS = 20_000, 20_000
DYNAMODB_USERS, DYNAMODB_LOOK_UPS = 1_000, 2_000


def timed(look_up: Callable[[str], object], users: int, times: int) -> list[float]:
    """Microseconds of each of many look-ups of random users, after a tenth as many that are not counted."""
    chance = random.Random(20260101)
    for _ in range(times // 10):
        look_up(user_id(chance.randrange(users)))
    taken = []
    for _ in range(times):
        name = user_id(chance.randrange(users))
        began = time.perf_counter_ns()
        found = look_up(name)
        taken.append((time.perf_counter_ns() - began) / 1000)
        assert found
    return taken


def compared(
    name: str, url: str, n: tuple[int, int, int], bare: Callable[[Store, str], object], floor: str
) -> list[Figure]:
    """Publish (users, items) into a store, then measure (.., .., look-ups) of it and of the bare store."""
    users, items, times = n
    night = many(users, n_items=items)
    with closing(open_store(url)) as store:
        publish(night, store)
        with closing(store.open(night.version)) as stored:
            ours = timed(lambda user: decode(stored.look_up(record_key(user)) or b""), users, times)
            theirs = timed(lambda user: bare(store, user), users, times)
    return [
        Figure(f"{name}, p{share:.0%}"[:-1], percentile(ours, share), "µs", percentile(theirs, share), floor)
        for share in (0.5, 0.99)
    ]


def _stored_under(store: Store) -> Callable[[str], bytes]:
    assert isinstance(store, KeyValueStore)
    prefix = store.layout.key(store.layout.number(store.versions()[0].version), b"")
    return lambda user: prefix + hashed(user.encode())


def lmdb_figures(folder: Path) -> list[Figure]:
    txns: list[lmdb.Transaction] = []

    def bare(store: Store, user: str) -> object:
        if not txns:
            for path in sorted((folder / "store").glob("versions/*/shards/*.mdb")):
                copy = folder / path.name  # LMDB opens a file once in a process
                copy.write_bytes(path.read_bytes())
                txns.append(lmdb.open(str(copy), subdir=False, readonly=True, lock=False).begin())
        return txns[shard_of(user, SHARDS)].get(user.encode())

    return compared("LMDB", f"lmdb://{folder}/store", (USERS, 5_000, LOOK_UPS), bare, "get of an open transaction")


def redis_figures(folder: Path) -> list[Figure]:
    with servers.redis_server(folder / "redis") as (port, _), socket.create_connection(("127.0.0.1", port)) as plain:
        keys: list[Callable[[str], bytes]] = []

        def bare(store: Store, user: str) -> object:
            if not keys:
                keys.append(_stored_under(store))
            return get(plain, keys[0](user))

        url = f"redis://127.0.0.1:{port}?namespace=shop"
        return compared("Redis", url, (USERS, 5_000, LOOK_UPS), bare, "GET over a plain socket")


def dynamodb_figures(folder: Path) -> list[Figure]:
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    (folder / "dynamodb").mkdir()
    with servers.dynamodb_server(folder / "dynamodb") as (port, _):
        endpoint = f"http://127.0.0.1:{port}"
        client = boto3.client("dynamodb", region_name="local", endpoint_url=endpoint)
        keys: list[Callable[[str], bytes]] = []

        def bare(store: Store, user: str) -> object:
            if not keys:
                keys.append(_stored_under(store))
            return client.get_item(TableName="topshelf", Key={"k": {"B": keys[0](user)}}, ConsistentRead=True)["Item"]

        url = f"dynamodb://topshelf?region=local&endpoint={endpoint}&namespace=shop"
        n = (DYNAMODB_USERS, 500, DYNAMODB_LOOK_UPS)
        return compared("DynamoDB Local", url, n, bare, "boto3's get_item")


def main() -> list[Figure]:
    figures = []
    for measure in (lmdb_figures, redis_figures, dynamodb_figures):
        with tempfile.TemporaryDirectory() as folder:
            figures += measure(Path(folder))
    return figures
