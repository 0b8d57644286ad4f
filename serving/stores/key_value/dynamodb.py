"""The DynamoDB store, over boto3. The keys are in `serving.stores.key_value.layout`.

    dynamodb://topshelf?region=eu-central-1&namespace=shop      dynamodb://topshelf?endpoint=http://127.0.0.1:8000

One table holds every version under a key prefix of its own. A table for each version would take seconds to make and
start at a new table's low throughput. Writes are batches of 25, several side by side. Throttled requests and
unprocessed items are sent again after growing waits. Credentials are boto3's: environment, profile or role.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from serving.snapshot.manifest import StoreError
from serving.stores.key_value.layout import LEASE_S, Layout
from serving.stores.key_value.store import KeyValueStore

TIMEOUT_S = 20.0
LOOK_UP_S = 0.1
REST_S = 0.5
_PUT_BATCH, _GET_BATCH = 25, 100  # DynamoDB's own limits
_AT_ONCE = 8  # requests side by side
_ATTEMPTS = 12
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 5.0
_THROTTLED = {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"}

T = TypeVar("T")
R = TypeVar("R")


class DynamoDbStore(KeyValueStore):
    """`dynamodb://TABLE`; in the query `namespace`, `region`, `endpoint`, and `lease`, `timeout` in seconds."""

    def __init__(self, url: str) -> None:
        """Raises StoreError for no table or an invalid namespace, ValueError for seconds that are no number."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        if not parts.netloc:
            raise StoreError(f"store URL {url!r} names no table; give dynamodb://TABLE")
        namespace = query.get("namespace", "topshelf")
        timeout_s = float(query.get("timeout", TIMEOUT_S))
        driver = DynamoDbDriver(parts.netloc, query.get("region"), query.get("endpoint"), timeout_s)
        short_url = f"dynamodb://{parts.netloc}?namespace={namespace}"
        super().__init__(Layout(short_url, driver, namespace, float(query.get("lease", LEASE_S))))


class DynamoDbDriver:
    """The driver (`serving.stores.key_value.layout.KeyValueDriver`): items of a binary key `k` and value `v`.

    All reads are consistent. The table is made when it is missing.
    """

    chunk_bytes = 350_000  # an item holds at most 400 KB with its names

    def __init__(self, table: str, region: str | None, endpoint: str | None, timeout_s: float) -> None:
        self._table = table
        self._where = f"DynamoDB table {table}" + (f" at {endpoint}" if endpoint else "")
        # `_patient` and `_wait` retry: botocore's own retries do not see a batch that is processed in part.
        retries = {"total_max_attempts": 2}
        config = Config(
            retries=retries, connect_timeout=timeout_s, read_timeout=timeout_s, max_pool_connections=2 * _AT_ONCE
        )
        self._options = {"region_name": region, "endpoint_url": endpoint, "config": config}
        self._connected: Any = None
        self._quick: Any = None  # the client of look-ups
        self._rests_until = 0.0

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Connect where there is no connection yet. The block's errors of the driver are raised as StoreError."""
        try:
            if self._connected is None:
                # A session of our own: boto3's shared one is not safe to use from several threads.
                self._connected = boto3.session.Session().client("dynamodb", **self._options)
                self._make_table()
            yield self._connected
        except (ClientError, BotoCoreError) as error:
            raise StoreError(
                f"{self._where} failed: {error}; mend that and run it again: it continues from here"
            ) from error

    def _make_table(self) -> None:
        try:
            self._connected.describe_table(TableName=self._table)
            return
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
        try:
            self._connected.create_table(
                TableName=self._table,
                KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "B"}],
                BillingMode="PAY_PER_REQUEST",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":  # another process was faster
                raise
        self._connected.get_waiter("table_exists").wait(TableName=self._table, WaiterConfig={"Delay": 1})

    def get(self, key: bytes) -> bytes | None:
        with self.client() as client:
            request = {"TableName": self._table, "Key": {"k": {"B": key}}, "ConsistentRead": True}
            answer = self._patient(client.get_item, **request)
            return bytes(answer["Item"]["v"]["B"]) if "Item" in answer else None

    def look_up(self, key: bytes) -> bytes | None:
        """Return one value within LOOK_UP_S. After a failure no look-up is tried for REST_S.

        So answers do not queue up behind a DynamoDB that is down. Raises StoreError.
        """
        if time.monotonic() < self._rests_until:
            raise StoreError(f"{self._where} did not answer a moment ago; it is tried again within {REST_S} s")
        try:
            if self._quick is None:
                patience = Config(
                    retries={"total_max_attempts": 1}, connect_timeout=LOOK_UP_S, read_timeout=LOOK_UP_S,
                    max_pool_connections=64,
                )  # fmt: skip
                self._quick = boto3.session.Session().client("dynamodb", **self._options | {"config": patience})
            answer = self._quick.get_item(TableName=self._table, Key={"k": {"B": key}}, ConsistentRead=True)
        except (ClientError, BotoCoreError) as error:
            self._rests_until = time.monotonic() + REST_S
            raise StoreError(f"{self._where} did not answer within {LOOK_UP_S} s: {error}") from error
        return bytes(answer["Item"]["v"]["B"]) if "Item" in answer else None

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        firsts = range(0, len(keys), _GET_BATCH)
        batches = [list(dict.fromkeys(keys[first : first + _GET_BATCH])) for first in firsts]
        values = {key: value for batch in self._at_once(self._get_batch, batches) for key, value in batch.items()}
        return [values.get(key) for key in keys]

    def _get_batch(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        values: dict[bytes, bytes] = {}
        wanted: list[dict[str, Any]] = [{"k": {"B": key}} for key in keys]
        with self.client() as client:
            for attempt in range(_ATTEMPTS + 1):
                request = {self._table: {"Keys": wanted, "ConsistentRead": True}}
                answer = self._patient(client.batch_get_item, RequestItems=request)
                for item in answer["Responses"].get(self._table, []):
                    values[bytes(item["k"]["B"])] = bytes(item["v"]["B"])
                wanted = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
                if not wanted:
                    break
                self._wait(attempt)
        return values

    def put_many(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._write([{"PutRequest": {"Item": {"k": {"B": key}, "v": {"B": value}}}} for key, value in pairs])

    def remove_many(self, keys: Sequence[bytes], *, retired: bool = False) -> None:
        self._write([{"DeleteRequest": {"Key": {"k": {"B": key}}}} for key in dict.fromkeys(keys)])

    def _write(self, requests: list[dict[str, Any]]) -> None:
        batches = [requests[first : first + _PUT_BATCH] for first in range(0, len(requests), _PUT_BATCH)]
        self._at_once(self._write_batch, batches)

    def _write_batch(self, left: list[dict[str, Any]]) -> None:
        with self.client() as client:
            for attempt in range(_ATTEMPTS + 1):
                answer = self._patient(client.batch_write_item, RequestItems={self._table: left})
                left = answer.get("UnprocessedItems", {}).get(self._table, [])
                if not left:
                    break
                self._wait(attempt)

    def _at_once(self, send: Callable[[T], R], batches: list[T]) -> list[R]:
        """Send batches side by side. The first failure is raised when all have ended."""
        if len(batches) < 2:
            return [send(batch) for batch in batches]
        with self.client(), ThreadPoolExecutor(_AT_ONCE) as pool:  # connects before the threads start
            return list(pool.map(send, batches))

    def _patient(self, call: Any, **request: Any) -> Any:
        """Call boto3, again after growing waits where it throttles."""
        for attempt in range(_ATTEMPTS + 1):
            try:
                return call(**request)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _THROTTLED:
                    raise
                self._wait(attempt)
        raise AssertionError("the last wait raises")

    def _wait(self, attempt: int) -> None:
        if attempt >= _ATTEMPTS:
            raise StoreError(
                f"{self._where} throttled {_ATTEMPTS} attempts in a row; raise its capacity and run it again: "
                "it continues from here"
            )
        longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
        time.sleep(random.uniform(0, longest))  # at random, so that many executors do not return at once

    def put_if(self, key: bytes, old: bytes | None, new: bytes | None) -> bool:
        request: dict[str, Any] = {"TableName": self._table}
        if old is None:
            request["ConditionExpression"] = "attribute_not_exists(k)"
        else:
            request |= {"ConditionExpression": "v = :old", "ExpressionAttributeValues": {":old": {"B": old}}}
        with self.client() as client:
            try:
                if new is None:
                    self._patient(client.delete_item, Key={"k": {"B": key}}, **request)
                else:
                    self._patient(client.put_item, Item={"k": {"B": key}, "v": {"B": new}}, **request)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                return False
        return True

    def close(self) -> None:
        for client in (self._connected, self._quick):
            if client is not None:
                client.close()
        self._connected = self._quick = None
