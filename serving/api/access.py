"""The gate before every route: a valid key with the route's scope, then the key's rate."""

import asyncio
import re
import time
from collections.abc import Iterable

from serving.api.keys import Key, KeyRing
from serving.api.rates import Lease, Rates, refusal
from serving.problems import ProblemError

Headers = Iterable[tuple[bytes, bytes]]
_LOOPBACK = (b"127.0.0.1", b"localhost", b"[::1]")
CLIENT_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_CHALLENGE = [(b"www-authenticate", b'Bearer realm="topshelf"')]


class AccessGate:
    """Lets in or refuses. Without any key ever made, and only if so told, it is open to callers of this machine."""

    def __init__(self, ring: KeyRing, rates: Rates, *, may_be_open: bool) -> None:
        self._ring, self._rates, self._may_be_open = ring, rates, may_be_open

    @property
    def is_open(self) -> bool:
        return self._may_be_open and not self._ring.exists

    def key(self, authorization: bytes | None, host: bytes | None, scope: str | None) -> Key | None:
        """The caller's key, None where the gate is open. Raises ProblemError (401, 403)."""
        if authorization is not None:
            key = self._ring.of(authorization)
            if key is not None:
                if scope is None or scope in key.scopes:
                    return key
                told = " and ".join(sorted(key.scopes))
                raise ProblemError(
                    403, f"key {key.id} has scope {told}, this takes {scope}", f"use a key of scope {scope}"
                )
        if self.is_open:
            # A page in somebody's browser may be made to call this machine, but then under a name of its own.
            if host is not None and host.rpartition(b":")[0] not in _LOOPBACK and host not in _LOOPBACK:
                raise ProblemError(
                    403, "an open endpoint answers on loopback names alone", "create keys, or use them"
                )
            return None
        detail = "no key was sent" if authorization is None else "the key that was sent is not valid"
        remedy = "send Authorization: Bearer KEY; topshelf keys create --scope read makes one"
        raise ProblemError(401, detail, remedy, headers=_CHALLENGE)

    async def admit(self, headers: Headers, scope: str | None) -> list[tuple[bytes, bytes]]:
        """What every route but the hot one does: the headers that tell the rate. Raises ProblemError."""
        authorization, host = found(headers, b"authorization"), found(headers, b"host")
        key = self.key(authorization, host, scope)
        return [] if key is None else await self.spend(key, time.time())

    async def spend(self, key: Key, now: float) -> list[tuple[bytes, bytes]]:
        """Take one request off the key's rate. Raises ProblemError (429)."""
        lease = self._rates.spend(key, now) or await self._renewed(key, now)
        if lease.refused:
            raise refusal(lease, key, now)
        return lease.headers

    async def _renewed(self, key: Key, now: float) -> Lease:
        if self._rates.networked:
            return await asyncio.to_thread(self._rates.renew, key, now)
        return self._rates.renew(key, now)


def found(headers: Headers, wanted: bytes) -> bytes | None:
    """The value of a header; a header sent twice counts as its first."""
    return next((value for name, value in headers if name == wanted), None)


def client_id(headers: Headers) -> str | None:
    """The client's own request id, where it is fit for a log."""
    value = found(headers, b"x-request-id")
    return str(value, "ascii") if value is not None and CLIENT_ID.fullmatch(value) else None
