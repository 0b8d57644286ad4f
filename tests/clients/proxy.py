"""A reverse proxy before the endpoint that can lose requests and answers, as networks and proxies do.

    with proxied(server.port) as proxy:
        proxy.faults.append(CUT_ANSWER)
        Client(proxy.address).recommend("user-1")      # the first answer is cut, the second comes

It can also serve a folder of static files, so that a page and the endpoint have one origin, and add a key to what it
passes on, as a shop's own server does.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path
from typing import Any, NamedTuple

import httpx


class Fault(NamedTuple):
    """What becomes of one request: `status` is answered in its place, or its answer is cut after so many lines."""

    passes_on: bool
    status: int = 0
    lines: int = 0


LOST_REQUEST = Fault(passes_on=False)
LOST_ANSWER = Fault(passes_on=True)
CUT_ANSWER = Fault(passes_on=True, lines=5)
BAD_GATEWAY = Fault(passes_on=False, status=502)
GATEWAY_TIMEOUT = Fault(passes_on=True, status=504)  # the endpoint heard it, and the proxy waited no longer


class Seen(NamedTuple):
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Proxy:
    """The next request meets the first of `faults`; `seen` are all that came, `statuses` what they were answered."""

    def __init__(self, endpoint: str, key: str, files: Path | None) -> None:
        self.endpoint, self.key, self.files = endpoint, key, files
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.statuses: list[int] = []
        self.address = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _any(self) -> None:
        proxy = self.proxy
        if proxy.files is not None and not self.path.startswith("/topshelf/"):
            self._file(proxy.files)
            return
        path = self.path.removeprefix("/topshelf") if proxy.files is not None else self.path
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        proxy.seen.append(Seen(self.command, path, headers, body))
        fault = proxy.faults.popleft() if proxy.faults else None
        if fault is None or fault.passes_on:
            kept = {name: value for name, value in headers.items() if name not in {"host", "connection"}}
            if proxy.key:
                kept["authorization"] = f"Bearer {proxy.key}"
            answer = httpx.request(self.command, proxy.endpoint + path, content=body, headers=kept, timeout=30)
            if fault is None:
                proxy.statuses.append(answer.status_code)
                self._answer(answer.status_code, dict(answer.headers), answer.content)
                return
        if fault.status:
            page = b"<html>the gateway is sorry</html>"
            proxy.statuses.append(fault.status)
            self._answer(fault.status, {"content-type": "text/html"}, page)
            return
        proxy.statuses.append(0)
        if fault.lines:
            self.send_response(answer.status_code)
            self.send_header("content-type", answer.headers["content-type"])
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(b"".join(answer.content.splitlines(keepends=True)[: fault.lines]))
        self.close_connection = True

    do_GET = do_POST = do_DELETE = _any  # noqa: N815  as http.server names them

    def _file(self, files: Path) -> None:
        path = files / self.path.partition("?")[0].lstrip("/")
        if path.is_file():
            content_type = guess_type(path.name)[0] or "application/octet-stream"
            self._answer(200, {"content-type": content_type}, path.read_bytes())
        else:
            self._answer(404, {"content-type": "text/html"}, b"<html>no such page</html>")

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name not in {"content-length", "transfer-encoding", "date", "server"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):  # of a caller that left
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def proxied(port: int, *, key: str = "", files: Path | None = None) -> Iterator[Proxy]:
    """Run a proxy before the endpoint at a port, on a port of its own, until the block ends.

    With `files`, it serves that folder, and passes on what is asked for under `/topshelf/`.
    """
    proxy = Proxy(f"http://127.0.0.1:{port}", key, files)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    proxy.address = f"http://127.0.0.1:{server.server_address[1]}" + ("/topshelf" if files is not None else "")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
