"""The TypeScript client in Chromium: a shop's page shows a shelf, and its clicks arrive."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.api.keys import create
from tests.clients.examples import ROOT, examples
from tests.clients.proxy import proxied
from tests.clients.typescript.package import copied
from tests.e2e.airflow_pages import CHROMIUM
from tests.serving.running import SOON_S, publish_night, serving, within
from tests.serving.servers import need

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the shop's server has: its page, and both packages as they come, without a bundler."""
    package = copied(tmp_path_factory.mktemp("typescript") / "package")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(package / "dist", folder / "topshelf-client")
    shutil.copytree(package / "node_modules" / "openapi-fetch" / "dist", folder / "openapi-fetch")
    (folder / "products").mkdir()
    (folder / "empty.html").write_text(
        '<script type="importmap">{"imports": {"topshelf-client": "/topshelf-client/index.js", '
        '"openapi-fetch": "/openapi-fetch/index.mjs"}}</script>'
    )
    return folder


@contextmanager
def browser_page() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or need("chromium", "apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(CHROMIUM))
        page = browser.new_page()
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def test_a_page_of_another_origin_shows_a_shelf_and_a_click_that_leaves_it_arrives(
    files: Path, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    (example,) = examples(ROOT / "docs/clients.md", "html")
    with proxied(0, files=files) as shop:
        origin = shop.address.removesuffix("/topshelf")
        with serving(tmp_path, "--cors-origins", origin, keyed=True) as server, browser_page() as page:
            told = {
                "https://recommend.shop.example": f"http://127.0.0.1:{server.port}",
                "READ_KEY": server.keys["read"],
                "EVENTS_KEY": server.keys["events"],
            }
            for placeholder, value in told.items():
                assert placeholder in example
                example = example.replace(placeholder, value)
            (files / "shop.html").write_text(f"<!doctype html><meta charset=utf-8>{example}")
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"{origin}/shop.html")
            rows = page.locator("#shelf li a")
            rows.nth(4).wait_for()
            assert rows.count() == 5
            clicked = rows.nth(1).get_attribute("href").removeprefix("/products/")
            rows.nth(1).click()
            page.wait_for_url("**/products/*")
            assert within(SOON_S, lambda: len(server.landed("events")) == 1)
            (event,) = server.landed("events")
            assert (event["item_id"], event["event_type"], event["position"]) == (clicked, "click", 1)
            assert within(SOON_S, lambda: len(server.landed("exposures")) == 1)
            assert event["request_id"] == server.landed("exposures")[0]["request_id"]
            assert errors == []


IN_PAGE = """
async () => {
  const { ProblemError, NoAnswerError, Topshelf } = await import("topshelf-client");
  const topshelf = new Topshelf({ baseUrl: "/topshelf" });
  const caught = async (call) => { try { await call } catch (error) { return error } };
  const users = [];
  const user_ids = Array.from({ length: 1200 }, (_, number) => `user-${number}`);
  for await (const line of topshelf.recommendBatch({ user_ids, limit: 1 })) users.push(line.user_id);
  const problem = await caught(topshelf.recommend({ limit: 0 }));
  const late = new Topshelf({ baseUrl: "http://127.0.0.1:9", attempts: 2, timeoutMs: 500 });
  const leaving = new AbortController();
  const call = topshelf.recommend({}, { signal: leaving.signal });
  leaving.abort(new Error("the shopper left"));
  const page = await topshelf.page("homepage", { user_id: "user-1", limit: 3 }, { language: "de" });
  return {
    users: JSON.stringify(users) === JSON.stringify(user_ids),
    problem: problem instanceof ProblemError && [problem.status, problem.parameter],
    nobody: (await caught(late.recommend())) instanceof NoAnswerError,
    left: (await caught(call)).message,
    page: page.shelves[0].title,
    accepted: (await topshelf.sendItems([{ item_id: "item-00001", stock: 0 }])).accepted,
  };
}
"""


def test_a_page_calls_the_endpoint_through_its_own_server_which_adds_the_key(files: Path, tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server:
        _, key = create(tmp_path / "state" / "keys.json", ("read", "feed"), "proxy", "100000/second")
        with proxied(server.port, key=key, files=files) as shop, browser_page() as page:
            page.goto(f"{shop.address.removesuffix('/topshelf')}/empty.html")
            got = page.evaluate(IN_PAGE)
    assert got == {
        "users": True,
        "problem": [400, "limit"],
        "nobody": True,
        "left": "the shopper left",
        "page": "Für Sie empfohlen",
        "accepted": 1,
    }, json.dumps(got)
