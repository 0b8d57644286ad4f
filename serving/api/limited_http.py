"""HTTP as uvicorn speaks it, with limits on what a caller may send, and how long it may take, before a key is read.

uvicorn.run(application, http=LimitedHttp)

What is refused here is answered with a problem document (`serving.problems`), and the connection is closed.
"""

import asyncio
import resource
from asyncio.events import TimerHandle

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.problems import CONTENT_TYPE, ProblemError

MAX_HEAD_BYTES = 32 << 10  # of the request line and the headers; as many of a body's trailers
MAX_HEADERS = 100
HEAD_TIMEOUT_S = 10.0  # from the connection, or the end of the answer before, until a head is whole
SEND_TIMEOUT_S = 30.0  # for a caller to read an answer
_MAX_PIPELINED = 64
_SLICE_BYTES = 16 << 10  # read at once, so that a head of many tiny headers is refused before it takes a millisecond
_LINGER_S = 1.0  # a refused caller's data is read on for so long, else the answer would be lost with it
_LINGER_BYTES = 1 << 20
_OTHER_FILES = 256  # of logs, snapshots and the refused
_MOST_FILES = 1 << 16


def raise_file_limit() -> None:
    """Let this process and its children open as many files as the machine allows, up to 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def max_connections() -> int:
    """How many connections a worker holds: three quarters of the files it may open, and at least 256 fewer."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MOST_FILES if soft == resource.RLIM_INFINITY else soft
    return max(16, min(files * 3 // 4, files - _OTHER_FILES))


class LimitedHttp(HttpToolsProtocol):
    """One connection. The application counts refusals if its lifespan's state holds `count_status`."""

    _head_timer: TimerHandle | None = None  # runs while no whole head has come, and no answer is being made
    _send_timer: TimerHandle | None = None
    _head_bytes = 0  # since the last whole head or part of a body
    _piece_bytes = 0
    _body_came = _refused = False
    _problem: ProblemError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        limit = max_connections()
        if len(self.connections) > limit:
            if len(self.connections) > limit + _OTHER_FILES // 2:
                transport.abort()
                return
            self._refuse(
                ProblemError(503, f"this worker holds {limit} connections", "close some, or ask again later")
            )
            return
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if len(data) <= _SLICE_BYTES:
            self._read(data)
            return
        for first in range(0, len(data), _SLICE_BYTES):
            self._read(data[first : first + _SLICE_BYTES])

    def _read(self, piece: bytes) -> None:
        if self._refused:
            self._head_bytes += len(piece)
            if self._head_bytes > _LINGER_BYTES:
                self.transport.abort()
            return
        cycle, self._body_came, self._piece_bytes = self.cycle, False, len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # the request is answered as if it had not asked for another protocol
        except httptools.HttpParserError:
            no_http = ProblemError(
                400, "this is no HTTP request", "send HTTP/1.1; see /schema for what is taken here"
            )
            self._refuse(self._problem or no_http)
            return
        if self.cycle is not cycle or self._body_came:
            self._head_bytes = 0
        else:
            self._head_bytes += len(piece)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_too_large())
                return
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def on_headers_complete(self) -> None:
        if len(self.headers) > MAX_HEADERS:
            self._problem = ProblemError(431, f"{len(self.headers)} headers", f"send at most {MAX_HEADERS}")
            raise self._problem
        if self._head_bytes + self._piece_bytes > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES:
            self._problem = _too_large()
            raise self._problem
        if len(self.pipeline) >= _MAX_PIPELINED:
            remedy = f"send at most {_MAX_PIPELINED} requests before the first is answered"
            self._problem = ProblemError(400, "too many requests at once on one connection", remedy)
            raise self._problem
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_came = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_if_unread()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._abort_if_unread()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._abort_if_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _abort_if_unread(self) -> None:
        """Give a caller that has not read its answers SEND_TIMEOUT_S from now."""
        if self._send_timer is None and self.transport.get_write_buffer_size():
            self._send_timer = self.loop.call_later(SEND_TIMEOUT_S, self.transport.abort)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _head_is_late(self) -> None:
        self._head_timer = None
        has_begun = self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)
        if has_begun and not self._refused:
            detail = f"the head of the request did not arrive in {HEAD_TIMEOUT_S:.0f} s"
            self._refuse(ProblemError(408, detail, "send it faster"))
        else:
            self.transport.close()

    def _refuse(self, problem: ProblemError) -> None:
        """Answer with a problem document and close; only close where an answer to an earlier request is still due."""
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        body = problem.to_json()
        headers = [*self.server_state.default_headers, (b"content-type", CONTENT_TYPE), (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        head = b"%b%bcontent-length: %d\r\n\r\n" % (STATUS_LINE[problem.status], lines, len(body))
        self.transport.write(head + body)
        if "count_status" in self.app_state:
            self.app_state["count_status"](problem.status)
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)


def _too_large() -> ProblemError:
    return ProblemError(
        431, "the head of the request is too large", f"send at most {MAX_HEAD_BYTES} bytes of headers"
    )
