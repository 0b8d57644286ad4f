"""Answers with fields: what each item carries besides its id, score and reason."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.api.parameters import from_body, from_query
from serving.problems import ProblemError
from serving.shelf.item_fields import FIELDS
from tests.serving.running import SOON_S, Server, publish_night, serving, within
from tests.serving.small_shop import items_table

PLAIN, N_ITEMS = ["item_id", "score", "reason"], 100
IN_ANSWER = ("title", "image_url", "brand", "category", "price")
ALL = ",".join(FIELDS)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("fields")
    publish_night(folder, "2026-01-01")
    with serving(folder) as server:
        yield server


def known_fields() -> dict[str, dict[str, Any]]:
    """What the small shop's night knows of each item."""
    known = {}
    for row in items_table(N_ITEMS).to_pylist():
        row["price"] = None if row["price_minor"] is None else row["price_minor"] / 100
        known[row["item_id"]] = {name: row[name] for name in FIELDS if row[name] is not None}
    return known


def test_each_item_carries_the_fields_that_are_known_of_it_and_no_others(shop: Server) -> None:
    known = known_fields()
    rows = shop.shelf(user_id="user-1", limit=N_ITEMS, fields=ALL)["recommendations"]
    for row in rows:
        assert list(row) == ["item_id", *(name for name in IN_ANSWER if name in row), "score", "reason"]
        assert {name: value for name, value in row.items() if name not in PLAIN} == known[row["item_id"]]
    assert {len(row) for row in rows} >= {5, 6, 7, 8}  # some lack a title, a brand, a picture or a price
    titles = shop.shelf(user_id="user-1", limit=N_ITEMS, fields="title")["recommendations"]
    assert all(row.get("title") == known[row["item_id"]].get("title") and len(row) <= 4 for row in titles)


def test_fields_change_nothing_else_and_are_there_only_where_they_are_asked_for(shop: Server) -> None:
    query = {"limit": 30, "category": "home"}
    plain, more = shop.shelf(**query), shop.shelf(**query, fields=ALL)
    assert [{name: row[name] for name in PLAIN} for row in more["recommendations"]] == plain["recommendations"]
    assert more.keys() == plain.keys()
    body = {"limit": 30, "filters": {"category": "home"}, "fields": ["category", *FIELDS[:4]]}
    assert shop.http.post("/recommendations", json=body).json()["recommendations"] == more["recommendations"]


def test_similar_items_have_fields_too_and_details_beside_them(shop: Server) -> None:
    rows = shop.http.get(f"/items/item-00005/similar?limit=30&details=true&fields={ALL}").json()["recommendations"]
    known = known_fields()
    assert all(row["fill_level"] and row.get("title") == known[row["item_id"]].get("title") for row in rows)


def test_the_price_is_the_live_one_as_a_number_with_two_decimals_at_most(shop: Server) -> None:
    assert shop.feed.post("/items", json=[{"item_id": "item-00001", "price": "1234.5"}]).status_code == 202

    def row() -> dict[str, Any]:
        found = shop.shelf(user_id="user-2", limit=N_ITEMS, fields="price")["recommendations"]
        return next(row for row in found if row["item_id"] == "item-00001")

    assert row()["price"] == 1234.5
    for fed, text in (
        ("0", b'"price":0,'),
        ("7.05", b'"price":7.05,'),
        ("9999999999999.99", b'"price":9999999999999.99,'),
    ):
        assert shop.feed.post("/items", json=[{"item_id": "item-00001", "price": fed}]).status_code == 202
        body = shop.http.get("/recommendations?user_id=user-2&limit=100&fields=price").content
        assert text in body[body.index(b"item-00001") :].partition(b"},")[0], fed
    assert shop.feed.post("/items", json=[{"item_id": "item-00001", "price": None}]).status_code == 202
    assert row()["price"] == known_fields()["item-00001"]["price"]


def test_an_answer_with_fields_is_an_exposure_like_any_other_and_its_texts_are_not_logged(shop: Server) -> None:
    answer = shop.shelf(user_id="user-3", limit=8, fields=ALL, details="true")
    plain = shop.shelf(user_id="user-3", limit=8)

    def landed() -> dict[str, dict[str, Any]]:
        return {row["request_id"]: row for row in shop.landed("exposures")}

    ids = {answer["request_id"], plain["request_id"]}
    assert within(SOON_S, lambda: ids <= landed().keys())
    row, other = landed()[answer["request_id"]], landed()[plain["request_id"]]
    assert row["item_ids"] == [item["item_id"] for item in answer["recommendations"]]
    assert row["scores"] == [item["score"] for item in answer["recommendations"]]
    assert row.keys() == other.keys()
    assert "Thing" not in json.dumps(row)


@pytest.mark.parametrize(
    "text", ["", "Title", "title,", "titel", "title, price", "item_id", ",".join([*FIELDS, "title"])]
)
def test_what_is_no_field_is_refused_and_the_fields_are_named(text: str) -> None:
    refusals = []
    for parse, given in ((from_query, f"fields={text}"), (from_body, json.dumps({"fields": text.split(",")}))):
        with pytest.raises(ProblemError) as refused:
            parse(given.replace(" ", "%20" if parse is from_query else " ").encode())
        refusals.append((refused.value.status, refused.value.parameter, str(refused.value), refused.value.remedy))
    assert refusals[0] == refusals[1]
    assert refusals[0][:2] == (400, "fields")
    assert "each field once" in refusals[0][3] or "title, price, image_url, brand, category" in refusals[0][3]


def test_fields_are_taken_once_and_in_one_order_however_they_are_named() -> None:
    assert from_query(b"fields=price,title,price").fields == ("title", "price")
    assert from_query(b"limit=3").fields == from_body(b'{"fields":[]}').fields == ()
