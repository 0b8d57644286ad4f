"""Access control before every route: a valid key with the route's scope, then the key's rate."""

import asyncio
import re
import time
from collections.abc import Iterable

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from serving.api.keys import Key, KeyRing
from serving.api.rates import Lease, Rates, refusal
from serving.problems import ProblemError

Headers = Iterable[tuple[bytes, bytes]]
BROWSER_SCOPES = ("read", "events")  # whose keys a page may hold
_LOOPBACK_NAMES = (b"127.0.0.1", b"localhost", b"[::1]")
CLIENT_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_CHALLENGE = [(b"www-authenticate", b'Bearer realm="topshelf"')]


class AccessGate:
    """Admits a request or raises the problem to answer with.

    With `may_be_open`, and as long as no key was ever created, it admits callers of this machine without a key. Pages
    of `trusted` origins are such callers too, for what browsers may do at all.
    """

    def __init__(self, ring: KeyRing, rates: Rates, *, may_be_open: bool, trusted: Iterable[str] = ()) -> None:
        self._ring, self._rates, self._may_be_open = ring, rates, may_be_open
        self._trusted = frozenset(origin.encode() for origin in trusted)

    @property
    def is_open(self) -> bool:
        """Whether requests are admitted without a key."""
        return self._may_be_open and not self._ring.exists

    def authenticate(self, authorization: bytes | None, host: bytes | None, scope: str) -> Key | None:
        """The caller's key, or None where the gate is open.

        Raises ProblemError: 401 without a valid key; 403 for a key of another scope, or for a Host header that is not
        a loopback name while the gate is open; 503 where the key file could not be read yet.
        """
        if authorization is not None:
            key = self._ring.find(authorization)
            if key is not None:
                if scope in key.scopes:
                    return key
                held = " and ".join(sorted(key.scopes))
                raise ProblemError(
                    403, f"key {key.id} has scope {held}, this takes {scope}", f"use a key of scope {scope}"
                )
        if self.is_open:
            # A web page can make its visitor's browser call this machine, but only under the page's own host name.
            if host is not None and host.rpartition(b":")[0] not in _LOOPBACK_NAMES and host not in _LOOPBACK_NAMES:
                raise ProblemError(
                    403,
                    "without keys this endpoint answers only to loopback names",
                    "call it as localhost, or create a key: topshelf keys create --scope read",
                )
            return None
        if self._ring.was_never_read:
            raise ProblemError(
                503, "the endpoint cannot read its keys", "repair its key file; /readyz says what is wrong"
            )
        detail = "no key was sent" if authorization is None else "the key that was sent is not valid"
        remedy = "send Authorization: Bearer KEY; topshelf keys create --scope read makes one"
        raise ProblemError(401, detail, remedy, headers=_CHALLENGE)

    def check_scope(self, headers: Headers, scope: str) -> None:
        """Check that a request that was admitted may do what another scope allows. Raises ProblemError (403)."""
        self.authenticate(header_value(headers, b"authorization"), header_value(headers, b"host"), scope)

    async def admit(self, method: str, headers: Headers, scope: str) -> None:
        """Check the key and take one request off its rate, for every route but the hot one. Raises ProblemError.

        While the gate is open, all but a GET is also refused (403) where another site's page made a browser send it.
        """
        key = self.authenticate(header_value(headers, b"authorization"), header_value(headers, b"host"), scope)
        if key is not None:
            await self.spend(key, time.monotonic())
        elif method != "GET" and _is_cross_origin(headers) and not self._is_trusted(headers, scope):
            raise ProblemError(
                403,
                "without keys this endpoint takes nothing that a page of another site makes a browser send",
                "send it from a program, or create a key and send that: topshelf keys create --scope feed",
            )

    def _is_trusted(self, headers: Headers, scope: str) -> bool:
        return scope in BROWSER_SCOPES and header_value(headers, b"origin") in self._trusted

    async def spend(self, key: Key, now: float) -> list[tuple[bytes, bytes]]:
        """Take one request off the key's rate at `now` (`time.monotonic`); return the rate's response headers.

        Raises ProblemError (429).
        """
        lease = self._rates.spend(key, now) or await self._renewed(key, now)
        if lease.refused:
            raise refusal(lease, key, now)
        return lease.headers

    async def _renewed(self, key: Key, now: float) -> Lease:
        if self._rates.networked:
            return await asyncio.to_thread(self._rates.renew, key, now)
        return self._rates.renew(key, now)


def key_guard(gate: AccessGate, scope: str) -> list[Guard]:
    """Litestar's guards of a route that needs a key of `scope`."""

    async def admit(connection: ASGIConnection[BaseRouteHandler, None, None, State], _: BaseRouteHandler) -> None:
        await gate.admit(str(connection.scope.get("method")), connection.scope["headers"], scope)

    return [admit]


def _is_cross_origin(headers: Headers) -> bool:
    """Whether a browser sent a request for a page of another origin: the rule of Go's `http.CrossOriginProtection`.

    Browsers say so in `Sec-Fetch-Site`, older ones in `Origin`. Programs send neither.
    """
    site = header_value(headers, b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin, host = header_value(headers, b"origin"), header_value(headers, b"host")
    return origin is not None and (host is None or origin.partition(b"://")[2] != host)


def header_value(headers: Headers, wanted: bytes) -> bytes | None:
    """A header's value, the first where it was sent more than once; None where it is missing."""
    return next((value for name, value in headers if name == wanted), None)


def client_id(headers: Headers) -> str | None:
    """The client's own request id, or None where it has none that is safe to log."""
    value = header_value(headers, b"x-request-id")
    return str(value, "ascii") if value is not None and CLIENT_ID.fullmatch(value) else None
