"""Attacks on a running endpoint, and a clock that a test steps."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.serving.running import Server
from tests.serving.servers import need

_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")  # Debian's libfaketime


def open_idle(server: Server, connections: ExitStack, count: int) -> None:
    """Open connections that send nothing; `connections` closes them."""
    for _ in range(count):
        connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))


def send_bombs(server: Server, connections: ExitStack) -> None:
    """Send heads of 48 and 160 MB and 50 that never end, and ask for long answers without reading them.

    The endpoint may take 64 MB for all of it, and must answer the slow heads with 408.
    """

    def connect(sent: bytes) -> socket.socket:
        connection = connections.enter_context(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(sent)
        return connection

    memory_before = _resident_bytes(server.process.pid)
    key = f"Authorization: Bearer {server.keys['read']}\r\n".encode()
    for _ in range(20):
        connect((b"GET /schema/openapi.json HTTP/1.1\r\nHost: localhost\r\n" + key + b"\r\n") * 30)
    slow = [connect(b"GET /recommendations HTTP/1.1\r\nHost: local") for _ in range(50)]
    for bomb in (b"a: b\r\n" * 8_000_000, b"a: " + b"x" * (160 << 20)):
        with suppress(ConnectionError):
            connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + bomb)
    assert all(b" 408 " in connection.recv(4_096) for connection in slow)
    assert _resident_bytes(server.process.pid) - memory_before < 64 << 20


def _resident_bytes(pid: int) -> int:
    """The memory of a process that is resident now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def stepped_clock(folder: Path) -> Iterator[Callable[[float], None]]:
    """Give servers that are started in the block a wall clock of their own; yield what steps it.

    It takes the seconds by which the clock is then ahead of the machine's. Monotonic time is left alone.
    """
    need(_FAKETIME)
    offset = folder / "clock"

    def step(seconds: float) -> None:
        new = offset.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.replace(offset)

    step(0)
    settings = {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",  # the file is read at every call
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        yield step
