"""Rate limits per key, shared by all workers of a host, or of all hosts through Redis.

A worker leases a hundredth of the limit from the shared count and spends it alone, so most requests touch nothing
shared. A key never gets more than its limit in a window. It may get less: what workers have leased and not spent, at
most a hundredth of the limit for each worker.

While Redis does not answer, every worker grants the whole limit alone, so that requests are still answered.
"""

import fcntl
import hashlib
import math
import os
import struct
import time
from pathlib import Path

from limits.storage import Storage, storage_from_string

from serving.api.keys import Key
from serving.problems import ProblemError
from serving.stores.files import PRIVATE, map_allocated

LEASES = 100  # a lease is the limit divided by this
_RETRY_S = 0.5  # after a failure the shared count is not asked for this long
_SLOT = struct.Struct("<16sqd")  # a key's hash, its count, its window's end by `time.monotonic`
_SLOTS = 4_096
_PROBED_SLOTS = 64  # from the slot that a key's hash points to


class SharedFileStorage(Storage):
    """Counts in a file that all workers of a host map into memory: `shared-file://FOLDER`."""

    STORAGE_SCHEME = ["shared-file"]  # noqa: RUF012  named by the base class

    def __init__(self, uri: str, wrap_exceptions: bool = False, **_: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions)
        folder = Path(uri.removeprefix("shared-file://"))
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "rates.slots", os.O_CREAT | os.O_RDWR, PRIVATE)
        self._map = map_allocated(self._file, _SLOT.size * _SLOTS)

    @property
    def base_exceptions(self) -> type[Exception]:
        return OSError

    def _find(self, key: str, now: float) -> tuple[int, bytes, int, float]:
        """The key's slot, or one it may take: its offset, the key's hash, the count and the window's end."""
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        first = int.from_bytes(digest[:4], "little")
        occupied = free = -1
        for step in range(_PROBED_SLOTS):
            offset = (first + step) % _SLOTS * _SLOT.size
            owner, count, ends = _SLOT.unpack_from(self._map, offset)
            if owner == digest:
                return offset, digest, count if ends > now else 0, ends
            if ends <= now and free < 0:
                free = offset
            elif occupied < 0:
                occupied = offset
        # If all are occupied, one is taken over, and its key counts from 0 again.
        return free if free >= 0 else occupied, digest, 0, 0.0

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            now = time.monotonic()
            offset, digest, count, ends = self._find(key, now)
            if not now < ends <= now + expiry:  # over, or of the time before the machine was started again
                count, ends = 0, now + expiry
            _SLOT.pack_into(self._map, offset, digest, count + amount, ends)
            return count + amount
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def get(self, key: str) -> int:
        return self._find(key, time.monotonic())[2]

    def get_expiry(self, key: str) -> float:
        now = time.monotonic()
        return time.time() + max(0.0, self._find(key, now)[3] - now)

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        self._map[:] = bytes(len(self._map))
        return None

    def clear(self, key: str) -> None:
        offset, digest, _, _ = self._find(key, 0.0)
        _SLOT.pack_into(self._map, offset, digest, 0, 0.0)


class Lease:
    """How many requests one worker may still grant to one key in this window; `refused` if it got none."""

    __slots__ = ("headers", "left", "refused", "until")

    def __init__(self, left: int, until: float, limit: int, remaining: int, now: float) -> None:
        self.left, self.until, self.refused = left, until, left == 0
        reset = max(1, math.ceil(until - now))
        # `ratelimit-remaining` is what was left of the limit when the lease was taken.
        self.headers = [
            (b"ratelimit-limit", b"%d" % limit),
            (b"ratelimit-remaining", b"%d" % remaining),
            (b"ratelimit-reset", b"%d" % reset),
        ]


class Rates:
    """The leases that one worker holds. `unshared` counts those it granted without the shared count."""

    def __init__(self, folder: Path, shared_url: str | None) -> None:
        self.networked = shared_url is not None
        address = f"shared-file://{folder}"
        options: dict[str, float | str | bool] = {}
        if shared_url is not None:
            from serving.stores.redis_address import redis_address

            shared = redis_address(shared_url)
            address, prefix = shared.url, f"{shared.namespace}:limits"
            options = {"socket_timeout": 0.02, "socket_connect_timeout": 0.1, "key_prefix": prefix}
        storage = storage_from_string(address, **options)
        assert isinstance(storage, Storage)  # and not one of asyncio
        self._storage = storage
        self._leases: dict[str, Lease] = {}
        self._retry_at = 0.0
        self.unshared = 0

    def spend(self, key: Key, now: float) -> Lease | None:
        """Take one request off the lease at `now` (`time.monotonic`); None where `renew` must take a new one."""
        lease = self._leases.get(key.id)
        if lease is None or now >= lease.until:
            return None
        if lease.left > 0:
            lease.left -= 1
            return lease
        return lease if lease.refused else None

    def renew(self, key: Key, now: float) -> Lease:
        """Take a new lease from the shared count, and one request off it. Once the limit is spent, it is refused."""
        limit, leased = key.rate.amount, max(1, key.rate.amount // LEASES)
        seconds = key.rate.get_expiry()
        # Windows are part of the count's name, because Redis expires counts by whole seconds. Hosts that share Redis
        # agree on them by the wall clock. A lease ends by `now`, whose clock nobody can set back.
        window, since_s = divmod(time.time() if self.networked else now, seconds)
        until = now + seconds - since_s
        if now >= self._retry_at:
            try:
                total = self._storage.incr(key.rate.key_for(key.id, int(window)), 2 * seconds, amount=leased)
                granted = max(0, leased - max(0, total - limit))
                return self._keep(key, Lease(granted, until, limit, max(0, limit - total), now))
            except Exception:  # any error of the storage's driver: rate limits must not stop answers
                self._retry_at = now + _RETRY_S
        self.unshared += 1
        return self._keep(key, Lease(limit, until, limit, limit, now))

    def _keep(self, key: Key, lease: Lease) -> Lease:
        self._leases[key.id] = lease
        if lease.left > 0:
            lease.left -= 1
        return lease


def refusal(lease: Lease, key: Key, now: float) -> ProblemError:
    """The 429 for a refused lease."""
    wait = max(1, math.ceil(lease.until - now))
    return ProblemError(
        429,
        f"key {key.id} allows {key.rate.amount} requests in {key.rate.get_expiry()} s",
        f"wait {wait} s, or use a key with a higher rate",
        headers=[*lease.headers, (b"retry-after", b"%d" % wait)],
    )
