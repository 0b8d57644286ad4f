"""The endpoint as apps call it: a real process on a free port."""

import asyncio
import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from html import escape
from pathlib import Path

import httpx
import pytest

from jobs.publishing import versions
from jobs.publishing.publish import publish
from serving.api.app import build
from serving.settings import EndpointSettings
from serving.stores import open_store
from tests.serving.running import SOON_S, Server, publish_night, serving, within
from tests.serving.servers import redis_server
from tests.serving.small_shop import item_ids, night


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that change nothing another would see."""
    folder: Path = tmp_path_factory.mktemp("shop")
    publish_night(folder, "2026-01-01")
    with serving(folder) as server:
        yield server


def test_an_answer_has_its_items_reasons_versions_and_request_id(shop: Server) -> None:
    answer = shop.shelf(user_id="user-1", limit=5)
    assert list(answer) == ["recommendations", "request_id", "model_version", "snapshot"]
    assert len(answer["recommendations"]) == 5
    assert list(answer["recommendations"][0]) == ["item_id", "score", "reason"]
    assert answer["model_version"] == "model-0"
    assert answer["snapshot"].startswith("2026-01-01-")
    assert len(answer["request_id"]) == 32


def test_a_clients_request_id_is_honoured_where_it_is_fit_for_a_log(shop: Server) -> None:
    def asked(request_id: str) -> str:
        answer = shop.http.get("/recommendations", headers={"x-request-id": request_id})
        return str(answer.json()["request_id"])

    assert asked("abc-123").startswith("abc-123.")
    assert not asked("a" * 129).startswith("a" * 129)
    assert not asked("x y").startswith("x y")


def test_get_and_post_answer_alike(shop: Server) -> None:
    parameters = {"user_id": "user-1", "limit": 7, "category": "home", "price_max": "1.80"}
    parameters |= {"exclude": "item-00005,item-00006"}
    got = shop.shelf(**parameters)
    asked = {
        "user_id": "user-1",
        "limit": 7,
        "filters": {"category": "home", "price_max": 1.80},
        "exclude": ["item-00005", "item-00006"],
        "context": {"page": "homepage", "device": "mobile", "location": "top"},
    }
    posted = shop.http.post("/recommendations", json=asked)
    assert posted.status_code == 200
    assert posted.json()["recommendations"] == got["recommendations"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"), ("limit=501", "limit"), ("limit=-1", "limit"), ("limit=ten", "limit"),
        ("limit=%D9%A3", "limit"), ("limit=1e1", "limit"), ("limit=", "limit"), ("price_min=-1", "price_min"),
        ("price_max=NaN", "price_max"), ("price_max=inf", "price_max"), ("price_max=1e999", "price_max"),
        ("price_min=5&price_max=4", "price_min"), ("user_id=", "user_id"), ("user_id=" + "x" * 257, "user_id"),
        ("limit=3&limit=4", "limit"), ("limitt=3", "limitt"), ("category=", "category"),
        ("exclude=" + "a," * 1_200, "exclude"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_parameter_and_the_remedy(shop: Server, query: str, parameter: str) -> None:
    answer = shop.http.get(f"/recommendations?{query}")
    problem = answer.json()
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["parameter"], problem["status"]) == (parameter, 400)
    assert problem["remedy"]


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{", '{"limit":"5"}', '{"limit":1e400}', '{"surprise":1}', '{"user_id":"\\ud800"}', '{"limit":5}' * 2,
     '{"filters":{"price_max":"abc"}}', "\x00", '{"exclude":[1]}', "[" * 5_000, '{"user_id":"\udcff"}',
     '{"x":"\udcff"}', "\udcff"],
)  # fmt: skip
def test_a_body_that_is_not_understood_is_a_400_and_no_fault_of_ours(shop: Server, body: str) -> None:
    answer = shop.http.post(
        "/recommendations",
        content=body.encode(errors="surrogateescape"),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("raw", ["user_id=%FF", "user_id=%00", "a" * 9_000, "user_id=%F0%9F%98%80", "&&&==", "=%zz"])
def test_odd_queries_never_end_in_a_fault_of_ours(shop: Server, raw: str) -> None:
    assert shop.http.get(f"/recommendations?{raw}").status_code < 500


def test_ids_with_spaces_quotes_and_signs_are_served_their_own_shelf(shop: Server) -> None:
    own = shop.ids(user_id="user 0 ✓", limit=20)
    assert own != shop.ids(user_id="user-1", limit=20)
    assert own != shop.ids(user_id="nobody", limit=20)


def test_an_answer_that_is_short_says_so(shop: Server) -> None:
    answer = shop.shelf(limit=100, category="home/garden", price_max="1.30")
    assert 0 < len(answer["recommendations"]) < 100
    assert answer["short"] == f"the catalogue has {len(answer['recommendations'])} such items now"
    assert shop.shelf(category="nowhere")["recommendations"] == []


def test_the_schema_names_every_parameter(shop: Server) -> None:
    schema = shop.http.get("/schema/openapi.json").json()
    named = {parameter["name"] for parameter in schema["paths"]["/recommendations"]["get"]["parameters"]}
    assert named >= {"user_id", "limit", "category", "price_min", "price_max", "page", "device", "location", "region"}
    assert set(schema["paths"]) >= {"/items", "/healthz", "/readyz"}


def test_the_page_of_the_schema_lists_every_operation_and_loads_nothing(shop: Server) -> None:
    answer = shop.http.get("/schema")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert 'href="schema/openapi.json"' in answer.text
    for path, item in shop.http.get("/schema/openapi.json").json()["paths"].items():
        for method, operation in item.items():
            assert f"<code>{method.upper()} {path}</code>" in answer.text
            assert escape(operation["summary"]) in answer.text
    for loading in ("<script", "<link", "<img", "<iframe", "@import", "url(", "://"):
        assert loading not in answer.text
    for page in ("swagger", "redoc", "elements", "rapidoc", "oauth2-redirect.html"):
        assert shop.http.get(f"/schema/{page}").status_code == 404


def test_an_application_that_is_built_leaves_logging_to_its_process(tmp_path: Path) -> None:
    loggers = [logging.getLogger(name) for name in ("", "litestar")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    build(EndpointSettings(f"lmdb://{tmp_path}/store", f"{tmp_path}/landing", tmp_path, tmp_path / "keys.json"))
    assert [(logger.level, list(logger.handlers)) for logger in loggers] == before


@pytest.mark.parametrize("path", ["/schema", "/schema/openapi.json"])
def test_the_schema_is_made_once(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"store": f"lmdb://{tmp_path}/store", "landing": str(tmp_path), "keys": tmp_path / "keys.json"}
    application = build(EndpointSettings(state=tmp_path, **places))
    made = []
    monkeypatch.setattr("litestar.openapi.plugins.encode_json", lambda *_, **__: made.append(1) or b"{}")
    monkeypatch.setattr("serving.api.schema_pages.operations_page", lambda _: made.append(1) or "page")

    async def get() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [await client.get(path) for _ in range(3)]

    answers = asyncio.run(get())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(made) == 1


def test_metrics_are_in_the_text_format_of_prometheus(shop: Server) -> None:
    assert shop.http.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    before = shop.metric("topshelf_requests_total", status="200")
    shown = sum(len(shop.ids(user_id="user-1", limit=5)) for _ in range(3))
    assert shown == 15
    assert shop.metric("topshelf_requests_total", status="200") >= before + 3
    assert shop.metric("topshelf_items_shown_total", level="user") >= 15
    assert shop.metric("topshelf_seconds_count", component="request") >= 3
    assert shop.metric("topshelf_workers") == 1


def test_an_unknown_path_or_method_is_a_problem_document(shop: Server) -> None:
    assert shop.http.get("/nope").json()["status"] == 404
    assert shop.http.delete("/recommendations").json()["status"] == 405


def test_head_is_answered_like_get_without_a_body_where_nothing_is_shown(shop: Server) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/schema/openapi.json"):
        head, got = shop.http.head(path), shop.http.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        assert "HEAD" in shop.http.options(path).headers["allow"]
    assert shop.http.head("/recommendations").status_code == 405
    assert shop.http.head("/nope").status_code == 404


def test_every_answer_is_logged_with_what_it_was_filled_from(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        asked = {"page": "homepage", "device": "mobile", "location": "top", "category": "home"}
        asked |= {"price_max": "1.9", "region": "DE"}
        answer = server.shelf(user_id="user-1", limit=40, **asked)
        assert within(SOON_S, lambda: bool(server.landed("exposures")))
        (row,) = server.landed("exposures")
    (file,) = (tmp_path / "landing/exposures").glob("ds=*/*.jsonl.gz")
    shown = answer["recommendations"]
    assert row["item_ids"] == [item["item_id"] for item in shown]
    assert row["scores"] == [item["score"] for item in shown]
    assert row["positions"] == list(range(len(shown)))
    assert file.parent.name == f"ds={row['ts'][:10]}"
    assert (row["slot_types"][0], row["fill_levels"][0]) == ("ranked", "user")
    assert set(row["fill_levels"]) >= {"user", "segment", "price_band"}
    assert set(row["slot_types"]) == {"ranked", "fill"}
    assert json.loads(row["filters"]) == {"category": "home", "price_max": "1.90"}
    assert row["request_id"] == answer["request_id"]
    assert (row["page"], row["device"], row["location"], row["limit"]) == ("homepage", "mobile", "top", 40)
    assert (row["snapshot"], row["model_version"]) == (answer["snapshot"], answer["model_version"])
    assert (row["overlay"], row["arms"], set(row["propensities"])) == (None, {}, {1.0})
    assert all(price <= 190 for price in row["prices_minor"])
    assert all(count > 0 for count in row["eligible_counts"])
    assert {len(of_item) for of_item in row.values() if isinstance(of_item, list)} == {len(shown)}


def test_exposures_of_an_ended_process_are_all_written(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        shown = sum(len(server.ids(user_id=f"user-{n}", limit=10)) for n in range(50))
    assert sum(len(row["item_ids"]) for row in server.landed("exposures")) == shown == 500


def test_price_and_stock_are_respected_at_once_by_every_worker_and_after_a_restart(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, workers=2) as server:
        first, second, *_ = server.ids(user_id="user-1", limit=5)
        rows = [{"item_id": first, "stock": 0}, {"item_id": second, "price": "9999.99"}]
        answer = server.http.post("/items", content="\n".join(json.dumps(row) for row in rows))
        assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "refused": []})

        def shows_neither() -> bool:
            with server.client() as fresh:  # a new connection may reach the other worker
                got = fresh.get("/recommendations?user_id=user-1&limit=100&price_max=9000").json()
            return not {first, second} & {row["item_id"] for row in got["recommendations"]}

        assert within(SOON_S, lambda: all(shows_neither() for _ in range(40)))
    with serving(tmp_path) as server:
        assert first not in server.ids(user_id="user-1", limit=100)
        assert second in server.ids(user_id="user-1", limit=100, price_min="9999.99")
        server.http.post("/items", content=json.dumps({"item_id": first, "stock": 3}))
        assert first in server.ids(user_id="user-1", limit=100)


def test_feed_rows_that_are_wrong_are_refused_by_line_and_the_others_are_taken(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        ahead = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 400))
        good = server.ids(user_id="user-1", limit=1)[0]
        lines = [
            json.dumps({"item_id": good, "stock": 0}),
            json.dumps({"item_id": good, "stock": 5, "ts": ahead}),
            json.dumps({"item_id": good, "stock": 2**31}),
            json.dumps({"item_id": "", "stock": 1}),
            json.dumps({"stock": 1}),
            json.dumps({"item_id": good, "price": "NaN"}),
            "not json",
        ]
        answer = server.http.post("/items", content="\n".join(lines)).json()
        assert answer["accepted"] == 1
        assert [row["line"] for row in answer["refused"]] == [2, 3, 4, 5, 6, 7]
        assert "ahead" in answer["refused"][0]["reason"]
        assert good not in server.ids(user_id="user-1", limit=100)
        too_many = server.http.post("/items", content=b'{"item_id":"a"}\n' * 10_001)
        assert too_many.status_code == 413


def test_a_new_snapshot_a_rollback_and_a_promotion_are_soon_served(tmp_path: Path) -> None:
    first = publish_night(tmp_path, "2026-01-01", seed=1)
    with serving(tmp_path) as server, closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        assert server.shelf()["snapshot"] == first
        second = publish_night(tmp_path, "2026-01-02", seed=2)
        assert within(SOON_S, lambda: server.shelf()["snapshot"] == second)
        versions.rollback(store)
        assert within(SOON_S, lambda: server.shelf()["snapshot"] == first)
        versions.promote(store, second)
        assert within(SOON_S, lambda: server.shelf()["snapshot"] == second)


def test_live_state_outlasts_a_swap(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01", seed=1)
    with serving(tmp_path) as server:
        gone = item_ids(100)[1]
        server.http.post("/items", content=json.dumps({"item_id": gone, "stock": 0}))
        second = publish_night(tmp_path, "2026-01-02", seed=2, n_items=120)
        assert within(SOON_S, lambda: server.shelf()["snapshot"] == second)
        assert gone not in server.ids(limit=120)


def test_swaps_under_load_fail_no_request_and_mix_no_versions(tmp_path: Path) -> None:
    names = [publish_night(tmp_path, "2026-01-01", seed=1), publish_night(tmp_path, "2026-01-02", seed=2)]
    with serving(tmp_path) as server, closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        expected, faults, answered = {}, list[str](), [0]
        for name in (names[1], names[0]):
            versions.promote(store, name)
            assert within(SOON_S, lambda name=name: server.shelf()["snapshot"] == name)
            expected[name] = server.ids(user_id="user-1", limit=10)
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=server.http.base_url) as http:
                while not stop.is_set():
                    answer = http.get("/recommendations?user_id=user-1&limit=10")
                    body = answer.json()
                    got = [row["item_id"] for row in body.get("recommendations", [])]
                    if answer.status_code != 200 or got != expected[body["snapshot"]]:
                        faults.append(answer.text)
                    answered[0] += 1

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                versions.promote(store, names[number % 2])
                assert within(SOON_S, lambda number=number: server.shelf()["snapshot"] == names[number % 2])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert faults == []
    assert answered[0] > 200


def test_before_any_snapshot_it_is_alive_and_not_ready_and_says_what_to_do(tmp_path: Path) -> None:
    with serving(tmp_path, ready=False) as server:
        assert server.http.get("/healthz").status_code == 200
        assert server.http.get("/readyz").status_code == 503
        answer = server.http.get("/recommendations?user_id=user-1")
        assert answer.status_code == 503
        assert "publish" in answer.json()["remedy"]
        publish_night(tmp_path, "2026-01-01")
        assert within(SOON_S, lambda: server.http.get("/readyz").status_code == 200)
        assert len(server.ids(user_id="user-1")) == 20


def test_a_pointer_or_a_snapshot_that_cannot_be_read_leaves_the_one_before_in_place(tmp_path: Path) -> None:
    first = publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        pointer = tmp_path / "store" / "pointer.json"
        good = pointer.read_bytes()
        pointer.write_bytes(b"{")
        assert within(SOON_S, lambda: server.shelf().get("degraded") == ["snapshot_stale"])
        assert server.shelf()["snapshot"] == first
        assert server.http.get("/readyz").status_code == 200
        pointer.write_bytes(good)
        assert within(SOON_S, lambda: "degraded" not in server.shelf())
        broken = tmp_path / "store" / "versions" / publish_night(tmp_path, "2026-01-02", seed=2)
        assert within(SOON_S, lambda: server.shelf()["snapshot"] != first)
        with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
            versions.rollback(store)
            assert within(SOON_S, lambda: server.shelf()["snapshot"] == first)
            assert within(SOON_S, lambda: not server.holds_open(broken / "shards"))  # they are cut now
            shard = broken / "shards" / "00000.mdb"
            shard.chmod(0o644)
            shard.write_bytes(shard.read_bytes()[:5000])
            versions.promote(store, broken.name)
        assert within(SOON_S, lambda: server.shelf().get("degraded") == ["snapshot_stale"])
        assert server.shelf()["snapshot"] == first
        assert len(server.ids(user_id="user-1")) == 20


def test_a_worker_ends_without_an_error_on_sigterm(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(10)
        assert "Traceback" not in (tmp_path / "server.log").read_text()


def test_while_redis_is_stalled_and_after_it_died_answers_are_full_and_say_so(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as (port, redis):
        url = f"redis://127.0.0.1:{port}?namespace=shop&timeout=1"
        with closing(open_store(url)) as store:
            publish(night("2026-01-01"), store)
        with serving(tmp_path, store=url) as server:
            own = server.ids(user_id="user-1")
            assert own != server.ids(user_id="stranger")
            redis.send_signal(signal.SIGSTOP)
            for _ in range(20):
                answer = server.shelf(user_id="user-2")
                assert len(answer["recommendations"]) == 20
                assert "store_unavailable" in answer["degraded"]
            assert server.ids(user_id="user-1") == own  # a hot shelf is at hand
            redis.send_signal(signal.SIGCONT)
            assert within(SOON_S, lambda: "degraded" not in server.shelf(user_id="user-3"))
            redis.kill()
            answer = server.shelf(user_id="user-4")
            assert len(answer["recommendations"]) == 20
            assert "store_unavailable" in answer["degraded"]
