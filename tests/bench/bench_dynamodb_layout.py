"""DynamoDB's two layouts side by side: a table a version, or a key prefix a version in one table."""

import os
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3

from serving.stores.key_value.layout import hashed
from tests.bench.figures import Figure, percentile
from tests.serving import servers

USERS, LOOK_UPS, RECORD = 5_000, 2_000, b"\x01" * 762


def make_table(client: Any, table: str) -> None:
    client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "B"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})


def send(client: Any, table: str, requests: list[dict[str, Any]]) -> float:
    """Send batches of 25, eight at once: seconds."""
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        batches = [{table: requests[at : at + 25]} for at in range(0, len(requests), 25)]
        list(pool.map(lambda batch: client.batch_write_item(RequestItems=batch), batches))
    return time.perf_counter() - began


def look_ups(client: Any, table: str, keys: list[bytes]) -> list[float]:
    chance = random.Random(20260101)
    taken = []
    for _ in range(LOOK_UPS):
        key = chance.choice(keys)
        began = time.perf_counter()
        assert "Item" in client.get_item(TableName=table, Key={"k": {"B": key}}, ConsistentRead=True)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def measure(client: Any, table: str, prefix: bytes, *, own_table: bool) -> dict[str, float]:
    """Begin a version, load it, look shelves up, remove it."""
    began = time.perf_counter()
    if own_table:
        make_table(client, table)
    begin_s = time.perf_counter() - began
    keys = [prefix + hashed(b"user-%08d" % number) for number in range(USERS)]
    load_s = send(client, table, [{"PutRequest": {"Item": {"k": {"B": k}, "v": {"B": RECORD}}}} for k in keys])
    looked = look_ups(client, table, keys)
    if own_table:
        began = time.perf_counter()
        client.delete_table(TableName=table)
        remove_s = time.perf_counter() - began
    else:
        remove_s = send(client, table, [{"DeleteRequest": {"Key": {"k": {"B": key}}}} for key in keys])
    return {
        "begin, s": begin_s,
        "load, users/s": USERS / load_s,
        "look-up p50, ms": percentile(looked, 0.5),
        "look-up p99, ms": percentile(looked, 0.99),
        "remove, s": remove_s,
        "write units for each user": 1 if own_table else 2,  # a removal is billed as a write is
    }


def main() -> list[Figure]:
    os.environ |= servers.S3_KEYS
    with tempfile.TemporaryDirectory() as folder, servers.dynamodb_server(Path(folder)) as (port, _):
        client = boto3.client("dynamodb", region_name="local", endpoint_url=f"http://127.0.0.1:{port}")
        make_table(client, "all")
        measure(client, "all", b"warm:0:", own_table=False)
        prefix = measure(client, "all", b"shop:1:", own_table=False)
        table = measure(client, "shop-1", b"", own_table=True)
        client.close()
    floor = "the same with a table a version"
    return [
        Figure(f"a key prefix a version: {name}", value, "", table[name] or None, floor)
        for name, value in prefix.items()
    ]
