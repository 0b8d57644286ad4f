"""CORS: which sites' pages may read shelves and send events from a browser, by `--cors-origins`.

    application = with_cors(application, origins_of("https://shop.example,https://www.shop.example"))

Litestar's own CORS adds its headers to every route, operators' too, and replaces `Vary`. It would not reach the hot
route. So headers are added here, around all routes, to those that browsers call. Where no origin is named, nothing is
added. Cookies are never allowed: a key comes in `Authorization`, which a page sets by itself.
"""

import re

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.access import header_value

MAX_AGE_S = 7_200  # of a preflight's answer; browsers keep none longer
_PATHS = re.compile(rb"/((shared/)?(recommendations|pages/[^/]+)|events|items/[^/]+/similar)")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?")
_DEFAULT_PORT = re.compile(r"http://.*:80|https://.*:443")
_VARY = (b"vary", b"Origin")
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"%d" % MAX_AGE_S),
    (b"content-length", b"0"),
    _VARY,
]


class OriginError(ValueError):
    """A text is no list of origins."""


def origins_of(text: str) -> tuple[str, ...]:
    """Return the origins in a text, which has commas between them; none for an empty text.

    Raises:
        OriginError: one is not written as browsers send it, so that it would never be met, or it stands for many.
    """
    origins = tuple(dict.fromkeys(part.strip() for part in text.split(","))) if text.strip() else ()
    for origin in origins:
        if "*" in origin:
            raise OriginError(f"{origin!r} would let other sites in; name each origin, such as https://shop.example")
        if not _ORIGIN.fullmatch(origin) or _DEFAULT_PORT.fullmatch(origin):
            raise OriginError(
                f"{origin!r} is no origin as browsers send it; write https://shop.example: in small letters, without "
                "a path or a slash at the end, with a port only where it is not the scheme's own"
            )
    return origins


def with_cors(application: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """An application whose answers pages of these origins may read; the application itself where there are none."""
    if not origins:
        return application
    allowed = {
        origin.encode(): [
            (b"access-control-allow-origin", origin.encode()),
            (b"access-control-expose-headers", b"retry-after, x-request-id"),
        ]
        for origin in origins
    }

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not _PATHS.fullmatch(scope["raw_path"]):
            await application(scope, receive, send)
            return
        headers = allowed.get(header_value(scope["headers"], b"origin") or b"", [])
        is_options = bool(headers) and scope["method"] == "OPTIONS"
        if is_options and header_value(scope["headers"], b"access-control-request-method") is not None:
            await send({"type": "http.response.start", "status": 204, "headers": [headers[0], *_PREFLIGHT]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers, _VARY]
            await send(message)

        await application(scope, receive, send_with_headers)

    return answer
