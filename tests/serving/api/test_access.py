"""Who gets in: keys, scopes, rates, and the tricks that were tried against them."""

import concurrent.futures
import os
import socket
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.api.keys import SCOPES, KeyRing, KeysError, create, create_into, read_keys, revoke
from tests.serving.running import SOON_S, Server, publish_night, serving, within
from tests.serving.servers import redis_server

SHELF, SIMILAR = "/recommendations", "/items/item-00005/similar"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("gate")
    publish_night(folder, "2026-01-01")
    with serving(folder, keyed=True, workers=2) as server:
        yield server


ROUTES = [
    ("GET", SHELF, "read"), ("POST", SHELF, "read"), ("POST", f"{SHELF}/batch", "read"), ("GET", SIMILAR, "read"),
    ("GET", "/pages", "read"), ("GET", "/pages/homepage", "read"),
    ("POST", "/items", "feed"), ("POST", "/events", "events"),
    ("GET", "/users/user-1/trace", "admin"), ("DELETE", "/users/user-59", "admin"), ("GET", "/metrics", "metrics"),
]  # fmt: skip


INCLUDED = {("admin", "read"), ("feed", "events"), ("admin", "metrics"), ("feed", "metrics")}


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_route_takes_a_key_of_its_scope_or_of_one_that_includes_it(
    shop: Server, method: str, path: str, scope: str
) -> None:
    content = {SHELF: b"{}", f"{SHELF}/batch": b'{"user_ids":["user-1"]}'}.get(path, b"")
    for held in SCOPES:
        with shop.client(held) as client:
            status = client.request(method, path, content=content if method == "POST" else None).status_code
        may = held == scope or (held, scope) in INCLUDED
        assert (status < 300) == may, (held, status)
        assert may or status == 403
    with shop.client() as nobody:
        answer = nobody.request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_health_is_open(shop: Server) -> None:
    with shop.client() as nobody:
        assert nobody.get("/healthz").status_code == nobody.get("/readyz").status_code == 200


def test_no_route_but_health_and_the_schema_answers_nobody(shop: Server) -> None:
    paths = shop.http.get("/schema/openapi.json").json()["paths"]
    with shop.client() as nobody:
        for path, methods in paths.items():
            for method in methods:
                filled = path.replace("{item_id}", "item-00001").replace("{user_id}", "user-1")
                status = nobody.request(method.upper(), filled).status_code
                assert status == 401 or path in {"/healthz", "/readyz"}, (method, path, status)


def _raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        connection.settimeout(2)
        answer = b""
        try:
            while block := connection.recv(65536):
                answer += block
                if b"\r\n\r\n" in answer and b"Content-Length" not in answer[:20]:
                    break
        except TimeoutError:
            pass
        return answer


TRICKS = {
    "an empty bearer": ["Authorization: Bearer "],
    "another scheme": ["Authorization: Basic {key}"],
    "the key without a scheme": ["Authorization: {key}"],
    "a key cut by one": ["Authorization: Bearer {cut}"],
    "a key with a letter more": ["Authorization: Bearer {key}x"],
    "a key in other letters": ["Authorization: Bearer {swapped}"],
    "the stored hash for the key": ["Authorization: Bearer {sha256}"],
    "two headers, the first wrong": ["Authorization: Bearer no", "Authorization: Bearer {key}"],
    "another header": ["X-Api-Key: {key}", "Proxy-Authorization: Bearer {key}"],
    "a cookie": ["Cookie: Authorization=Bearer {key}"],
    "headers of a proxy": ["X-Forwarded-For: 127.0.0.1", "X-Original-URL: /healthz", "X-Rewrite-URL: /healthz"],
    "an override of the method": ["X-HTTP-Method-Override: HEAD"],
    "a folded header": ["Authorization:", " Bearer {key}"],
    "a name with a space": ["Authorization : Bearer {key}"],
    "zero bytes": ["Authorization: Bearer \0{key}"],
    "tabs": ["Authorization:\tBearer\t{key}"],
}


@pytest.mark.parametrize("trick", TRICKS)
def test_header_tricks_get_no_shelf(shop: Server, trick: str) -> None:
    key = shop.keys["read"]
    sha256 = read_keys(shop.folder / "state" / "keys.json").keys[0].sha256
    lines = [line.format(key=key, cut=key[:-1], swapped=key.swapcase(), sha256=sha256) for line in TRICKS[trick]]
    request = "\r\n".join([f"GET {SHELF}?user_id=user-1 HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()
    answer = _raw(shop.port, request)
    assert b'recommendations":[' not in answer, answer[:200]
    assert answer[9:12] in {b"401", b"400", b""}, answer[:200]


@pytest.mark.parametrize(
    "target",
    ["/Recommendations", "//recommendations", "/recommendations/", "/./recommendations", "/recommendations%00",
     "/healthz%2f..%2frecommendations", "/recommendations;x", "/healthz/../recommendations", "/%72ecommendations",
     "/recommendations?access_token={key}", "/recommendations?key={key}&user_id=user-1", "/schema/../recommendations",
     "http://localhost/recommendations", "/users/user-1/trace/", "/users/user-1%2Ftrace", "/readyz?/recommendations",
     "/items/..%2f..%2frecommendations/similar", "/metrics/", "/items//similar"],
)  # fmt: skip
def test_path_and_query_tricks_get_no_data(shop: Server, target: str) -> None:
    target = target.format(key=shop.keys["read"])
    answer = _raw(shop.port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert b"item_id" not in answer, answer
    assert b"topshelf_" not in answer
    assert b"user-1" not in answer
    assert answer[9:10] != b"5", answer


OPEN = [("GET", "/healthz", "read"), ("GET", "/schema/openapi.json", "read")]


def _variants(path: str) -> Iterator[str]:
    """The path with each of its slashes doubled, and with one or two at its end."""
    places = [place for place, letter in enumerate(path) if letter == "/"]
    yield from (f"{path[:place]}/{path[place:]}" for place in places)
    yield from (f"{path}/", f"{path}//", f"/{path}/")


@pytest.mark.parametrize(("method", "path", "scope"), [*ROUTES, *OPEN])
def test_a_path_with_doubled_or_trailing_slashes_is_no_route(
    shop: Server, method: str, path: str, scope: str
) -> None:
    erased = shop.metric("topshelf_users_erased")
    for target in _variants(path):
        lines = [f"Authorization: Bearer {shop.keys[scope]}", "Host: localhost", "Connection: close"]
        answer = _raw(shop.port, "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode())
        assert answer[9:12] == b"404", (target, answer[:200])
    assert shop.metric("topshelf_users_erased") == erased


def test_methods_that_the_hot_route_does_not_know_get_no_shelf(shop: Server) -> None:
    with shop.client() as nobody:
        for method in ("HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "get", "GET "):
            try:
                answer = nobody.request(method, SHELF)
            except httpx.HTTPError:
                continue
            assert answer.status_code in {204, 400, 401, 405}, method  # OPTIONS says what is allowed
            assert b"item_id" not in answer.content


def test_a_smuggled_second_request_is_judged_by_its_own_headers(shop: Server) -> None:
    inner = f"GET {SHELF} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    outer = (
        f"POST {SHELF} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {shop.keys['read']}\r\n"
        f"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
    )
    answer = _raw(shop.port, outer.encode())
    assert answer.count(b'"recommendations":[') == 0


def test_no_secret_stands_in_logs_answers_or_files(shop: Server) -> None:
    secret = shop.keys["read"]
    with shop.client() as nobody:
        texts = [
            nobody.get(SHELF, headers={"authorization": f"Bearer {secret}x"}).text,
            nobody.get(f"{SHELF}?key={secret}").text,
            shop.feed.get(SHELF).text,
            shop.client("metrics").get("/metrics").text,
            shop.http.post(SHELF, content=secret.encode()).text,
        ]
    assert not any(secret in text for text in texts)
    for path in shop.folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_keys_rotate_with_two_valid_and_a_revoked_one_is_soon_out(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, workers=2) as server:
        keys = tmp_path / "state" / "keys.json"
        old = next(key.id for key in read_keys(keys).keys if key.name == "read")
        assert server.http.get(SHELF).status_code == 200
        _, server.keys["read"] = create(keys, ("read",), "next", "1000/second")
        new = server.client("read")
        assert within(SOON_S, lambda: new.get(SHELF).status_code == 200)
        assert server.http.get(SHELF).status_code == 200
        revoke(keys, old)

        def is_refused() -> bool:
            with httpx.Client(base_url=server.http.base_url, headers=server.http.headers) as fresh:
                return fresh.get(SHELF).status_code == 401

        assert within(SOON_S, lambda: all(is_refused() for _ in range(10)))
        assert new.get(SHELF).status_code == 200
        for key in read_keys(keys).keys:
            if key.revoked is None:
                revoke(keys, key.id)
        assert within(SOON_S, lambda: server.client().get(SHELF).status_code == 401)
        assert within(SOON_S, lambda: new.get(SHELF).status_code == 401)  # all revoked does not mean open
        keys.write_bytes(b"{")
        assert within(SOON_S, lambda: "the keys stay as they were" in (tmp_path / "server.log").read_text())
        assert server.client().get(SHELF).status_code == 401


def test_a_key_is_256_bits_shown_once_and_its_file_is_its_owners_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving", "keys"]
    state = ["--state", str(tmp_path)]
    made = subprocess.run([*command, "create", "--scope", "feed", *state], capture_output=True, text=True, check=True)
    secret = made.stdout.strip()
    assert len(secret) == len("tsk_") + 43
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    listed = subprocess.run([*command, "list", *state], capture_output=True, text=True, check=True).stdout
    assert "feed" in listed
    assert secret not in listed + (tmp_path / "keys.json").read_text()
    with pytest.raises(KeysError, match="holds no valid key"):
        revoke(tmp_path / "keys.json", "k0")
    with pytest.raises(KeysError, match="2000/second"):
        create(tmp_path / "keys.json", ("read",), "", "often")


def test_a_key_for_a_program_is_written_to_a_file_of_its_own_and_once(tmp_path: Path) -> None:
    keys, secret = tmp_path / "keys.json", tmp_path / "metrics"
    command = [sys.executable, "-m", "serving", "keys", "create", "--scope", "metrics", "--to", str(secret)]

    def written() -> str:
        done = subprocess.run([*command, "--keys", str(keys)], capture_output=True, text=True, check=True)
        assert done.stdout == ""
        assert secret.read_text() not in done.stderr
        return secret.read_text()

    first = written()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert written() == first
    (key,) = read_keys(keys).keys
    assert key.scopes == ("metrics",)
    revoke(keys, key.id)
    second = written()  # what the file held was of no use any more
    assert second != first
    assert KeyRing(keys).find(f"Bearer {second}".encode()) is not None


def test_a_key_whose_file_cannot_be_written_is_revoked(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    with pytest.raises(KeysError, match="--to"):
        create_into(tmp_path / "none" / "metrics", keys, ("metrics",), "", "10/second")
    assert [key.revoked is None for key in read_keys(keys).keys] == [False]


def test_without_a_key_it_starts_on_loopback_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving", "serve", "--state", str(tmp_path), "--port", "0"]
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        refused = subprocess.run([*command, "--host", host], capture_output=True, text=True, timeout=30, check=False)
        assert refused.returncode != 0
        assert "topshelf keys create" in refused.stderr


def test_an_open_endpoint_answers_to_no_other_name_and_closes_with_its_first_key(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        assert server.http.get(SHELF).status_code == 200
        assert server.http.get(SHELF, headers={"host": "evil.example"}).status_code == 403
        assert server.http.post("/items", content=b"", headers={"host": "evil.example:80"}).status_code == 403
        create(tmp_path / "state" / "keys.json", ("read",), "", "10/second")
        assert within(SOON_S, lambda: server.http.get(SHELF).status_code == 401)


WRITES = [("POST", "/items"), ("POST", "/events"), ("POST", SHELF), ("DELETE", "/users/user-59")]
OTHER_SITES = {
    "a form of another site": {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    "a page of another port": {"sec-fetch-site": "same-site", "origin": "http://localhost:1"},
    "a page without an origin": {"origin": "null"},
    "an older browser": {"origin": "https://evil.example"},
    "an older browser, a host like ours": {"origin": "http://localhost.evil.example"},
}


def test_an_open_endpoint_takes_nothing_that_a_page_of_another_site_sends(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    sold_out = b'{"item_id": "item-00001", "stock": 0, "ts": "2026-01-01T00:00:00Z"}'
    with serving(tmp_path) as server:
        own = {"origin": f"http://127.0.0.1:{server.port}"}
        for method, path in WRITES:
            content = b"{}" if path == SHELF else sold_out
            for name, headers in OTHER_SITES.items():
                sent = {"content-type": "text/plain", **headers}
                refused = server.http.request(method, path, content=content, headers=sent)
                assert refused.status_code == 403, (name, method, path)
                assert "topshelf keys create" in refused.json()["remedy"]
        assert server.metric("topshelf_items_changed_total") == server.metric("topshelf_users_erased") == 0
        for headers in ({}, own, {**own, "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
            assert server.http.post("/items", content=sold_out, headers=headers).status_code == 202, headers
        assert server.http.get("/metrics", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_a_key_is_admitted_whatever_page_sends_it(shop: Server) -> None:
    for headers in OTHER_SITES.values():
        assert shop.http.post(SHELF, content=b"{}", headers=headers).status_code == 200


def test_the_rate_of_a_key_is_held_by_all_workers_together(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, workers=2, rate="300/day") as server:

        def ask(_: int) -> list[httpx.Response]:
            with server.client("read") as client:
                return [client.get(f"{SHELF}?limit=1") for _ in range(60)]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = [answer for some in pool.map(ask, range(8)) for answer in some]
        counts = Counter(answer.status_code for answer in answers)
        assert 290 <= counts[200] <= 300, counts
        assert counts[200] + counts[429] == 480
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert 0 < int(refused.headers["retry-after"]) <= 24 * 3600
        assert refused.headers["ratelimit-limit"] == "300"
        assert refused.headers["ratelimit-remaining"] == "0"
        assert refused.json()["remedy"].startswith("wait")
        assert server.feed.post("/items", content=b"").status_code == 202  # another key's rate is its own


def test_the_rate_outlasts_the_death_of_a_worker(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, workers=2, rate="100/day") as server:
        spent = sum(server.client("read").get(SHELF).status_code == 200 for _ in range(60))
        killed = set(server.workers())
        for pid in killed:
            os.kill(pid, 9)
        assert within(60, lambda: server.has_replaced(killed))
        left = 0
        for _ in range(60):
            try:
                left += server.client("read").get(SHELF).status_code == 200
            except httpx.TransportError:
                time.sleep(0.2)
        assert 95 <= spent + left <= 100


def test_the_rate_of_a_key_is_held_by_all_hosts_that_share_redis(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    keys = tmp_path / "keys.json"
    _, secret = create(keys, ("read",), "web", "100/day")
    with redis_server(tmp_path / "redis") as (port, _):
        shared = ("--shared", f"redis://127.0.0.1:{port}?namespace=t", "--keys", str(keys))
        store = f"lmdb://{tmp_path}/store"
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        with serving(tmp_path / "a", *shared, store=store) as a, serving(tmp_path / "b", *shared, store=store) as b:
            headers = {"authorization": f"Bearer {secret}"}
            counts = Counter(host.http.get(SHELF, headers=headers).status_code for _ in range(80) for host in (a, b))
    assert counts[200] <= 100
    assert counts[200] >= 98, counts
