"""Visitors without an id: their session's events shape the next answer. Each item's neighbours are the next two."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.running import SOON_S, Server, publish_night, serving, within

BESIDE_50 = ["item-00051", "item-00052"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("sessions")
    publish_night(folder, "2026-01-01")
    with serving(folder, "--explore-share", "0", "--perturb-share", "0", workers=2) as server:
        for number in range(49, 60):
            assert server.stock(f"item-{number:05d}", 9) == 202
        assert within(SOON_S, lambda: server.metric("topshelf_item_state_items") >= 11)
        yield server


def looks(shop: Server, item_id: str, kind: str = "view", **ids: str) -> None:
    event = {"event_id": uuid.uuid4().hex, "item_id": item_id, "event_type": kind, **ids}
    assert shop.feed.post("/events", json=event).status_code == 202


def test_what_a_session_looked_at_shapes_its_next_answer_at_every_worker(shop: Server) -> None:
    before = shop.ids(session_id="visit-1", limit=6)
    assert before == shop.ids(limit=6)
    looks(shop, "item-00050", session_id="visit-1")
    callers = [shop.client("read") for _ in range(8)]
    for caller in callers:

        def seen(caller: object = caller) -> list[str]:
            rows = caller.get("/recommendations?session_id=visit-1&limit=6").json()  # type: ignore[attr-defined]
            return [row["item_id"] for row in rows["recommendations"]]

        assert within(SOON_S, lambda seen=seen: seen()[:2] == BESIDE_50)
        assert seen()[2:] == before[:4]
        caller.close()
    posted = shop.http.post("/recommendations", json={"session_id": "visit-1", "limit": 6}).json()
    assert [row["item_id"] for row in posted["recommendations"]] == [*BESIDE_50, *before[:4]]
    assert shop.ids(session_id="visit-2", limit=6) == shop.ids(user_id="visit-1", limit=6) == before


def test_a_shopper_who_signs_in_has_the_sessions_actions_between_their_own_shelf(shop: Server) -> None:
    own = shop.ids(user_id="user-1", limit=4)
    looks(shop, "item-00050", session_id="visit-3")
    assert within(SOON_S, lambda: shop.ids(user_id="user-1", session_id="visit-3", limit=4)[1] == "item-00051")
    assert shop.ids(user_id="user-1", limit=4) == own
    looks(shop, "item-00053", user_id="user-1", session_id="visit-3")
    assert within(SOON_S, lambda: shop.ids(session_id="visit-3", limit=2) == ["item-00054", "item-00051"])
    assert within(SOON_S, lambda: shop.ids(user_id="user-1", limit=4)[1] == "item-00054")


def test_the_exposures_of_a_session_name_no_user(shop: Server) -> None:
    request_id = shop.shelf(session_id="visit-4", limit=3)["request_id"]

    def landed() -> list[object]:
        return [row.get("user_id") for row in shop.landed("exposures") if row["request_id"] == request_id]

    assert within(SOON_S, lambda: landed() == [None])


def test_an_erased_shopper_leaves_nothing_in_the_session_that_they_signed_in_within(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, "--explore-share", "0") as shop:
        before = shop.ids(session_id="visit", limit=6)
        shop.stock("item-00051", 9)
        looks(shop, "item-00050", session_id="visit")
        looks(shop, "item-00050", "click", user_id="anna", session_id="visit")
        assert within(SOON_S, lambda: shop.ids(session_id="visit", limit=6)[0] == "item-00051")
        assert shop.admin.delete("/users/anna").status_code == 200
        assert (
            shop.ids(session_id="visit", limit=6) == shop.ids(user_id="anna", session_id="visit", limit=6) == before
        )
