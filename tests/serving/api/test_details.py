"""Answers with details: each item's source, reason code and fill level."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.api.parameters import from_query
from serving.problems import ProblemError
from serving.shelf.fill_levels import LEVELS
from serving.snapshot.record import REASON_CODES, SOURCES
from tests.serving.running import SOON_S, Server, publish_night, serving, within

PLAIN, DETAILS = ["item_id", "score", "reason"], ["source", "reason_code", "fill_level"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("details")
    publish_night(folder, "2026-01-01")
    with serving(folder) as server:
        yield server


def without_details(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in PLAIN} for row in rows]


def test_details_are_what_a_trace_of_the_same_answer_tells(shop: Server) -> None:
    asked = {"user_id": "user-1", "limit": 100, "actions": "view:item-00007"}  # of several levels
    answer = shop.shelf(**asked, details="true")
    rows = answer["recommendations"]
    assert all([name for name in row if name != "reason_params"] == PLAIN + DETAILS for row in rows)
    traced = shop.http.get(
        "/users/user-1/trace",
        params={"limit": 100, "actions": "view:item-00007", "request_id": answer["request_id"]},
    ).json()["shelf"]
    expected = [(row["item_id"], row["source"], row["fill_level"]) for row in traced]
    assert [(row["item_id"], row["source"], row["fill_level"]) for row in rows] == expected
    assert len({row["fill_level"] for row in rows}) > 2
    for name, vocabulary in (("source", SOURCES), ("reason_code", REASON_CODES), ("fill_level", LEVELS)):
        assert {row[name] for row in rows} <= set(vocabulary)
    of_near = {row["reason_code"] for row in rows if row["fill_level"] == "recent"}
    assert of_near == {"viewed"}


def test_details_change_nothing_else_and_are_there_only_where_they_are_asked_for(shop: Server) -> None:
    query = {"limit": 30, "category": "home"}
    plain, detailed = shop.shelf(**query), shop.shelf(**query, details="true")
    assert all(list(row) == PLAIN for row in plain["recommendations"])
    assert without_details(detailed["recommendations"]) == plain["recommendations"]
    assert detailed.keys() == plain.keys()
    assert all(list(row) == PLAIN for row in shop.shelf(**query, details="false")["recommendations"])
    body = {"limit": 30, "filters": {"category": "home"}, "details": True}
    posted = shop.http.post("/recommendations", json=body).json()["recommendations"]
    assert posted == detailed["recommendations"]


def test_similar_items_have_details_too(shop: Server) -> None:
    plain = shop.http.get("/items/item-00005/similar?limit=30").json()["recommendations"]
    detailed = shop.http.get("/items/item-00005/similar?limit=30&details=true").json()["recommendations"]
    assert without_details(detailed) == plain
    assert {row["fill_level"] for row in detailed} == {"similar", "postings"}


def test_an_answer_with_details_is_an_exposure_like_any_other(shop: Server) -> None:
    answer = shop.shelf(user_id="user-3", limit=8, details="true")
    assert within(SOON_S, lambda: any(row["request_id"] == answer["request_id"] for row in shop.landed("exposures")))
    (row,) = (row for row in shop.landed("exposures") if row["request_id"] == answer["request_id"])
    shown = answer["recommendations"]
    assert row["item_ids"] == [item["item_id"] for item in shown]
    assert (row["sources"], row["fill_levels"]) == (
        [item["source"] for item in shown],
        [item["fill_level"] for item in shown],
    )


@pytest.mark.parametrize("text", ["", "1", "True", "yes"])
def test_details_are_true_or_false(text: str) -> None:
    with pytest.raises(ProblemError) as refused:
        from_query(f"details={text}".encode())
    assert (refused.value.status, refused.value.parameter) == (400, "details")
