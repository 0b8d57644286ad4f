"""Rate limits per key, held together by all workers of a host, or of all hosts through Redis.

A worker takes a lease of a hundredth of the limit from the shared count and spends it by itself, so that most
requests touch nothing shared. So a key never gets more than its limit in a window; it may get less by what workers
have leased and not spent, at most a hundredth of the limit for each worker.

While Redis does not answer, every worker grants the whole limit by itself: answers go on.
"""

import fcntl
import hashlib
import math
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Any

from limits.storage import Storage, storage_from_string

from serving.api.keys import Key
from serving.problems import ProblemError

LEASES = 100  # a window's limit is leased in so many parts
_REST_S = 0.5  # after a failure the shared count is left alone for so long
_SLOT = struct.Struct("<16sqd")  # a key's hash, its count, when its window ends in UTC seconds
_SLOTS = 4_096
_LOOKED_AT = 64  # slots from where a key's hash points


class SharedFileStorage(Storage):
    """Counts in a file that all workers of a host map: `shared-file://FOLDER`."""

    STORAGE_SCHEME = ["shared-file"]  # noqa: RUF012  named by the base class

    def __init__(self, uri: str, wrap_exceptions: bool = False, **_: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions)
        folder = Path(uri.removeprefix("shared-file://"))
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "rates.slots", os.O_CREAT | os.O_RDWR, 0o600)
        os.ftruncate(self._file, _SLOT.size * _SLOTS)
        self._map = mmap.mmap(self._file, _SLOT.size * _SLOTS)

    @property
    def base_exceptions(self) -> type[Exception]:
        return OSError

    def _find(self, key: str, now: float) -> tuple[int, bytes, int, float]:
        """The key's slot, or a free one: where, the hash, the count and the window's end."""
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        first = int.from_bytes(digest[:4], "little")
        taken = free = -1
        for step in range(_LOOKED_AT):
            at = (first + step) % _SLOTS * _SLOT.size
            known, count, ends = _SLOT.unpack_from(self._map, at)
            if known == digest:
                return at, digest, count if ends > now else 0, ends
            if ends <= now and free < 0:
                free = at
            elif taken < 0:
                taken = at
        # Where all are taken one makes way, and its key begins anew.
        return free if free >= 0 else taken, digest, 0, 0.0

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            now = time.time()
            at, digest, count, ends = self._find(key, now)
            ends = ends if ends > now else now + expiry
            _SLOT.pack_into(self._map, at, digest, count + amount, ends)
            return count + amount
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def get(self, key: str) -> int:
        return self._find(key, time.time())[2]

    def get_expiry(self, key: str) -> float:
        now = time.time()
        return max(now, self._find(key, now)[3])

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        self._map[:] = bytes(len(self._map))
        return None

    def clear(self, key: str) -> None:
        at, digest, _, _ = self._find(key, 0.0)
        _SLOT.pack_into(self._map, at, digest, 0, 0.0)


class Lease:
    """What one worker may still grant to one key in this window."""

    __slots__ = ("headers", "left", "refused", "until")

    def __init__(self, left: int, until: float, limit: int, remaining: int, now: float) -> None:
        self.left, self.until, self.refused = left, until, left == 0
        reset = max(1, math.ceil(until - now))
        # `Remaining` is what was left of the window when the lease was taken.
        self.headers = [
            (b"ratelimit-limit", b"%d" % limit),
            (b"ratelimit-remaining", b"%d" % remaining),
            (b"ratelimit-reset", b"%d" % reset),
        ]


class Rates:
    """The limits of all keys, as one worker sees them. `unshared` counts leases that it granted by itself."""

    def __init__(self, folder: Path, shared_url: str | None) -> None:
        self.networked = shared_url is not None
        address = f"shared-file://{folder}"
        options: dict[str, Any] = {}
        if shared_url is not None:
            from serving.stores.redis_address import redis_address

            shared = redis_address(shared_url)
            address, prefix = shared.url, f"{shared.namespace}:limits"
            options = {"socket_timeout": 0.02, "socket_connect_timeout": 0.1, "key_prefix": prefix}
        self._storage: Any = storage_from_string(address, **options)
        self._leases: dict[str, Lease] = {}
        self._rests_until = 0.0
        self.unshared = 0

    def spend(self, key: Key, now: float) -> Lease | None:
        """Take one request off the lease; None where a new lease is due, which `renew` takes."""
        lease = self._leases.get(key.id)
        if lease is None or now >= lease.until:
            return None
        if lease.left > 0:
            lease.left -= 1
            return lease
        return lease if lease.refused else None

    def renew(self, key: Key, now: float) -> Lease:
        """Take a new lease from the shared count, and one request off it; it may be an empty one."""
        amount, part = key.rate.amount, max(1, key.rate.amount // LEASES)
        seconds = key.rate.get_expiry()
        # Windows are the clock's, told in the name: a storage that knows whole seconds only could not end one.
        window = int(now // seconds)
        until = float((window + 1) * seconds)
        if now >= self._rests_until:
            try:
                total = self._storage.incr(key.rate.key_for(key.id, window), 2 * seconds, amount=part)
                granted = max(0, part - max(0, total - amount))
                return self._keep(key, Lease(granted, until, amount, max(0, amount - total), now))
            except Exception:  # whatever the storage's driver calls it: limits must not stop answers
                self._rests_until = now + _REST_S
        self.unshared += 1
        return self._keep(key, Lease(amount, until, amount, amount, now))

    def _keep(self, key: Key, lease: Lease) -> Lease:
        self._leases[key.id] = lease
        if lease.left > 0:
            lease.left -= 1
        return lease


def refusal(lease: Lease, key: Key, now: float) -> ProblemError:
    """The 429 of an empty lease."""
    wait = max(1, math.ceil(lease.until - now))
    return ProblemError(
        429,
        f"key {key.id} may ask {key.rate.amount} times in {key.rate.get_expiry()} s",
        f"wait {wait} s, or have the key's rate raised",
        headers=[*lease.headers, (b"retry-after", b"%d" % wait)],
    )
