"""Answers that are everybody's: what caches are told, and what a real nginx keeps and does not keep."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.nginx import caching
from tests.serving.running import SOON_S, Server, publish_night, serving, within

SHARED = ("/shared/recommendations?limit=30", "/shared/pages/homepage", "/items/item-00003/similar")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("shared")
    publish_night(folder, "2026-01-01")
    with serving(folder, workers=2, keyed=True) as server:
        yield server


@pytest.mark.parametrize("path", SHARED)
def test_the_same_bytes_and_tag_come_from_every_worker_and_a_known_tag_needs_no_body(shop: Server, path: str) -> None:
    answers = []
    for _ in range(12):
        with shop.client("read") as fresh:
            answers.append(fresh.get(path))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == len({answer.headers["etag"] for answer in answers}) == 1
    tag = answers[0].headers["etag"]
    for header in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = shop.http.get(path, headers={"if-none-match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert shop.http.get(path, headers={"if-none-match": '"x"'}).status_code == 200


@pytest.mark.parametrize("path", SHARED)
def test_caches_are_told_how_long_and_by_what_answers_differ(shop: Server, path: str) -> None:
    headers = shop.http.get(path).headers
    assert headers["cache-control"] == "public, max-age=1, stale-if-error=60"
    assert 0 <= time.time() - int(headers["x-accel-expires"].removeprefix("@")) < SOON_S
    assert headers["vary"] == "Authorization, Accept-Language"
    german = shop.http.get(path, headers={"accept-language": "de"})
    assert german.headers["etag"] != headers["etag"]


def test_they_name_no_request_and_leave_no_exposure(shop: Server) -> None:
    shelf, page = (shop.http.get(path).json() for path in SHARED[:2])
    assert len(shelf["recommendations"]) == 30
    assert "request_id" not in shelf
    assert "request_id" not in page
    assert page["shelves"]
    assert {tuple(of_page) for of_page in page["shelves"]} == {("shelf", "title", "recommendations")}
    shown = shop.shelf(user_id="user-1")["request_id"]
    assert within(SOON_S, lambda: shown in {row["request_id"] for row in shop.landed("exposures")})
    assert {row["limit"] for row in shop.landed("exposures")} == {20}


@pytest.mark.parametrize(
    "personal", ["user_id=user-1", "session_id=s", "actions=view:item-00001", "basket=item-00001"]
)
def test_what_is_one_shopper_s_is_refused(shop: Server, personal: str) -> None:
    for instead in ("/recommendations", "/pages/homepage"):
        refused = shop.http.get(f"/shared{instead}?{personal}")
        assert refused.status_code == 400
        assert refused.json()["parameter"] == personal.partition("=")[0]
        assert instead in refused.json()["remedy"]


def test_unknown_pages_items_and_keys_are_told_as_elsewhere(shop: Server) -> None:
    assert shop.http.get("/shared/pages/nowhere").status_code == 404
    assert httpx.get(f"http://127.0.0.1:{shop.port}/shared/recommendations").status_code == 401
    with shop.client("feed") as other:
        assert other.get("/shared/recommendations").status_code == 403


def test_behind_nginx_most_requests_never_reach_the_endpoint_and_a_sold_out_item_is_soon_gone(
    shop: Server, tmp_path: Path
) -> None:
    with caching(tmp_path / "nginx", shop.port) as port:
        headers = {"authorization": f"Bearer {shop.keys['read']}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            for path in SHARED:
                came = [client.get(path).headers["x-cache"] for _ in range(400)]
                assert came.count("HIT") > len(came) / 4
            item = client.get(SHARED[0]).json()["recommendations"][0]["item_id"]
            assert shop.stock(item, 0) == 202

            def shown() -> list[str]:
                return [row["item_id"] for row in client.get(SHARED[0]).json()["recommendations"]]

            assert within(SOON_S, lambda: item not in shown())
            assert client.get("/recommendations?user_id=user-1").headers.get("x-cache") is None
            assert client.get(SHARED[0]).headers["x-cache"] in {"HIT", "EXPIRED", "MISS", "REVALIDATED"}
        # A cached answer is not for callers without a key, or with one that may not read.
        assert httpx.get(f"http://127.0.0.1:{port}{SHARED[0]}").status_code == 401
        feed = {"authorization": f"Bearer {shop.keys['feed']}"}
        assert httpx.get(f"http://127.0.0.1:{port}{SHARED[0]}", headers=feed).status_code == 403


def test_while_the_endpoint_is_down_nginx_shows_what_it_has(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server, caching(tmp_path / "nginx", server.port) as port:
        path = f"http://127.0.0.1:{port}{SHARED[0]}"
        shown = httpx.get(path).json()
        server.kill()

        def is_stale() -> bool:
            return httpx.get(path).headers.get("x-cache") == "STALE"

        assert within(SOON_S, is_stale)
        assert httpx.get(path).json() == shown
