"""Events: each is landed once, heeded at once by every worker, and forgotten when its user is erased."""

import json
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobs.publishing import versions
from serving.logs.events import read_events
from serving.logs.file_log import FileLog
from serving.logs.item_feed import Refusal
from serving.stores import open_store
from tests.serving.running import SOON_S, Server, publish_night, serving, within
from tests.serving.servers import redis_server


def events(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def view(number: int, user_id: str = "user-1", item_id: str = "item-00007", **more: Any) -> dict[str, Any]:
    return {"event_id": f"e-{number}", "user_id": user_id, "item_id": item_id, "event_type": "view", **more}


def actions_of(server: Server, user_id: str = "user-1") -> list[str]:
    """The items of the user's last actions, as the worker that a new connection reaches knows them."""
    with server.client("admin") as fresh:
        trace = fresh.get(f"/users/{user_id}/trace?limit=1").json()
    return [action["item_id"] for action in trace["last_actions"]]


def test_an_event_is_landed_once_however_often_and_wherever_it_is_sent(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, workers=2) as server:
        for _ in range(4):
            with server.client("feed") as fresh:
                sent = fresh.post("/events", content=events(*(view(number) for number in range(50)), view(3)))
            assert (sent.status_code, sent.json()["accepted"]) == (202, 51)
        assert within(SOON_S, lambda: len(server.landed("events")) == 50)
        row = {"event_type": "purchase", "quantity": 2, "unit_price": 12.5, "ts": "2026-01-31T10:00:00+01:00"}
        server.feed.post("/events", content=events(view(99, request_id="r", position=3, **row)))
        assert within(SOON_S, lambda: len(server.landed("events")) == 51)
    landed = server.landed("events")  # the server has landed all that was left
    assert sorted(row["event_id"] for row in landed) == sorted(f"e-{n}" for n in [*range(50), 99])
    assert landed[-1] == {
        "event_id": "e-99", "item_id": "item-00007", "event_type": "purchase", "ts": "2026-01-31T09:00:00.000Z",
        "user_id": "user-1", "quantity": 2, "unit_price": "12.50", "request_id": "r", "position": 3,
    }  # fmt: skip


def test_a_price_paid_is_rounded_as_at_night() -> None:
    rows = [events(view(1, unit_price=12.345)).encode(), events(view(2, unit_price=0.0042)).encode()]
    logged = [json.loads(line) for line in read_events(rows, time.time()) if isinstance(line, bytes)]
    assert [row["unit_price"] for row in logged] == ["12.35", "0.01"]


def test_events_and_exposures_are_landed_once_though_the_lander_is_killed_again_and_again(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server:
        shown: list[str] = []
        for number in range(120):
            server.feed.post("/events", content=events(*(view(number * 10 + n) for n in range(10))))
            shown.append(server.shelf(user_id=f"user-{number % 50}", limit=5)["request_id"])
            if number % 20 == 10:
                killed = server.lander()
                assert killed is not None
                os.kill(killed, 9)
                assert within(SOON_S, lambda killed=killed: server.lander() not in {None, killed})
    landed = [row["event_id"] for row in server.landed("events")]
    assert sorted(landed) == sorted(f"e-{n}" for n in range(1200))
    places = [(row["request_id"], place) for row in server.landed("exposures") for place in row["positions"]]
    assert sorted(places) == sorted((request_id, place) for request_id in shown for place in range(5))


def test_rows_that_are_wrong_are_refused_by_line_and_the_others_are_taken(tmp_path: Path) -> None:
    ahead = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 400))
    wrong = [
        {"user_id": "u", "item_id": "i", "event_type": "view"},  # no event_id
        view(1, event_type="buy"),
        view(2, user_id=None),  # nobody's
        view(3, ts=ahead),
        view(4, quantity=0),
        view(5, position=-1),
        view(6, unit_price="-1"),
        view(12, unit_price="1e999999"),
        view(13, unit_price="sNaN"),
        view(7, surprise=1),
        view(8, item_id="x" * 257),
        view(9, user_id=""),
        view(10, value="1e400"),
        view(11, ts="0001-01-01T00:00:00Z"),
    ]
    lines = [events(row).encode() for row in [view(0), *wrong]] + [b"nonsense", b"[]", b" "]
    rows = list(read_events(lines, time.time()))
    assert [row.line for row in rows if isinstance(row, Refusal)] == list(range(2, 2 + len(wrong) + 2))
    assert isinstance(rows[0], bytes)


def test_last_actions_count_at_every_worker_within_a_second_and_after_a_restart(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, workers=2) as server:
        before = server.ids(user_id="user-1", limit=20)
        sent = [view(n, item_id=item) for n, item in enumerate(before[:3])]
        server.feed.post("/events", content=events(*sent))
        assert within(SOON_S, lambda: all(actions_of(server) == before[:3][::-1] for _ in range(12)))
        after = server.ids(user_id="user-1", limit=20)
        assert after != before
    with serving(tmp_path, keyed=True) as server:
        assert actions_of(server) == before[:3][::-1]


def test_a_visit_shapes_no_shoppers_shelf_until_its_events_are_sent_again_with_their_id(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server:
        before = server.ids(user_id="user-1", limit=20)
        visit = [view(n, user_id=None, session_id="s-1", item_id=item) for n, item in enumerate(before[:3])]
        assert server.feed.post("/events", json=visit).status_code == 202
        server.feed.post("/events", json=[view(9, user_id="user-2")])
        assert within(SOON_S, lambda: actions_of(server, "user-2") == ["item-00007"])  # so the visit was read too
        assert actions_of(server) == []
        assert server.ids(user_id="user-1", limit=20) == before
        server.feed.post("/events", json=[{**event, "user_id": "user-1"} for event in visit])
        assert within(SOON_S, lambda: actions_of(server) == before[:3][::-1])
        assert server.ids(user_id="user-1", limit=20) != before
    landed = [(row["event_id"], row.get("user_id")) for row in server.landed("events")]
    assert landed == [("e-0", None), ("e-1", None), ("e-2", None), ("e-9", "user-2")]


def test_actions_sent_with_the_request_count_without_being_posted(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        before = server.ids(user_id="user-1", limit=10)
        seen = ",".join(f"purchase:{item}" for item in before[:2])
        got = server.ids(user_id="user-1", limit=10, actions=seen)
        assert not set(before[:2]) & set(got)
        asked = {
            "user_id": "user-1",
            "limit": 10,
            "actions": [{"type": "purchase", "item_id": i} for i in before[:2]],
        }
        posted = server.http.post("/recommendations", json=asked).json()["recommendations"]
        assert not set(before[:2]) & {row["item_id"] for row in posted}
        assert server.http.get("/recommendations?actions=stole:item-00001").json()["parameter"] == "actions"


def test_an_erased_user_gets_nothing_personal_from_any_worker_ever_again(tmp_path: Path) -> None:
    first = publish_night(tmp_path, "2026-01-01", seed=1)
    second = publish_night(tmp_path, "2026-01-02", seed=2)

    def is_new(server: Server) -> bool:
        trace = server.admin.get("/users/user-1/trace?limit=20").json()
        return trace["erased"] and not trace["known"] and not trace["candidates"] and not trace["last_actions"]

    with serving(tmp_path, keyed=True, workers=2) as server:
        own = server.ids(user_id="user-1")
        stranger = server.ids(user_id="nobody", region="DE", age_band="18-24")
        server.feed.post("/events", content=events(view(1)))
        everywhere = {
            "erased": True,
            "everywhere": True,
            "landed": True,
        }  # on a busy machine perhaps only the second time
        assert within(SOON_S, lambda: server.admin.delete("/users/user-1").json() == everywhere)
        for _ in range(12):  # at once, whichever worker answers
            with server.client("read") as fresh:
                got = fresh.get("/recommendations?user_id=user-1&region=DE&age_band=18-24").json()
            assert [row["item_id"] for row in got["recommendations"]] == stranger != own
        assert is_new(server)
        with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
            versions.rollback(store)
            assert within(SOON_S, lambda: server.shelf()["snapshot"] == first)
            assert is_new(server)
            versions.promote(store, second)
        server.feed.post("/events", content=events(view(2, item_id="item-00009")))  # a new user
        assert within(SOON_S, lambda: actions_of(server) == ["item-00009"])
    with serving(tmp_path, keyed=True) as server:
        assert actions_of(server) == ["item-00009"]
        assert server.admin.get("/users/user-1/trace").json()["erased"]
        publish_night(tmp_path, "2026-01-03", seed=3)  # a night that did not read the tombstone
        assert within(SOON_S, lambda: server.shelf()["snapshot"].startswith("2026-01-03"))
        assert not server.admin.get("/users/user-1/trace").json()["known"]
        later = {"erasures_until": "2099-01-01T00:00:00Z"}
        publish_night(tmp_path, "2026-01-04", seed=4, metrics=later)  # one that did
        assert within(SOON_S, lambda: server.admin.get("/users/user-1/trace").json()["known"])


def test_a_tombstone_keeps_no_id(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        for user_id in ("user-1", "user%200%20%E2%9C%93", "a%2Fb", "never-seen"):
            assert server.http.delete(f"/users/{user_id}").status_code == 200
    lines = [
        line for path in (tmp_path / "landing/tombstones").glob("*.jsonl") for line in path.read_text().splitlines()
    ]
    assert [set(json.loads(line)) for line in lines] == [{"user_sha256", "erased_at"}] * 4
    assert not any(name in line for line in lines for name in ("user-1", "✓", "a/b", "never"))


def test_hosts_that_share_redis_see_each_others_items_actions_and_erasures(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    store = f"lmdb://{tmp_path}/store"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with redis_server(tmp_path / "redis") as (port, redis):
        shared = ("--shared", f"redis://127.0.0.1:{port}?namespace=t")
        with serving(tmp_path / "a", *shared, store=store) as a, serving(tmp_path / "b", *shared, store=store) as b:
            gone = a.ids(user_id="user-1")[0]
            assert a.http.post("/items", content=json.dumps({"item_id": gone, "stock": 0})).status_code == 202
            assert within(SOON_S, lambda: gone not in b.ids(user_id="user-1", limit=100))
            b.http.post("/events", content=events(view(1)))
            assert within(SOON_S, lambda: actions_of(a) == ["item-00007"])
            assert a.http.delete("/users/user-2").status_code == 200
            assert within(SOON_S, lambda: b.http.get("/users/user-2/trace").json()["erased"])
            assert within(SOON_S, lambda: len(b.landed("events")) == 1)
            assert a.landed("events") == []  # each host lands what it took
        (tmp_path / "c").mkdir()
        with serving(tmp_path / "c", *shared, store=store) as c:  # a new host replays before it is ready
            assert gone not in c.ids(user_id="user-1", limit=100)
            assert c.http.get("/users/user-2/trace").json()["erased"]
            redis.kill()
            assert c.http.post("/items", content=json.dumps({"item_id": gone, "stock": 3})).status_code == 503
            assert within(SOON_S, lambda: "item_state_stale" in c.shelf(user_id="user-1").get("degraded", []))
            assert gone not in c.ids(user_id="user-1", limit=100)
        (tmp_path / "d").mkdir()
        with serving(tmp_path / "d", *shared, store=store, ready=False) as d:
            assert d.http.get("/readyz").status_code == 503
            assert "Redis" in d.http.get("/readyz").json()["trouble"]


def test_a_reader_that_is_behind_a_fold_and_a_drop_misses_nothing(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "x", segment_bytes=100)
    reader, read = log.reader(), b""
    for number in range(40):
        log.append(b"%03d xxxxxxxxxxxxxxxxxxxx\n" % number)
        if number == 20:
            read += reader.read()
            log.fold(lambda whole: b"folded %d\n" % whole.count(b"\n"), min_bytes=1)
    while block := reader.read():
        read += block
    assert [line for line in read.splitlines() if line[:3].isdigit()][-19:] == [
        b"%03d xxxxxxxxxxxxxxxxxxxx" % number for number in range(21, 40)
    ]
    fresh, got = log.reader(), b""
    while block := fresh.read():
        got += block
    assert got.splitlines()[0] == b"folded 21"
    assert len(got.splitlines()) == 20


@pytest.mark.parametrize("torn", [b"", b"half a li", b"whole\nhalf"])
def test_lines_appended_after_a_torn_one_are_all_read(tmp_path: Path, torn: bytes) -> None:
    log = FileLog(tmp_path, "x")
    log.append(b"one\n")
    with log.path(1).open("ab") as file:
        file.write(torn)
    reader = log.reader()
    first = reader.read()
    log.append(b"two\n")
    assert (first + reader.read()).splitlines() == [b"one", *([b"whole"] if b"\n" in torn else []), b"two"]
