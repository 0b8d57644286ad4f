"""Raw bytes of a connection, as `LimitedHttp` reads them."""

import asyncio
import re
from functools import lru_cache
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.api.limited_http import LimitedHttp

SEEDS = (
    b"GET /recommendations?user_id=u HTTP/1.1\r\nHost: x\r\nCookie: a=b; c\r\nAuthorization: Bearer x\r\n\r\n",
    b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n\r\n",
)
WORDS = (b"\r\n\r\n", b"HTTP/1.1", b"Connection: close", b"OPTIONS *", b"http://[::1", b"CONNECT ", b"\xff", b"\0")
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


async def _app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@lru_cache
def _loop() -> tuple[asyncio.AbstractEventLoop, Config]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    config = Config(_app, ws="none", lifespan="off", interface="asgi3", access_log=False, log_config=None)
    config.load()
    return loop, config


async def _connection(config: Config, data: bytes) -> list[bytes]:
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    protocol, transport = LimitedHttp(config, ServerState(), {}), _Transport()
    protocol.connection_made(transport)
    middle = len(data) // 2
    for piece in (data[:middle], data[middle:]):
        if not transport.closed:
            protocol.data_received(piece)
        for _ in range(4):
            await asyncio.sleep(0)
    protocol.connection_lost(None)
    for _ in range(4):
        await asyncio.sleep(0)
    assert not failures, failures
    return _STATUS.findall(transport.written)


def read(data: bytes) -> None:
    """Feed a connection in two pieces. Whatever they are, nothing is raised, and no answer is a fault of ours."""
    loop, config = _loop()
    statuses = loop.run_until_complete(_connection(config, data))
    assert all(status < b"500" for status in statuses), statuses
