from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.running import SOON_S, Server, publish_night, serving, within

PLACEMENTS = """\
homepage:
  - {shelf: because_you_viewed, limit: 2, least: 2, name: seed}
  - {shelf: for_you, limit: 4}
  - {shelf: trending, limit: 5, title: "Hot: {category}", in: category}
  - {shelf: recently_viewed, limit: 5}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("pages")
    publish_night(folder, "2026-01-01", explores=True)
    (folder / "placements.yaml").write_text(PLACEMENTS)
    options = ("--perturb-share", "0", "--placements", str(folder / "placements.yaml"))
    with serving(folder, *options, keyed=True) as server:
        yield server


def page(server: Server, name: str = "homepage", **parameters: str | int) -> dict[str, Any]:
    answer = server.http.get(f"/pages/{name}", params=parameters)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_page_answers_all_its_shelves_and_says_how_each_is_called(server: Server) -> None:
    answer = page(server, user_id="stranger", category="home", actions="view:item-00051")
    assert answer["page"] == "homepage"
    shelves = {shelf["shelf"]: shelf for shelf in answer["shelves"]}
    assert list(shelves) == ["seed", "for_you", "trending", "recently_viewed"]
    titles = [shelf["title"] for shelf in answer["shelves"]]
    assert titles == ["Because you viewed Thing № 51", "Recommended for you", "Hot: home", "Recently viewed"]
    assert len(shelves["for_you"]["recommendations"]) == 4
    shown = [row["item_id"] for shelf in answer["shelves"] for row in shelf["recommendations"]]
    assert len(shown) == len(set(shown))
    assert answer["snapshot"].startswith("2026-01-01")
    assert "degraded" not in answer


def test_a_page_carries_fields_and_details_and_a_longest_length(server: Server) -> None:
    answer = page(server, user_id="user-1", limit=3, fields="title,price", details="true")
    rows = [row for shelf in answer["shelves"] for row in shelf["recommendations"]]
    assert max(len(shelf["recommendations"]) for shelf in answer["shelves"]) == 3
    assert any({"title", "price", "source", "reason_code", "fill_level"} <= set(row) for row in rows)


def test_every_shelf_is_logged_with_its_page_row_and_an_id_of_its_own(server: Server) -> None:
    answer = page(server, user_id="user-4", actions="view:item-00051", device="phone")
    by_id = {shelf["request_id"]: (row, shelf) for row, shelf in enumerate(answer["shelves"])}
    assert all(request_id.endswith(f".{answer['request_id']}") for request_id in by_id)

    def logged() -> list[dict[str, Any]]:
        return [row for row in server.landed("exposures") if row["request_id"] in by_id]

    assert within(SOON_S, lambda: len(logged()) == len(by_id))
    for landed in logged():
        row, shelf = by_id[landed["request_id"]]
        assert (landed["page"], landed["shelf"], landed["row"]) == ("homepage", shelf["shelf"], row)
        assert landed["item_ids"] == [item["item_id"] for item in shelf["recommendations"]]
        assert landed["positions"] == list(range(len(landed["item_ids"])))
        assert landed["device"] == "phone"


def test_page_and_location_name_one_shelf_of_recommendations(server: Server) -> None:
    asked = {"user_id": "user-1", "page": "homepage", "actions": "view:item-00051", "limit": 2}
    assert server.ids(**asked, location="seed") == ["item-00052", "item-00053"]
    usual = server.ids(user_id="user-1", limit=2, actions="view:item-00051")
    assert server.ids(**asked, location="for_you") != server.ids(**asked, location="seed")
    assert server.ids(**asked, location="nowhere")[:1] == usual[:1]
    shelf = server.shelf(**{**asked, "actions": "view:item-00000"}, location="recently_viewed")
    assert within(SOON_S, lambda: any(row["request_id"] == shelf["request_id"] for row in server.landed("exposures")))
    (row,) = [row for row in server.landed("exposures") if row["request_id"] == shelf["request_id"]]
    assert "row" not in row


def test_an_erased_shopper_has_no_list_of_their_own_on_a_page(server: Server) -> None:
    assert server.admin.delete("/users/user-7").status_code == 200
    answer = page(server, user_id="user-7")
    assert [shelf["shelf"] for shelf in answer["shelves"]] == ["for_you", "trending"]


def test_a_page_that_is_not_there_names_those_that_are(server: Server) -> None:
    problem = server.http.get("/pages/basket")
    assert problem.status_code == 404
    assert "homepage" in problem.json()["remedy"]
    assert server.http.get("/pages/homepage?limit=0").status_code == 400
    assert server.http.get("/pages/homepage?basket=" + ",".join(["x"] * 101)).status_code == 400
    assert server.client().get("/pages/homepage").status_code == 401


def test_the_pages_in_force_are_told_and_a_changed_file_soon_counts(server: Server) -> None:
    def told() -> dict[str, list[str]]:
        return {
            plan["page"]: [shelf["name"] for shelf in plan["shelves"]] for plan in server.http.get("/pages").json()
        }

    assert told() == {"homepage": ["seed", "for_you", "trending", "recently_viewed"]}
    file = server.folder / "placements.yaml"
    file.write_text(PLACEMENTS + "email:\n  - {shelf: for_you, limit: 3}\n")
    assert within(SOON_S, lambda: "email" in told())
    file.write_text("email: 3\n")
    assert within(SOON_S, lambda: "placements" in server.http.get("/readyz").json().get("trouble", ""))
    assert "email" in told()
    file.write_text(PLACEMENTS)
    assert within(SOON_S, lambda: "email" not in told())
    assert within(SOON_S, lambda: server.http.get("/readyz").json().get("trouble", "") == "")
