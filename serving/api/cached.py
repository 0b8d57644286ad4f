"""Answers that caches may keep, as they are the same for everybody: with an ETag, and for less than a second.

A sold-out item may be shown for one second, so a cache keeps an answer for one (`max-age=1`). nginx counts whole
seconds: what expires in this one it keeps until its end (`X-Accel-Expires`). Its clock must be the endpoint's. An
answer of a second's first LAG_S is not kept, as it may have been made before a change that counts already. While
the endpoint is down, a cache may go on with what it has for a minute (`stale-if-error`). It may not show a stale
answer while it asks for a new one (`stale-while-revalidate`), as that would show what is sold out.

`Vary` names the key: a cache may not give an answer that one key got to callers with another, or with none.

The ETag is of the answer's bytes. All workers make the same, and a change of stock that the answer does not show
leaves it as it is.
"""

import hashlib
import time
from typing import TypeVar, cast

from litestar import MediaType, Response

from serving.api.accept_language import language_headers
from serving.api.access import header_value
from serving.api.openapi import HttpRequest
from serving.problems import ProblemError
from serving.shelf.languages import Language
from serving.shelf.request import ShelfRequest

STALE_IF_ERROR_S = 60
LAG_S = 0.15  # a worker heeds a change so much later
Body = TypeVar("Body")
_PERSONAL = ("user_id", "session_id", "actions", "basket", "arms")


def cached(request: HttpRequest, body: bytes, language: Language) -> Response[Body]:
    """Return an answer with what caches need; 304 without a body where the caller has these bytes."""
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {
        "cache-control": f"public, max-age=1, stale-if-error={STALE_IF_ERROR_S}",
        "etag": etag,
        "x-accel-expires": f"@{int(time.time() - LAG_S)}",
        **language_headers(language),
        "vary": "Authorization, Accept-Language",
    }
    known = header_value(request.scope["headers"], b"if-none-match")
    if known is not None and _names(known, etag):
        return Response(cast("Body", b""), status_code=304, headers=headers)
    return Response(cast("Body", body), media_type=MediaType.JSON, headers=headers)


def _names(header: bytes, etag: str) -> bool:
    """Whether an If-None-Match names an ETag, weakly compared."""
    tags = (tag.strip().removeprefix("W/") for tag in header.decode("latin-1").split(","))
    return any(tag in {"*", etag} for tag in tags)


def check_impersonal(request: ShelfRequest, instead: str) -> None:
    """Raises ProblemError (400) for a request that tells of one shopper: a shared answer cannot heed it."""
    for name in _PERSONAL:
        if getattr(request, name):
            raise ProblemError(400, f"{name}: this answer is everybody's", f"leave it out, or ask {instead}", name)
