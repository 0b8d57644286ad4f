"""A log that several hosts share: a Redis stream. It survives a restart of Redis only with `appendonly yes`.

redis://host:6379/0?namespace=shop      streams `shop:log:items`, `shop:log:events`, `shop:log:tombstones`
"""

import time
from collections.abc import Callable
from typing import Any

import redis

from serving.logs.file_log import LogError
from serving.stores.redis_address import redis_address

_ENTRY_BYTES = 256 << 10  # of whole lines in one entry of the stream
_ENTRIES = 256
_TIMEOUT_S = 0.5
_FOLD_LEASE_S = 60


class RedisLog:
    """One stream. Appending trims entries older than `keep_s`."""

    def __init__(self, url: str, name: str, *, keep_s: float | None = None) -> None:
        address = redis_address(url)
        self._client, self._where = address.connect(_TIMEOUT_S), address.where
        self._key, self._keep_s = f"{address.namespace}:log:{name}", keep_s

    def _failed(self, error: Exception) -> LogError:
        return LogError(
            f"Redis at {self._where} did not answer: {error}; some lines may not be logged, send them again"
        )

    def append(self, lines: bytes) -> None:
        """Append whole lines. Raises LogError, and some of the lines may be in the log then."""
        oldest = self._oldest()
        trimmed = {} if oldest is None else {"minid": oldest, "approximate": True}
        try:
            for entry in _split(lines):
                self._client.xadd(self._key, {"l": entry}, **trimmed)
        except (redis.exceptions.RedisError, OSError) as error:
            raise self._failed(error) from error

    def reader(self) -> "RedisReader":
        return RedisReader(self._client, self._key, self._failed)

    def trim(self) -> None:
        """Drop all entries older than `keep_s`. Appending drops most of them; this is for when nobody appends."""
        oldest = self._oldest()
        if oldest is None:
            return
        try:
            self._client.xtrim(self._key, minid=oldest, approximate=False)
        except (redis.exceptions.RedisError, OSError) as error:
            raise self._failed(error) from error

    def fold(self, folded: Callable[[bytes], bytes], min_bytes: int = 64 << 20) -> None:
        """Append the lines that `folded` makes, then drop those they replace; one host at a time does so.

        Nothing is done unless the stream takes `min_bytes` and twice what it took after the last fold.
        """
        mark, lease = f"{self._key}:folded", f"{self._key}:folding"
        try:
            size = self._client.memory_usage(self._key) or 0  # estimated from a few entries
            if size < max(min_bytes, 2 * int(self._client.get(mark) or 0)):
                return
            if not self._client.set(lease, "1", nx=True, ex=_FOLD_LEASE_S):
                return
            reader = self.reader()
            whole = b"".join(iter(reader.read, b""))
            fewer = folded(whole)
            if len(fewer) * 2 <= len(whole):
                self.append(fewer)
                milliseconds, _, number = reader.last.decode().partition("-")
                self._client.xtrim(self._key, minid=f"{milliseconds}-{int(number) + 1}", approximate=False)
            self._client.set(mark, self._client.memory_usage(self._key) or 0)
            self._client.delete(lease)
        except (redis.exceptions.RedisError, OSError) as error:
            raise self._failed(error) from error

    def _oldest(self) -> str | None:
        """The id of the oldest entry that is kept; None where all are."""
        return None if self._keep_s is None else f"{int((time.time() - self._keep_s) * 1000)}-0"


class RedisReader:
    """Reads a stream from its beginning, some entries at a time, so that Redis goes on; `last` is its last entry."""

    def __init__(self, client: Any, key: str, failed: Callable[[Exception], LogError]) -> None:
        self._client, self._key, self._failed, self.last = client, key, failed, b"0-0"

    def read(self) -> bytes:
        """The next whole lines; empty at the log's end. Raises LogError."""
        try:
            entries = self._client.xrange(self._key, min=b"(" + self.last, count=_ENTRIES)
        except (redis.exceptions.RedisError, OSError) as error:
            raise self._failed(error) from error
        if not entries:
            return b""
        self.last = entries[-1][0]
        return b"".join(fields.get(b"l", b"") for _, fields in entries)

    def close(self) -> None:
        """Do nothing: connections are closed with their client."""


def _split(lines: bytes) -> list[bytes]:
    """Cut lines into entries of at most _ENTRY_BYTES; a longer line is an entry of its own."""
    entries, first = [], 0
    while first < len(lines):
        end = len(lines)
        if end - first > _ENTRY_BYTES:
            end = lines.rfind(b"\n", first, first + _ENTRY_BYTES) + 1 or lines.find(b"\n", first) + 1
        entries.append(lines[first:end])
        first = end
    return entries
