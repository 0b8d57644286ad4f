"""Which language an answer is in, by the caller's `Accept-Language`, and what an answer in it holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.accept_language import LanguageChoice, matching_tags
from serving.shelf.languages import built_in_languages, category_name
from tests.serving.running import SOON_S, Server, publish_night, serving, within
from tests.serving.small_shop import items_table

KNOWN = frozenset({"en", "de", "fr", "es", "ru", "pt-br"})


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("de", ["de"]),
        ("DE-at", ["de"]),
        ("de-AT, en;q=0.5", ["de", "en"]),
        ("en;q=0.5,de-CH;q=0.9, fr;q=0.7", ["de", "fr", "en"]),
        ("fr;q=0.7,de;q=0.7", ["fr", "de"]),  # as the caller orders them
        ("zh-Hant-TW, pt-BR;q=0.4", ["pt-br"]),
        ("pt-BR-x-shop", ["pt-br"]),
        ("pt", []),
        ("*", []),
        ("*, de;q=0.1", ["de"]),
        ("de;q=0, en;q=0.1", ["en"]),
        ("de;q=0, de-AT", []),
        ("fr;q=0.000", []),
        (" de ; q=0.5 ,\tfr", ["fr", "de"]),
        ("de;Q=1.000", ["de"]),
        ("", []),
        (",,de,", ["de"]),
        ("de;q=2, de_AT, d€, ger man, toolongtag, de;level=1, fr;q=0.1234, fr;q=, es;q=1.", ["es"]),
    ],
)
def test_ranges_are_tried_by_their_quality_and_what_is_none_is_passed_over(header: str, tags: list[str]) -> None:
    assert matching_tags(header, KNOWN) == tags


@given(st.binary(max_size=300))
def test_whatever_the_header_there_is_a_language(header: bytes) -> None:
    assert LanguageChoice(built_in_languages()).of(header).tag in KNOWN


def test_headers_that_are_kept_have_a_bound() -> None:
    choice = LanguageChoice(built_in_languages())
    for number in range(3_000):
        assert choice.of(b"de;q=0.%d" % number).tag == ("de" if 0 < number < 1_000 else "en")
        assert choice.of(b"de-" + b"x" * 8 + b",fr" * 50).tag == "de"
        assert len(choice._kept) <= 1_024
    assert all(len(header) <= 128 for header in choice._kept)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("languages")
    publish_night(folder, "2026-01-01")
    messages = folder / "messages"
    messages.mkdir()
    (messages / "en.toml").write_text('[reason]\nbought = "Goes with what you have"\n')
    with serving(folder, "--messages", str(messages)) as server:
        yield server


def rows(shop: Server, language: str, **query: str | int) -> list[dict[str, Any]]:
    answer = shop.http.get("/recommendations", params=query, headers={"accept-language": language})
    assert answer.status_code == 200
    tag = language.partition("-")[0]
    assert (answer.headers["content-language"], answer.headers["vary"]) == (tag, "Accept-Language")
    return list(answer.json()["recommendations"])


def test_reasons_are_in_the_callers_language_and_everything_else_is_the_same(shop: Server) -> None:
    english = rows(shop, "en", user_id="user-1", limit=100, details="true")
    texts = built_in_languages()
    for tag in ("de-AT", "fr", "es", "ru"):
        language = texts.by_tag[tag[:2]]
        answer = rows(shop, tag, user_id="user-1", limit=100, details="true")
        for row, other in zip(answer, english, strict=True):
            name = next(iter(row.get("reason_params", {}).values()), "")
            assert row["reason"] == language.reason(row["reason_code"], name)
            assert {**row, "reason": ""} == {**other, "reason": ""}


def test_a_reason_is_told_as_code_and_parameters_even_where_the_shops_text_leaves_the_name_out(shop: Server) -> None:
    items = {row["item_id"]: row for row in items_table(100).to_pylist()}
    titles = {row["title"] for row in items.values()}
    found = set()
    for row in rows(shop, "en", user_id="user-1", limit=100, details="true"):
        code, params = row["reason_code"], row.get("reason_params")
        if code in ("trending", "popular_in_category", "new_item"):
            path = items[row["item_id"]]["category"]
            assert params == (None if path is None else {"category": category_name(path)})
        elif code in ("bought", "viewed", "carted", "rated"):
            assert params is None or (list(params) == ["item"] and params["item"] in titles)
        else:
            assert params is None
        if code == "bought" and params:
            assert row["reason"] == "Goes with what you have"
        found.add((code, params is not None))
    assert {("bought", True), ("viewed", True), ("trending", True), ("popular", False)} <= found


def test_bodies_and_similar_items_are_in_the_callers_language_too(shop: Server) -> None:
    headers = {"accept-language": "ru-RU,ru;q=0.9"}
    posted = shop.http.post("/recommendations", json={"user_id": "user-1", "limit": 5}, headers=headers)
    similar = shop.http.get("/items/item-00005/similar?limit=2", headers=headers)
    assert similar.json()["recommendations"][0]["reason"] == "Потому что вы смотрели «Thing № 5»"
    for answer in (posted, similar):
        assert answer.headers["content-language"] == "ru"
        assert "Accept-Language" in answer.headers["vary"].split(", ")
    assert [row["reason"] for row in posted.json()["recommendations"]] == [
        row["reason"] for row in rows(shop, "ru", user_id="user-1", limit=5)
    ]


def test_english_is_for_those_who_say_nothing_or_nothing_that_is_known(shop: Server) -> None:
    plain = shop.http.get("/recommendations?user_id=user-1", headers={"accept-language": ""})
    dutch = shop.http.get("/recommendations?user_id=user-1", headers={"accept-language": "nl"})
    assert plain.headers["content-language"] == dutch.headers["content-language"] == "en"
    assert plain.json()["recommendations"] == dutch.json()["recommendations"]


def test_two_headers_count_as_one_and_an_exposure_is_the_same_in_every_language(shop: Server) -> None:
    headers = [("accept-language", "nl"), ("accept-language", "de")]
    answer = shop.http.get("/recommendations?user_id=user-2&limit=4", headers=headers)
    assert answer.headers["content-language"] == "de"
    body = answer.json()
    assert within(SOON_S, lambda: any(row["request_id"] == body["request_id"] for row in shop.landed("exposures")))
    (row,) = (row for row in shop.landed("exposures") if row["request_id"] == body["request_id"])
    assert row["item_ids"] == [item["item_id"] for item in body["recommendations"]]
