"""Batches: many shoppers' shelves in one request, a line each."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from serving.api.answers import Answers
from serving.shelf.request import ShelfRequest
from tests.serving.in_process import started
from tests.serving.running import SOON_S, Server, publish_night, serving, within

BATCH = "/recommendations/batch"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that change nothing another would see."""
    folder: Path = tmp_path_factory.mktemp("batch")
    publish_night(folder, "2026-01-01")
    with serving(folder, "--explore-share", "0", keyed=True) as server:
        yield server


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_each_line_is_the_answer_that_its_user_would_get_alone_in_the_order_of_the_request(shop: Server) -> None:
    users = ["user-7", "user 0 ✓", "nobody", "user-1", "user-7"]
    shared = {
        "limit": 3,
        "fields": ["title", "price"],
        "filters": {"category": "home", "price_max": 1.8},
        "exclude": ["item-00005"],
    }
    lines = lines_of(shop.http.post(BATCH, json={"user_ids": users, **shared}))
    assert [line["user_id"] for line in lines] == users
    for line in lines:
        alone = shop.http.post("/recommendations", json={"user_id": line["user_id"], **shared}).json()
        assert line["recommendations"] == alone["recommendations"]
        assert line["snapshot"] == alone["snapshot"]
    assert len({line["request_id"] for line in lines}) == len(users)


def test_the_lines_of_a_batch_are_in_the_language_that_is_asked_for(shop: Server) -> None:
    spoken = {"accept-language": "de-AT, en;q=0.5"}
    answer = shop.http.post(BATCH, json={"user_ids": ["user-1"]}, headers=spoken)
    alone = shop.http.get("/recommendations?user_id=user-1", headers=spoken).json()
    assert lines_of(answer)[0]["recommendations"] == alone["recommendations"]
    assert answer.headers["content-language"] == "de"


def test_a_batch_for_a_placement_answers_its_shelf(shop: Server) -> None:
    context = {"page": "homepage", "location": "trending"}
    (line,) = lines_of(shop.http.post(BATCH, json={"user_ids": ["user-1"], "limit": 4, "context": context}))
    alone = shop.shelf(user_id="user-1", limit=4, **context)
    assert line["recommendations"] == alone["recommendations"]
    assert line["recommendations"] != shop.shelf(user_id="user-1", limit=4)["recommendations"]


def test_a_thousand_users_are_answered_and_one_more_is_refused(shop: Server) -> None:
    users = [f"user-{number}" for number in range(1_000)]
    lines = lines_of(shop.http.post(BATCH, json={"user_ids": users, "limit": 1}))
    assert [line["user_id"] for line in lines] == users
    for refused in ([*users, "one-more"], []):
        problem = shop.http.post(BATCH, json={"user_ids": refused}).json()
        assert (problem["status"], problem["parameter"]) == (400, "user_ids")


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"user_ids":"a"}', '{"user_ids":[1]}', '{"user_ids":[null]}', '{"user_ids":["a"],"x":1}',
     '{"user_ids":["a"],"limit":0}', '{"user_ids":["a"],"actions":[]}', '{"user_ids":["\\ud800"]}',
     '{"user_ids":["a"],"context":{"page":""}}', '{"user_ids":["a"],"arms":{"x":"y"}}', "[" * 5_000],
)  # fmt: skip
def test_a_body_that_is_wrong_for_all_users_is_refused_whole(shop: Server, body: str) -> None:
    answer = shop.http.post(BATCH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["remedy"]


def test_a_user_id_that_no_shop_has_is_a_problem_on_its_line_and_the_others_are_answered(shop: Server) -> None:
    too_long = "é" * 129
    lines = lines_of(shop.http.post(BATCH, json={"user_ids": ["user-1", "", too_long, "user-2"]}))
    assert [line["user_id"] for line in lines] == ["user-1", "", too_long, "user-2"]
    assert [line.get("status") for line in lines] == [None, 400, 400, None]
    assert all(line["parameter"] == "user_id" and line["remedy"] for line in lines[1:3])
    assert all(len(line["recommendations"]) == 20 for line in (lines[0], lines[3]))


def test_every_line_is_as_the_schema_says(shop: Server) -> None:
    document = shop.http.get("/schema/openapi.json").json()
    content = document["paths"][BATCH]["post"]["responses"]["200"]["content"]["application/x-ndjson"]
    checker = jsonschema.Draft202012Validator({**content["schema"], "components": document["components"]})
    lines = lines_of(shop.http.post(BATCH, json={"user_ids": ["user-1", ""], "details": True}))
    for line in lines:
        checker.validate(line)
    assert not checker.is_valid({"user_id": "user-1"})


def test_a_clients_request_id_stands_before_that_of_each_line(shop: Server) -> None:
    answer = shop.http.post(BATCH, json={"user_ids": ["user-1", "", "user-2"]}, headers={"x-request-id": "mail-7"})
    first, problem, last = lines_of(answer)
    assert first["request_id"].startswith("mail-7.")
    assert last["request_id"].startswith("mail-7.")
    assert problem["request_id"] == "mail-7"


def test_each_line_is_logged_as_an_exposure_and_a_problem_is_not(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        asked = {"user_ids": ["user-1", "", "user-2"], "limit": 4, "context": {"page": "email", "location": "top"}}
        first, _, last = lines_of(server.http.post(BATCH, json=asked))
        assert within(SOON_S, lambda: len(server.landed("exposures")) == 2)
        rows = {row["user_id"]: row for row in server.landed("exposures")}
        for line in (first, last):
            row = rows[line["user_id"]]
            assert (row["request_id"], row["page"], row["location"]) == (line["request_id"], "email", "top")
            assert row["item_ids"] == [item["item_id"] for item in line["recommendations"]]


def test_a_line_takes_a_request_off_the_keys_rate_and_lines_beyond_it_say_when_to_ask_again(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, rate="10/hour") as server:
        users = [f"user-{number}" for number in range(15)]
        lines = lines_of(server.http.post(BATCH, json={"user_ids": users}))
        assert [line["user_id"] for line in lines] == users
        assert ["recommendations" in line for line in lines] == [True] * 10 + [False] * 5
        for line in lines[10:]:
            assert line["status"] == 429
            assert 0 < line["retry_after_s"] <= 3_600
        refused = server.http.post(BATCH, json={"user_ids": ["user-1"]})
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 3_600


def test_a_batch_is_refused_whole_until_a_snapshot_is_loaded(tmp_path: Path) -> None:
    with serving(tmp_path, ready=False) as server:
        assert server.http.post(BATCH, json={"user_ids": ["user-1", "user-2"]}).status_code == 503


def test_a_caller_that_leaves_in_the_middle_of_a_batch_does_no_harm(shop: Server) -> None:
    body = json.dumps({"user_ids": ["user-1"] * 1_000, "limit": 500}).encode()
    head = f"POST {BATCH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.keys['read']}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", shop.port), timeout=10) as caller:
            caller.sendall(head.encode() + body)
            assert b" 200 " in caller.recv(4_096)
    assert shop.ids(user_id="user-1")
    assert "Traceback" not in (shop.folder / "server.log").read_text()


# In this process, where a test can see between two lines ---------------------------------------------------


def test_other_requests_are_answered_between_the_lines_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    recommend: Callable[..., tuple[bytes, str]] = Answers.recommend

    def noted(answers: Answers, request: ShelfRequest, *rest: Any) -> tuple[bytes, str]:
        asked.append(request.user_id)
        return recommend(answers, request, *rest)

    monkeypatch.setattr(Answers, "recommend", noted)

    publish_night(tmp_path, "2026-01-01")

    async def batch_and_singles() -> None:
        async with started(tmp_path) as client:
            batch = asyncio.create_task(client.post(BATCH, json={"user_ids": ["of-batch"] * 1_000}))
            while not batch.done():
                assert (await client.get("/recommendations?user_id=single")).status_code == 200
                await asyncio.sleep(0)
            assert len(lines_of(batch.result())) == 1_000

    asyncio.run(batch_and_singles())
    first, last = asked.index("of-batch"), len(asked) - asked[::-1].index("of-batch")
    assert asked[first:last].count("single") > 100


def test_a_fault_of_ours_is_a_problem_on_its_line_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recommend: Callable[..., tuple[bytes, str]] = Answers.recommend

    def faulty(answers: Answers, request: ShelfRequest, *rest: Any) -> tuple[bytes, str]:
        if request.user_id == "user-2":
            raise ZeroDivisionError
        return recommend(answers, request, *rest)

    monkeypatch.setattr(Answers, "recommend", faulty)

    publish_night(tmp_path, "2026-01-01")

    async def batch() -> list[dict[str, Any]]:
        async with started(tmp_path) as client:
            return lines_of(await client.post(BATCH, json={"user_ids": ["user-1", "user-2", "user-3"]}))

    lines = asyncio.run(batch())
    assert ["recommendations" in line for line in lines] == [True, False, True]
    assert (lines[1]["user_id"], lines[1]["status"], lines[1]["detail"]) == ("user-2", 500, "ZeroDivisionError")
    (logged,) = [record for record in caplog.records if record.name == "serving.api.batch_routes"]
    assert logged.exc_info is not None
