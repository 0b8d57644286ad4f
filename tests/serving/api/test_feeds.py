"""Feeds as shops send them: any form of rows, and a status that tells what became of them."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.running import SOON_S, Server, publish_night, serving, within

GOOD = {"item_id": "item-00001", "stock": 3}
EVENT = {"event_id": "e-1", "user_id": "u", "item_id": "item-00001", "event_type": "view"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("feeds")
    publish_night(folder, "2026-01-01")
    with serving(folder) as server:
        yield server


@pytest.mark.parametrize(("path", "row"), [("/items", GOOD), ("/events", EVENT)])
def test_lines_an_array_an_object_and_gzip_are_all_taken(shop: Server, path: str, row: dict[str, object]) -> None:
    lines, json_type = f"{json.dumps(row)}\n{json.dumps(row)}\n".encode(), {"content-type": "application/json"}
    sent = [
        (shop.http.post(path, content=lines), 2),
        (shop.http.post(path, content=lines, headers={"content-type": "application/x-ndjson"}), 2),
        (shop.http.post(path, json=[row, row, row]), 3),
        (shop.http.post(path, json=row), 1),
        (shop.http.post(path, json=[]), 0),
        (shop.http.post(path, content=gzip.compress(lines), headers={"content-encoding": "gzip"}), 2),
        (
            shop.http.post(
                path,
                content=gzip.compress(json.dumps([row]).encode()),
                headers={**json_type, "content-encoding": "gzip"},
            ),
            1,
        ),
    ]
    for answer, accepted in sent:
        assert (answer.status_code, answer.json()) == (202, {"accepted": accepted, "refused": []})


@pytest.mark.parametrize(("path", "good"), [("/items", GOOD), ("/events", EVENT)])
def test_the_status_tells_whether_all_some_or_no_rows_were_accepted(
    shop: Server, path: str, good: dict[str, object]
) -> None:
    unknown = {**good, "pricee": 1}
    some = shop.http.post(path, json=[good, unknown, "a string", good])
    assert (some.status_code, some.json()["accepted"]) == (207, 2)
    assert [row["line"] for row in some.json()["refused"]] == [2, 3]
    assert "unknown field `pricee`" in some.json()["refused"][0]["reason"]
    for body in (json.dumps([unknown, 1]), '"quoted"', json.dumps(unknown), "[" * 5_000, "{"):
        none = shop.http.post(path, content=body, headers={"content-type": "application/json"})
        assert none.status_code == 400
        assert none.headers["content-type"] == "application/problem+json"
        assert none.json()["status"] == 400
    none = shop.http.post(path, content=json.dumps([good]))  # an array sent as lines
    assert (none.status_code, len(none.json()["refused"])) == (400, 1)
    assert shop.http.post(path, content=b"x", headers={"content-encoding": "br"}).status_code == 415
    assert shop.http.post(path, content=b"x", headers={"content-type": "text/csv"}).status_code == 415
    bomb = gzip.compress(bytes(200 << 20), 1)
    assert shop.http.post(path, content=bomb, headers={"content-encoding": "gzip"}).status_code == 413


def test_the_schema_describes_the_rows_and_what_becomes_of_them(shop: Server) -> None:
    schema = shop.http.get("/schema/openapi.json").json()
    assert schema["paths"]["/items"]["post"]["operationId"] == "send_items"
    rows = schema["components"]["schemas"]
    assert "default" not in rows["Answer"]["properties"]["short"]  # it may be missing from an answer
    assert set(rows["FeedRow"]["properties"]) == {"item_id", "price", "stock", "moderated", "ts"}
    assert rows["FeedRow"]["additionalProperties"] is rows["Event"]["additionalProperties"] is False
    for path, name in (("/items", "FeedRow"), ("/events", "Event")):
        operation = schema["paths"][path]["post"]
        assert set(operation["requestBody"]["content"]) == {"application/json", "application/x-ndjson", "text/plain"}
        array, one = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
        assert array["items"] == one == {"$ref": f"#/components/schemas/{name}"}
        assert set(operation["responses"]) >= {"202", "207", "400", "413", "415"}


def test_a_null_price_or_stock_takes_the_fed_value_back_for_good(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    item = "item-00003"  # 1.03 by the night, which does not count its stock
    asked = {"limit": 100, "price_min": "1.03", "price_max": "1.03"}
    with serving(tmp_path) as server:
        assert server.ids(**asked) == [item]
        server.http.post("/items", json={"item_id": item, "price": 50, "stock": 0, "moderated": True})
        assert server.ids(**asked) == []
        server.http.post("/items", json={"item_id": item, "price": None, "moderated": None})
        assert server.ids(**asked) == []  # the stock was left out, and stays
        server.http.post("/items", json={"item_id": item, "stock": None})
        assert server.ids(**asked) == [item]
    with serving(tmp_path) as server:
        assert server.ids(**asked) == [item]


def test_similar_items_have_no_request_id_as_they_are_not_exposures(shop: Server) -> None:
    answer = shop.http.get("/items/item-00005/similar?limit=5")
    assert list(answer.json()) == ["recommendations", "model_version", "snapshot"]
    short = shop.http.get("/items/item-00005/similar?limit=500&category=toys")
    assert list(short.json()) == ["recommendations", "model_version", "snapshot", "short"]
    assert "x-request-id" not in answer.headers
    asked = shop.shelf(user_id="user-1", limit=1)["request_id"]
    assert within(SOON_S, lambda: any(row["request_id"] == asked for row in shop.landed("exposures")))
    assert {row["limit"] for row in shop.landed("exposures")} <= {1, 20}
