"""Requests that nobody sane would send: none of them may end in a fault of ours."""

import random
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fuzz.openapi import ROUTES, ask
from tests.serving.running import Server, publish_night, serving

REQUESTS = 10_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("malformed")
    publish_night(folder, "2026-01-01")
    with serving(folder, keyed=True) as server:
        yield server


NAMES = [
    "user_id",
    "limit",
    "category",
    "price_min",
    "price_max",
    "page",
    "device",
    "location",
    "region",
    "age_band",
    "exclude",
    "categories",
    "actions",
    "arms",
    "nonsense",
    "",
    "limit[]",
    "user_id%00",
]
VALUES = [
    "",
    "0",
    "-1",
    "1e9",
    "9" * 40,
    "NaN",
    "Infinity",
    "-0",
    "\u0661",
    "%FF",
    "%",
    "%zz",
    "%00",
    "%C3%28",
    "'",
    '"',
    "\\",
    "../..",
    "a" * 300,
    "✓" * 90,
    "null",
    "{}",
    "[]",
    "1.234567",
    "0x10",
    "view:",
    ":",
    "view:item-00001,",
    ",,,",
    "view:x" * 50,
    "true",
    "%F0%9F%98%80",
    "%ED%A0%80",
    "20",
    "user-1",
    "home/kitchen",
]
BODIES = [
    "",
    "{",
    "[]",
    "null",
    "1",
    '"x"',
    "{}",
    '{"user_id":1}',
    '{"user_id":"\\ud800"}',
    '{"limit":1e400}',
    "\x00",
    '{"limit":99999999999999999999}',
    '{"filters":{"price_min":"x"}}',
    '{"filters":null}',
    '{"context":[]}',
    '{"exclude":' + "[" * 500,
    "[" * 10_000,
    '{"exclude":["' + "x" * 5_000 + '"]}',
    '{"a":1,"a":2}',
    "\ufeff{}",
    '{"actions":[{"type":"view"}]}',
    '{"actions":[{"type":"x","item_id":"y"}]}',
    '{"item_id":"a","price":-1}',
    '{"item_id":"a","ts":"x"}',
    '{"item_id":"a","price":1e999}',
    '{"item_id":"a","price":1e999999}',
    '{"filters":{"price_min":"sNaN"}}',
    '{"filters":{"price_max":1e999999}}',
    '{"event_id":"a"}',
    "\n\n\n",
    "a\nb\nc",
    '{"item_id":"item-00001","stock":1}',
    '{"limit":5}{"limit":5}',
    '{"user_id":"' + "é" * 200 + '"}',
    '{"user_ids":["user-1","","' + "é" * 200 + '"]}',
    '{"user_ids":{}}',
]
PATHS = [
    "/recommendations",
    "/recommendations/batch",
    "/items",
    "/events",
    "/items/item-00001/similar",
    "/items/%FF/similar",
    "/users/user-1",
    "/users/user-1/trace",
    "/users/%00",
    "/users//",
    "/items/" + "x" * 300 + "/similar",
    "/healthz",
    "/readyz",
    "/metrics",
    "/schema",
    "/schema/openapi.json",
    "/nope",
    "/%",
    "/%zz",
    "/\u00e9",
    "//",
    "/..",
    "*",
]
METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "BREW"]
TYPES = [
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "",
    "é",
    "application/json; charset=utf-7",
    "application/msgpack",
]


def malformed(chance: random.Random, key: str) -> bytes:
    """One request, as bytes."""
    method, path = chance.choice(METHODS), chance.choice(PATHS)
    pairs = [f"{chance.choice(NAMES)}={chance.choice(VALUES)}" for _ in range(chance.randrange(4))]
    body = chance.choice(BODIES).encode("utf-8", "surrogatepass") if chance.random() < 0.6 else b""
    if chance.random() < 0.1:
        body = chance.randbytes(chance.randrange(400))
    headers = [f"Host: {chance.choice(['localhost', '127.0.0.1', 'x' * 200, ''])}", f"Authorization: Bearer {key}"]
    if chance.random() < 0.5:
        headers.append(f"Content-Type: {chance.choice(TYPES)}")
    if chance.random() < 0.2:
        headers.append(f"X-Request-Id: {chance.choice(VALUES)}")
    if chance.random() < 0.1:
        headers += ["X-Filler: " + "y" * 7_000]
    length = len(body) if chance.random() < 0.95 else chance.choice([0, -1, 10**12, "abc"])
    if body or method == "POST":
        headers.append(f"Content-Length: {length}")
    separator = chance.choice(["?", "?", "??", ";"])
    target = path + (separator + "&".join(pairs) if pairs else "")
    head = f"{method} {target} HTTP/1.1\r\n" + "\r\n".join([*headers, "Connection: close", "", ""])
    return head.encode("utf-8") + body


def status_of(port: int, request: bytes) -> int:
    """The answer's status; 0 where the connection was closed, or waits for the rest of a body that never comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4_096)
        except (ConnectionError, TimeoutError):
            return 0
    return int(answer[9:12]) if answer[:5] == b"HTTP/" else 0


def test_ten_thousand_malformed_requests_end_in_no_fault_of_ours(shop: Server) -> None:
    chance, keys = random.Random(20260101), [*shop.keys.values(), "wrong"]
    counts: Counter[int] = Counter()
    for number in range(REQUESTS):
        request = malformed(chance, keys[number % len(keys)])
        status = status_of(shop.port, request)
        counts[status] += 1
        assert status < 500, request
    assert sum(counts[status] for status in (400, 401, 403, 404, 405)) > REQUESTS / 2
    assert counts[200] > 0
    assert shop.http.get("/recommendations?user_id=user-1").status_code == 200
    assert shop.process.poll() is None
    assert "Traceback" not in (shop.folder / "server.log").read_text()


def test_a_body_that_never_comes_or_never_ends_is_refused(shop: Server) -> None:
    head = f"POST /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.keys['feed']}\r\n"
    with socket.create_connection(("127.0.0.1", shop.port), timeout=30) as slow:
        slow.sendall((head + "Content-Length: 100\r\n\r\nabc").encode())
        assert b" 408 " in slow.recv(4_096)
    with shop.client("feed") as client:
        assert client.post("/events", content=b"x" * (9 << 20)).status_code == 413
        assert client.post("/items", content=(b"{}\n" * 4 for _ in range(10_000))).status_code == 413
    with shop.client("read") as client:
        assert client.post("/recommendations", content=b" " * (1 << 20)).status_code == 413


@pytest.mark.slow
@pytest.mark.parametrize("scope", ROUTES)
def test_schemathesis_finds_no_failure_over_the_openapi_document(shop: Server, scope: str) -> None:
    pytest.importorskip("schemathesis")
    with httpx.Client() as client:
        assert client.get(f"http://127.0.0.1:{shop.port}/schema/openapi.json").status_code == 200
    done = ask(shop, scope, "--max-examples", "60", "--seed", "20260101")
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-500:]
