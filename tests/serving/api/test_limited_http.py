"""What a connection may send, and how long it may take, before any key is read."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.api import limited_http
from serving.api.limited_http import MAX_HEAD_BYTES, MAX_HEADERS, LimitedHttp

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Endpoint:
    """Answers every request with the number of its headers, or with `answer`; `counts` are the statuses refused."""

    def __init__(self) -> None:
        self.answer, self.counts, self.state = b"", Counter[int](), ServerState()
        self.port = 0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body = self.answer or b"%d" % len(scope["headers"])
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def count(self, status: int) -> None:
        self.counts[status] += 1

    async def connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def answered(self, *pieces: bytes) -> bytes:
        """What comes back on one connection until it is closed."""
        reader, writer = await self.connect()
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass  # it was refused and closed before the end
        answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def listening() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    config = Config(
        endpoint.app, ws="none", lifespan="off", interface="asgi3", access_log=False, timeout_keep_alive=1
    )
    config.load()
    loop = asyncio.get_running_loop()
    state = {"count_status": endpoint.count}
    server = await loop.create_server(lambda: LimitedHttp(config, endpoint.state, state), "127.0.0.1", 0)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()


def run(scenario: Callable[[Endpoint], Awaitable[None]]) -> None:
    async def main() -> None:
        async with listening() as endpoint:
            await asyncio.wait_for(scenario(endpoint), 60)

    asyncio.run(main())


def problem(answer: bytes) -> tuple[int, str]:
    """The status and the detail of a problem document."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    document = json.loads(body)
    assert document["status"] == int(head[9:12])
    return document["status"], document["detail"]


def test_headers_are_limited_by_count_and_the_refusal_is_a_problem_that_is_counted() -> None:
    async def scenario(endpoint: Endpoint) -> None:
        most = b"".join(b"a%d: b\r\n" % n for n in range(MAX_HEADERS - 2))
        answer = await endpoint.answered(GET + most + b"Connection: close\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n%d" % MAX_HEADERS)
        answer = await endpoint.answered(GET + most + b"one: more\r\nConnection: close\r\n\r\n")
        assert problem(answer) == (431, f"{MAX_HEADERS + 1} headers")
        assert endpoint.counts == {431: 1}

    run(scenario)


@pytest.mark.parametrize("where", ["one header", "small headers", "the path", "a header's name", "trailers"])
def test_a_head_without_end_is_refused_before_much_of_it_is_kept(where: str) -> None:
    async def scenario(endpoint: Endpoint) -> None:
        chunked = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nt: "
        begin, piece = {
            "one header": (GET + b"a: ", b"x" * 65_536),
            "small headers": (GET, b"a: b\r\n" * 10_000),
            "the path": (b"GET /", b"x" * 65_536),
            "a header's name": (GET, b"x" * 65_536),
            "trailers": (chunked, b"x" * 65_536),
        }[where]
        reader, writer = await endpoint.connect()
        writer.write(begin)
        sent = 0
        while not reader.at_eof() and sent < 200 << 20:
            try:
                writer.write(piece)
                await writer.drain()
            except ConnectionError:
                break
            sent += len(piece)
            await asyncio.sleep(0)
        assert sent < 20 << 20  # what the sockets hold, and a second's worth that is thrown away
        (connection,) = endpoint.state.connections or (None,)
        assert connection is None or len(connection.headers) < 4_000
        assert endpoint.counts[431] == (where != "trailers")
        writer.close()

    run(scenario)


@pytest.mark.parametrize("size", [MAX_HEAD_BYTES - 100, MAX_HEAD_BYTES + 1])
def test_the_bytes_of_a_head_are_limited_and_a_body_may_be_larger(size: int) -> None:
    async def scenario(endpoint: Endpoint) -> None:
        answer = await endpoint.answered(GET + b"Connection: close\r\na: " + b"x" * size + b"\r\n\r\n")
        assert answer[9:12] == (b"200" if size < MAX_HEAD_BYTES else b"431")
        post = b"POST /x HTTP/1.1\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n"
        assert (await endpoint.answered(post, b"x" * 300_000))[9:12] == b"200"

    run(scenario)


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /x HT", GET, GET + b"a: "])
def test_a_head_that_does_not_come_in_time_ends_its_connection(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_http, "HEAD_TIMEOUT_S", 0.2)

    async def scenario(endpoint: Endpoint) -> None:
        answer = await endpoint.answered(sent)
        if sent.strip():
            assert problem(answer)[0] == 408
        else:
            assert answer == b""  # nothing was asked, so nothing is answered

        whole = GET + b"Connection: keep-alive\r\n\r\n"
        after_an_answer = await endpoint.answered(whole + sent)
        assert after_an_answer.startswith(b"HTTP/1.1 200")

    run(scenario)


def test_a_head_that_comes_byte_by_byte_has_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_http, "HEAD_TIMEOUT_S", 0.3)

    async def scenario(endpoint: Endpoint) -> None:
        reader, writer = await endpoint.connect()
        answer = asyncio.create_task(reader.read())
        writer.write(b"GET /")
        while not answer.done():
            writer.write(b"a")
            await asyncio.sleep(0.01)
        assert problem(answer.result())[0] == 408

    run(scenario)


def test_connections_above_the_limit_are_told_so_and_those_below_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limited_http, "max_connections", lambda: 20)

    async def scenario(endpoint: Endpoint) -> None:
        idle = [await endpoint.connect() for _ in range(20)]
        assert problem(await endpoint.answered(GET + b"\r\n"))[0] == 503
        idle[0][1].write(GET + b"Connection: close\r\n\r\n")
        assert (await idle[0][0].read()).startswith(b"HTTP/1.1 200")
        for _, writer in idle:
            writer.close()

    run(scenario)


def test_too_many_requests_at_once_on_a_connection_are_refused() -> None:
    async def scenario(endpoint: Endpoint) -> None:
        answer = await endpoint.answered((GET + b"\r\n") * 1_000)
        assert answer.count(b"HTTP/1.1 200") < 1_000

    run(scenario)


def test_a_caller_that_does_not_read_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_http, "SEND_TIMEOUT_S", 0.2)

    async def scenario(endpoint: Endpoint) -> None:
        endpoint.answer = b"x" * (64 << 20)
        for last in (b"Connection: close\r\n\r\n", b"\r\n"):
            _, writer = await endpoint.connect()
            writer.write(GET + last)
            await writer.drain()
            while not endpoint.state.connections:
                await asyncio.sleep(0.01)
            while endpoint.state.connections:
                await asyncio.sleep(0.01)
            writer.close()

    run(scenario)


def test_what_is_no_http_is_a_problem_document_too() -> None:
    async def scenario(endpoint: Endpoint) -> None:
        assert problem(await endpoint.answered(b"\x16\x03\x01 hello\r\n\r\n"))[0] == 400

    run(scenario)
