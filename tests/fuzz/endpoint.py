"""The whole application of one worker, with a key: method, path, query, headers and body, cut from the bytes."""

import asyncio
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from serving.api.app import build
from serving.api.keys import SCOPES, create
from serving.settings import EndpointSettings
from tests.serving.running import publish_night

# method, path, query, content type, content encoding, the client's request id, body; each ends with a zero byte
SEEDS = tuple(
    b"\0".join(parts)
    for parts in (
        (b"GET", b"/recommendations", b"user_id=user-1&limit=5&category=home&price_max=2.5", b"", b"", b"r-1", b""),
        (b"POST", b"/recommendations", b"", b"application/json", b"", b"", b'{"user_id":"user-2","limit":500}'),
        (b"POST", b"/recommendations/batch", b"", b"application/json", b"", b"m-1",
         b'{"user_ids":["user-1",""],"limit":2}'),
        (b"POST", b"/items", b"", b"application/json", b"", b"", b'[{"item_id":"item-00001","stock":0}]'),
        (b"POST", b"/events", b"", b"text/plain", b"", b"",
         b'{"event_id":"e","user_id":"user-1","item_id":"item-00002","event_type":"view"}'),
        (b"GET", b"/items/item-00001/similar", b"limit=3&exclude=item-00002", b"", b"", b"", b""),
        (b"GET", b"/users/user-1/trace", b"region=DE&request_id=" + b"0" * 32, b"", b"", b"", b""),
        (b"DELETE", b"/users/user-9%2F", b"", b"", b"", b"", b""),
        (b"GET", b"/readyz", b"", b"", b"", b"", b""),
        (b"GET", b"/metrics", b"", b"", b"", b"", b""),
    )
)  # fmt: skip


def _ascii(text: bytes) -> bytes:
    """What is left of an address without the bytes that the server refuses before it calls an application."""
    return text.decode("ascii", "ignore").encode()


class _Application:
    """The application, started; requests run on a loop of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        folder = Path(self._folder.name)
        publish_night(folder, "2026-01-01", explores=True)
        keys = folder / "state" / "keys.json"
        _, key = create(keys, SCOPES, "fuzz", "1000000000/second")
        self._authorization = b"Bearer " + key.encode()
        self._app: Any = build(
            EndpointSettings(f"lmdb://{folder}/store", f"{folder}/landing", folder / "state", keys)
        )
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        started = self._loop.create_future()
        self._lifespan = self._loop.create_task(self._live(started))
        self._loop.run_until_complete(started)

    async def _live(self, started: asyncio.Future[None]) -> None:
        messages = iter(({"type": "lifespan.startup"},))

        async def receive() -> dict[str, str]:
            return next(messages, None) or await asyncio.get_running_loop().create_future()

        async def send(message: dict[str, str]) -> None:
            assert message["type"] == "lifespan.startup.complete", message
            started.set_result(None)

        await self._app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    def answer(self, data: bytes) -> int:
        parts = [*data.split(b"\0", 6), *[b""] * 7][:7]
        method, path, query, content_type, encoding, request_id, body = parts
        names = (b"content-type", b"content-encoding", b"x-request-id")
        headers = [pair for pair in zip(names, (content_type, encoding, request_id), strict=True) if pair[1]]
        headers += [(b"host", b"localhost"), (b"authorization", self._authorization)]
        headers += [(b"content-length", b"%d" % len(body))] if body else []
        path, query = b"/" + _ascii(path.lstrip(b"/")), _ascii(query)
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
            "method": method.decode("latin-1").upper(), "raw_path": path, "path": unquote(path.decode()),
            "query_string": query, "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
            "state": {},
        }  # fmt: skip
        return self._loop.run_until_complete(self._answer(scope, body))

    async def _answer(self, scope: dict[str, Any], body: bytes) -> int:
        statuses: list[int] = []
        requests = iter(({"type": "http.request", "body": body, "more_body": False},))

        async def receive() -> dict[str, Any]:
            return next(requests, {"type": "http.disconnect"})

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self._app(scope, receive, send)
        (status,) = statuses
        return status


@lru_cache
def _application() -> _Application:
    return _Application()


def answer(data: bytes) -> None:
    """Send a request. No answer is a fault of the endpoint."""
    status = _application().answer(data)
    assert status < 500, status
