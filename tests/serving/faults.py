"""Faults on the way to a real server: a connection that is cut or stalls, a DynamoDB that throttles."""

import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Wire:
    """A TCP proxy to a local port that fails after a number of bytes sent to the server."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0  # bytes that reached the server
        self._left: float = float("inf")
        self._silent = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.close()
        self._close_all()

    def fail_after(self, n_bytes: float, *, silently: bool = False) -> None:
        """Cut every connection after `n_bytes` more; `silently` keeps them open and passes nothing on."""
        with self._lock:
            self._left, self._silent = n_bytes, silently

    def heal(self) -> None:
        self.fail_after(float("inf"))
        self._close_all()

    def _close_all(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                if self._left <= 0 and not self._silent:
                    inner.close()
                    continue
                outer = socket.create_connection(("127.0.0.1", self._to_port))
                self._open |= {inner, outer}
                threading.Thread(target=self._pump, args=(inner, outer, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(outer, inner, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, inward: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 14):
                with self._lock:
                    if inward:
                        self._left -= len(data)
                    broken = self._left <= 0
                if broken and self._silent:
                    continue
                if broken:
                    break
                self.sent += len(data) if inward else 0
                target.sendall(data)
        if not (self._silent and self._left <= 0):
            for connection in (source, target):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()


class Throttle:
    """An HTTP proxy to DynamoDB Local: refuses a share of the requests, and takes half of a share of batch writes."""

    def __init__(self, to_port: int, share: float) -> None:
        self.share, self.refused, self.in_part = share, 0, 0
        self._chance, self._to_port = random.Random(20260101), to_port

    @contextmanager
    def listening(self) -> Iterator[int]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner.answer(self)

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, request: Any) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        kept_back: dict[str, Any] = {}
        if self._chance.random() < self.share:
            if not request.headers["X-Amz-Target"].endswith("BatchWriteItem"):
                self.refused += 1
                error = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
                self._reply(request, 400, json.dumps({"__type": error, "message": "slow down"}).encode())
                return
            batch = json.loads(body)
            tables = batch["RequestItems"].items()
            kept_back = {table: items[len(items) // 2 :] for table, items in tables}
            batch["RequestItems"] = {table: items[: len(items) // 2] for table, items in tables if len(items) > 1}
            body = json.dumps(batch).encode()
            self.in_part += 1
            if not batch["RequestItems"]:
                self._reply(request, 200, json.dumps({"UnprocessedItems": kept_back}).encode())
                return
        forward = HTTPConnection("127.0.0.1", self._to_port)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in {"content-length", "host"}}
        forward.request("POST", "/", body, headers)
        answer = forward.getresponse()
        data = answer.read()
        forward.close()
        if kept_back:
            data = json.dumps(json.loads(data) | {"UnprocessedItems": kept_back}).encode()
        self._reply(request, answer.status, data)

    @staticmethod
    def _reply(request: Any, status: int, data: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/x-amz-json-1.0")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)
