"""Pages of other sites: which may read shelves and send events from a browser, and which may not."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serving.api.cors import OriginError, origins_of
from tests.serving.running import Server, publish_night, serving
from tests.serving.servers import need

SHOP, OTHER = "https://shop.example", "https://evil.example"
READ = ["/recommendations?user_id=user-1", "/items/item-00005/similar", "/items/a%2Fb/similar"]
READ += ["/shared/recommendations", "/shared/pages/homepage"]
EVENT = {"event_id": "e1", "user_id": "u", "item_id": "item-00001", "event_type": "view"}
OPERATORS = [("GET", "/metrics"), ("POST", "/items"), ("GET", "/users/user-1/trace"), ("DELETE", "/users/user-9")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("cors")
    publish_night(folder, "2026-01-01")
    with serving(folder, "--cors-origins", f"{SHOP}, https://www.shop.example", keyed=True) as server:
        yield server


def preflight(client: httpx.Client, path: str, origin: str, method: str = "GET") -> httpx.Response:
    asked = {"access-control-request-method": method, "access-control-request-headers": "authorization,content-type"}
    return client.options(path, headers={"origin": origin, **asked})


def cors_headers(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize(
    ("path", "method"), [(READ[0], "GET"), (READ[0], "POST"), (READ[1], "GET"), ("/events", "POST")]
)
def test_a_preflight_of_a_named_origin_is_allowed_without_a_key_and_kept_for_two_hours(
    shop: Server, path: str, method: str
) -> None:
    with shop.client() as browser:
        answer = preflight(browser, path, "https://www.shop.example", method)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://www.shop.example"
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
    assert answer.headers["access-control-max-age"] == "7200"
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "http://shop.example", f"{SHOP}:8443", f"{SHOP}.evil.example", "*"]
)
def test_another_origin_gets_no_leave_neither_before_a_request_nor_with_its_answer(shop: Server, origin: str) -> None:
    with shop.client() as browser:
        assert not cors_headers(preflight(browser, READ[0], origin))
    answer = shop.http.get(READ[0], headers={"origin": origin})
    assert not cors_headers(answer)
    assert "Origin" in answer.headers.get_list("vary", split_commas=True)


@pytest.mark.parametrize("path", READ)
def test_answers_say_which_origin_may_read_them_and_vary_by_it(shop: Server, path: str) -> None:
    for headers in ({"origin": SHOP}, {}):
        answer = shop.http.get(path, headers=headers)
        assert answer.headers.get("access-control-allow-origin") == headers.get("origin")
        assert "Origin" in answer.headers.get_list("vary", split_commas=True)
        assert "access-control-allow-credentials" not in answer.headers
        if answer.status_code == 200:
            assert "Accept-Language" in answer.headers.get_list("vary", split_commas=True)


def test_bodies_and_events_of_a_named_origin_are_answered_and_refusals_can_be_read(shop: Server) -> None:
    with shop.client("events", origin=SHOP) as page:
        sent = page.post("/events", json=EVENT)
        assert sent.status_code == 202
    posted = shop.http.post("/recommendations", json={"limit": 2}, headers={"origin": SHOP})
    with shop.client(origin=SHOP) as nobody:
        refusals = [nobody.get(READ[0]), nobody.get(READ[1]), nobody.post("/events", json=EVENT)]
    assert [answer.status_code for answer in refusals] == [401, 401, 401]
    for answer in (sent, posted, *refusals):
        assert answer.headers["access-control-allow-origin"] == SHOP


@pytest.mark.parametrize(("method", "path"), OPERATORS)
def test_routes_that_are_not_for_browsers_say_nothing_of_origins(shop: Server, method: str, path: str) -> None:
    with shop.client() as browser:
        answer = preflight(browser, path, SHOP, method)
    answers = [answer, shop.admin.request(method, path, headers={"origin": SHOP})]
    assert not any(cors_headers(answer) or "Origin" in answer.headers.get("vary", "") for answer in answers)


def test_without_the_setting_no_answer_says_anything_of_origins(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        for answer in (preflight(server.http, READ[0], SHOP), server.http.get(READ[0], headers={"origin": SHOP})):
            assert not cors_headers(answer)
            assert "Origin" not in answer.headers.get("vary", "")


def test_while_there_is_no_key_pages_of_named_origins_may_send_what_browsers_may_and_nothing_else(
    tmp_path: Path,
) -> None:
    publish_night(tmp_path, "2026-01-01")
    local = "http://localhost:3000"
    with serving(tmp_path, "--cors-origins", local) as server:
        page = {"origin": local, "sec-fetch-site": "cross-site"}
        assert server.http.post("/recommendations", json={}, headers=page).status_code == 200
        assert server.http.post("/events", json=EVENT, headers=page).status_code == 202
        assert server.http.post("/items", json=[], headers=page).status_code == 403
        assert server.http.delete("/users/user-1", headers=page).status_code == 403
        other = {"origin": "http://localhost:4000", "sec-fetch-site": "cross-site"}
        assert server.http.post("/events", json=EVENT, headers=other).status_code == 403
        elsewhere = {"host": "shop.example", **page}
        assert server.http.get("/recommendations", headers=elsewhere).status_code == 403


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        (" ", ()),
        ("https://shop.example", ("https://shop.example",)),
        (
            "https://a.example, http://localhost:3000,https://a.example",
            ("https://a.example", "http://localhost:3000"),
        ),
        ("http://[::1]:8080,capacitor://localhost", ("http://[::1]:8080", "capacitor://localhost")),
    ],
)
def test_origins_are_written_with_commas_between(text: str, origins: tuple[str, ...]) -> None:
    assert origins_of(text) == origins


@pytest.mark.parametrize(
    "text",
    ["*", "https://*.shop.example", "null", "shop.example", "https://shop.example/", "https://shop.example/app",
     "https://Shop.example", "https://shop.example:443", "http://shop.example:80", "https://shöp.example",
     "https://a.example,", "https://a.example https://b.example", "https://user@shop.example", "//shop.example"],
)  # fmt: skip
def test_what_no_browser_sends_as_an_origin_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(OriginError, match=r"write https://shop\.example|name each origin"):
        origins_of(text)


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """A site of its own origin that has one empty page; yields its origin."""
    (folder / "index.html").write_text("<!doctype html><title>shop</title>")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


CALL = """async ([path, key, body]) => {
  const sent = body ? {method: "POST", body: JSON.stringify(body)} : {};
  const headers = {authorization: `Bearer ${key}`, ...(body ? {"content-type": "application/json"} : {})};
  try { const answer = await fetch(path, {...sent, headers}); return [answer.status, await answer.text()]; }
  catch (error) { return [0, String(error)]; }
}"""


@pytest.mark.slow
def test_a_page_in_a_browser_reads_shelves_and_sends_events_where_its_origin_is_named(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = need("chromium", "apt-get install chromium")
    publish_night(tmp_path, "2026-01-01")
    for name in ("named", "other"):
        (tmp_path / name).mkdir()
    with (
        site(tmp_path / "named") as named,
        site(tmp_path / "other") as other,
        serving(tmp_path, "--cors-origins", named, keyed=True) as server,
        playwright.sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        base, read, events = f"http://127.0.0.1:{server.port}", server.keys["read"], server.keys["events"]
        calls = [
            (f"{base}/recommendations?user_id=user-1&fields=title", read, None),
            (f"{base}/recommendations", read, {"user_id": "user-1", "limit": 3}),
            (f"{base}/items/item-00005/similar", read, None),
            (f"{base}/events", events, EVENT),
            (f"{base}/items", server.keys["feed"], {"item_id": "item-00001", "stock": 0}),
        ]
        found = {}
        for origin in (named, other):
            page = browser.new_page()
            page.goto(origin)
            found[origin] = [page.evaluate(CALL, list(call)) for call in calls]
        browser.close()
    assert [status for status, _ in found[named]] == [200, 200, 200, 202, 0]
    assert len(json.loads(found[named][0][1])["recommendations"]) == 20
    assert [status for status, _ in found[other]] == [0, 0, 0, 0, 0]
