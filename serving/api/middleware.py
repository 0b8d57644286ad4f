"""Around Litestar's routes: exact paths, ids with slashes in them, HEAD, OPTIONS, a deadline for bodies, counts."""

import asyncio
import re
from functools import lru_cache
from urllib.parse import unquote

from litestar import Litestar
from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.types.asgi_types import HTTPReceiveMessage, WebSocketReceiveMessage

from serving.api.error_handlers import allowed_methods
from serving.api.openapi import complete
from serving.api.shelf_routes import HOT_PATH
from serving.api.worker import Worker
from serving.problems import CONTENT_TYPE, ProblemError

BODY_TIMEOUT_S = 10.0
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_EMPTY_SEGMENT = re.compile(rb"//|./$")
_NO_SUCH_PATH = ProblemError(
    404, "the path has an empty segment", "leave out doubled and trailing slashes; write %2F for a slash in an id"
)


def middleware(worker: Worker, litestar: Litestar) -> ASGIApp:
    """Litestar's application with all that this module does around it."""

    @lru_cache(1)
    def complete_document() -> None:  # on the first request for it, so that a start does not wait for it
        complete(litestar.openapi_schema)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:  # start and stop of the application
            await litestar(scope, receive, send)
            return
        if _EMPTY_SEGMENT.search(scope["raw_path"]):  # Litestar would match `//users/anna` and `/users/anna/` too
            worker.metrics.status(404)
            await _answer(send, 404, [(b"content-type", CONTENT_TYPE)], _NO_SUCH_PATH.to_json())
            return
        if scope["path"].startswith("/schema"):
            complete_document()
        if b"%2f" in scope["raw_path"].lower():  # an id with a slash in it is one segment of the path
            scope["path"] = unquote(_ENCODED_SLASH.sub(b"_", scope["raw_path"]).decode("latin-1"))
        if scope["method"] == "OPTIONS" and (methods := allowed_methods(litestar, scope["path"])):
            await _answer(send, 204, [(b"allow", ", ".join(methods).encode())], b"")
            return
        if scope["method"] == "HEAD" and scope["path"] != HOT_PATH:  # an answer there counts as shown
            scope = scope.copy()
            scope["method"] = HttpMethod.GET  # the server, which keeps the scope that it made, sends no body

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                worker.metrics.status(message["status"])
            await send(message)

        await litestar(scope, _with_deadline(receive), send_counted)

    return application


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _with_deadline(receive: Receive) -> Receive:
    """`receive`, which raises ProblemError (408) if the body is not whole BODY_TIMEOUT_S from now."""
    deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT_S
    body_is_whole = False

    async def receive_in_time() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        nonlocal body_is_whole
        if body_is_whole:  # what comes then is the end of the connection, whenever that is
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            remedy = "send it faster, or in smaller parts"
            raise ProblemError(408, f"the body did not arrive in {BODY_TIMEOUT_S:.0f} s", remedy) from error
        body_is_whole = not message.get("more_body", False)
        return message

    return receive_in_time
