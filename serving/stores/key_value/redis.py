"""The Redis store, one node or a cluster, version 7 and newer. The keys are in `serving.stores.key_value.layout`.

    redis://host:6379/0?namespace=shop      redis+cluster://host:7000?namespace=shop

A record under a namespace of up to 8 letters takes at most 1,000 bytes of Redis' memory, everything counted. Set
`maxmemory-policy noeviction`: a user whose record was evicted would silently get a fallback shelf.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from serving.snapshot.manifest import StoreError
from serving.stores.key_value.layout import LEASE_S, Layout
from serving.stores.key_value.store import KeyValueStore
from serving.stores.redis_address import RedisAddress, redis_address

RETIRE_S = 60  # so long a reader that has not yet seen a swap still finds its version
TIMEOUT_S = 5.0
LOOK_UP_S = 0.02
REST_S = 0.5
_PIPELINE = 1_000  # commands sent at once
_PUT_IF = """
local now = redis.call('GET', KEYS[1])
if ARGV[1] == '0' then
  if now then return 0 end
elseif now ~= ARGV[2] then
  return 0
end
if ARGV[3] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[4]) end
return 1
"""


class RedisStore(KeyValueStore):
    """`redis://…` or `redis+cluster://…`; in the query `namespace`, and `lease`, `timeout`, `look_up` in seconds."""

    def __init__(self, url: str) -> None:
        """Raises StoreError for an invalid namespace, ValueError for seconds that are no number."""
        address = redis_address(url)
        namespace, seconds = address.namespace, address.seconds
        driver = RedisDriver(address, seconds.get("timeout", TIMEOUT_S), seconds.get("look_up", LOOK_UP_S))
        without_password = f"{address.scheme}://{address.where}{address.path}?namespace={namespace}"
        super().__init__(Layout(without_password, driver, namespace, seconds.get("lease", LEASE_S)))


class RedisDriver:
    """The driver (`serving.stores.key_value.layout.KeyValueDriver`). It connects when first used."""

    chunk_bytes = 4 << 20

    def __init__(self, address: RedisAddress, timeout_s: float, look_up_s: float) -> None:
        self._address, self._where, self._cluster = address, address.where, address.cluster
        self._timeout_s, self._look_up_s = timeout_s, look_up_s
        self._connected: Any = None
        self._quick: Any = None  # the client of look-ups
        self._rests_until = 0.0

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Connect where there is no connection yet. The block's errors of the driver are raised as StoreError."""
        try:
            if self._connected is None:
                self._connected = self._address.connect(self._timeout_s, again=True)
            yield self._connected
        except redis.exceptions.OutOfMemoryError as error:
            raise StoreError(
                f"Redis at {self._where} is out of memory: {error}; raise maxmemory (a swap holds two versions) "
                "and run it again: it continues from here"
            ) from error
        except (redis.exceptions.RedisError, OSError) as error:
            raise StoreError(
                f"Redis at {self._where} did not answer: {error}; bring it back and run it again: it continues"
            ) from error

    def get(self, key: bytes) -> bytes | None:
        with self.client() as client:
            value: bytes | None = client.get(key)
            return value

    def look_up(self, key: bytes) -> bytes | None:
        """Return one value within the look-up time. After a failure no look-up is tried for REST_S.

        So answers do not queue up behind a Redis that is down. Raises StoreError.
        """
        now = time.monotonic()
        if now < self._rests_until:
            raise StoreError(
                f"Redis at {self._where} did not answer a moment ago; it is tried again within {REST_S} s"
            )
        try:
            if self._quick is None:
                self._quick = self._address.connect(self._look_up_s, self._timeout_s)
            value: bytes | None = self._quick.get(key)
        except (redis.exceptions.RedisError, OSError) as error:
            self._rests_until = time.monotonic() + REST_S
            raise StoreError(f"Redis at {self._where} did not answer within {self._look_up_s} s: {error}") from error
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        values: list[bytes | None] = []
        with self.client() as client:
            for first in range(0, len(keys), _PIPELINE):
                pipeline = client.pipeline(**self._pipeline_options)
                for key in keys[first : first + _PIPELINE]:
                    pipeline.get(key)
                values += pipeline.execute()
        return values

    @property
    def _pipeline_options(self) -> dict[str, bool]:
        return {} if self._cluster else {"transaction": False}

    def put_many(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        with self.client() as client:
            for first in range(0, len(pairs), _PIPELINE):
                part = pairs[first : first + _PIPELINE]
                if not self._cluster:
                    client.execute_command("MSET", *(text for pair in part for text in pair))
                    continue
                pipeline = client.pipeline()
                for key, value in part:
                    pipeline.set(key, value)
                pipeline.execute()

    def put_if(self, key: bytes, old: bytes | None, new: bytes | None) -> bool:
        with self.client() as client:
            flags = (b"0" if old is None else b"1", old or b"", b"0" if new is None else b"1", new or b"")
            return bool(client.eval(_PUT_IF, 1, key, *flags))

    def remove_many(self, keys: Sequence[bytes], *, retired: bool = False) -> None:
        with self.client() as client:
            for first in range(0, len(keys), _PIPELINE):
                pipeline = client.pipeline(**self._pipeline_options)
                for key in keys[first : first + _PIPELINE]:
                    if retired:
                        pipeline.expire(key, RETIRE_S)
                    else:
                        pipeline.unlink(key)
                pipeline.execute()

    def close(self) -> None:
        for client in (self._connected, self._quick):
            if client is not None:
                client.close()
        self._connected = self._quick = None
