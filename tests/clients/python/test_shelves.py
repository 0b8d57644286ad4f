"""The Python client reads shelves, batches and similar items from a running endpoint."""

from decimal import Decimal
from typing import Any

import pytest

from tests.clients.proxy import CUT_ANSWER, LOST_REQUEST, proxied
from tests.clients.python.conftest import MakeClient
from tests.serving.running import Server, publish_night, serving
from topshelf_client import (
    ActionKind,
    Answer,
    BatchAnswer,
    BatchProblem,
    Client,
    NoAnswerError,
    NotFoundError,
    RateLimitedError,
)


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def reader(client: MakeClient, shop: Server, **options: Any) -> Any:
    return client(address(shop), shop.keys["read"], **options)


def ids(answer: Any) -> list[str]:
    return [row.item_id for row in answer.recommendations]


def test_a_shelf_is_that_of_the_endpoint_with_what_was_asked_for(client: MakeClient, shop: Server) -> None:
    wanted = shop.shelf(user_id="user-1", limit=5, fields="title,price,category", details="true")
    answer = reader(client, shop).recommend(
        "user-1", limit=5, fields=["title", "price", "category"], details=True, exclude=None, page="homepage"
    )
    assert isinstance(answer, Answer)
    assert len(answer.request_id) == 32
    assert answer.snapshot == wanted["snapshot"]
    for row, raw in zip(answer.recommendations, wanted["recommendations"], strict=True):
        shown = (row.item_id, row.reason, row.title, row.category, row.source, row.reason_code, row.fill_level)
        names = ("item_id", "reason", "title", "category", "source", "reason_code", "fill_level")
        assert shown == tuple(raw.get(name) for name in names)
        assert row.price == (None if "price" not in raw else Decimal(str(raw["price"])))
    assert answer.recommendations[0].brand is None


def test_filters_count_whether_they_go_by_query_or_by_body(client: MakeClient, shop: Server) -> None:
    with proxied(shop.port) as proxy:
        asking = client(proxy.address, shop.keys["read"])
        options: dict[str, Any] = {"limit": 7, "category": "home", "price_max": Decimal("1.80"), "region": "DE"}
        options |= {"actions": [("view", "item-00003")], "categories": ["toys"]}
        by_query = asking.recommend("user 0 ✓", exclude=["item-00005"], **options)
        by_body = asking.recommend("user 0 ✓", exclude=["item-00005", "no,such,item"], **options)
        many = asking.recommend("user 0 ✓", exclude=["item-00005", *map(str, range(10**6, 10**6 + 999))], **options)
        assert [seen.method for seen in proxy.seen] == ["GET", "POST", "POST"]
    assert ids(by_query) == ids(by_body) == ids(many)
    asked: dict[str, Any] = {"limit": 7, "category": "home", "price_max": "1.80", "region": "DE"}
    asked |= {"exclude": "item-00005", "actions": "view:item-00003", "categories": "toys"}
    raw = shop.shelf(user_id="user 0 ✓", **asked)
    assert ids(by_query) == [row["item_id"] for row in raw["recommendations"]]


def test_a_price_is_sent_as_the_endpoint_reads_it(client: MakeClient, shop: Server) -> None:
    asking = reader(client, shop)
    for price in (Decimal("1E+2"), 100, 100.0, "100"):
        assert ids(asking.recommend("user-1", price_max=price)) == ids(asking.recommend("user-1", price_max="100.00"))


def test_a_request_id_and_a_language_go_into_headers(client: MakeClient, shop: Server) -> None:
    with proxied(shop.port) as proxy:
        asking = client(proxy.address, shop.keys["read"])
        assert asking.recommend("user-1", request_id="cart-7", language="de").request_id.startswith("cart-7.")
        assert proxy.seen[0].headers["accept-language"] == "de"
        (line,) = asking.recommend_batch(["user-1"], request_id="mail-7")
        assert line.request_id.startswith("mail-7.")


@pytest.mark.parametrize("odd", ["a/b", "..", ".", "%2F", "a?b#c", "✓ x", "a,b"])
def test_an_id_of_any_letters_is_sent_whole(client: MakeClient, shop: Server, odd: str) -> None:
    trace = client(address(shop), shop.keys["admin"]).trace(odd)
    assert trace.user_id == odd
    assert reader(client, shop).recommend(odd).recommendations


def test_similar_items_come_with_fields_and_without_what_is_excluded(client: MakeClient, shop: Server) -> None:
    asking = reader(client, shop)
    found = asking.similar("item-00005", limit=3, fields=["title"])
    assert len(found.recommendations) == 3
    first = found.recommendations[0].item_id
    assert first not in ids(asking.similar("item-00005", limit=3, exclude=[first]))
    with pytest.raises(ValueError, match="has a comma"):
        asking.similar("item-00005", exclude=["a,b"])


def test_what_is_everybody_s_names_no_request(client: MakeClient, shop: Server) -> None:
    asking = reader(client, shop)
    shelf = asking.shared_shelf(limit=4, fields=["title"], language="de")
    assert len(shelf.recommendations) == 4
    assert all(row.title for row in shelf.recommendations)
    page = asking.shared_page("product", item_id="item-00005", limit=4)
    assert page.page == "product"
    assert page.shelves
    assert all(len(of_page.recommendations) <= 4 for of_page in page.shelves)


def test_a_page_has_its_shelves_and_no_product_twice(client: MakeClient, shop: Server) -> None:
    asking = reader(client, shop)
    page = asking.page("homepage", "user-1", limit=4, fields=["price"], actions=[("view", "item-00003")])
    shown = [row.item_id for shelf in page.shelves for row in shelf.recommendations]
    assert len(shown) == len(set(shown)) > 4
    assert all(shelf.title and shelf.request_id.endswith(page.request_id) for shelf in page.shelves)
    product = asking.page("product", "user-1", item_id="item-00005", basket=["item-00007"])
    beside = {row.item_id for shelf in product.shelves for row in shelf.recommendations}
    assert beside and not {"item-00005", "item-00007"} & beside
    plans = {plan.page: [place.name for place in plan.shelves] for plan in asking.pages()}
    assert {shelf.shelf for shelf in page.shelves} <= set(plans["homepage"])
    with pytest.raises(NotFoundError):
        asking.page("no/such/page")


def test_one_shelf_of_a_page_may_be_asked_for(client: MakeClient, shop: Server) -> None:
    raw = shop.shelf(user_id="user-1", page="homepage", location="trending", limit=3)
    found = reader(client, shop).recommend("user-1", page="homepage", location="trending", limit=3)
    assert ids(found) == [row["item_id"] for row in raw["recommendations"]]


def test_reasons_come_in_the_language_that_is_asked_for(client: MakeClient, shop: Server) -> None:
    asking = reader(client, shop)
    german, english = (asking.recommend("user-1", language=tag, details=True) for tag in ("de", "en"))
    assert ids(german) == ids(english)
    assert [row.reason for row in german.recommendations] != [row.reason for row in english.recommendations]
    assert any(row.reason_params for row in german.recommendations)
    (line,) = asking.recommend_batch(["user-1"], language="de")
    assert [row.reason for row in line.recommendations] == [row.reason for row in german.recommendations]


def test_a_visit_without_an_id_is_named_by_its_session(client: MakeClient, shop: Server) -> None:
    viewed: list[tuple[ActionKind, str]] = [("view", "item-00003")]
    with proxied(shop.port) as proxy:
        asking = client(proxy.address, shop.keys["read"])
        by_query = asking.recommend(session_id="visit-1", actions=viewed, basket=["item-00007"])
        by_body = asking.recommend(session_id="visit-1", actions=viewed, basket=["item-00007", "a,b"])
        assert [seen.method for seen in proxy.seen] == ["GET", "POST"]
    assert ids(by_query) == ids(by_body)


def test_a_batch_of_any_number_comes_in_the_order_of_its_shoppers(client: MakeClient, shop: Server) -> None:
    users = [f"user-{number}" for number in range(2_300)]
    users[1_500] = ""
    lines = list(reader(client, shop).recommend_batch((user for user in users), limit=2, fields=["price"]))
    assert [line.user_id for line in lines] == users
    (problem,) = [line for line in lines if isinstance(line, BatchProblem)]
    assert (problem.user_id, problem.status, problem.parameter) == ("", 400, "user_id")
    assert all(len(line.recommendations) == 2 for line in lines if isinstance(line, BatchAnswer))


def test_a_batch_of_nobody_asks_nothing(client: MakeClient, shop: Server) -> None:
    with proxied(shop.port) as proxy:
        assert list(client(proxy.address, shop.keys["read"]).recommend_batch([])) == []
        assert proxy.seen == []


def test_a_batch_that_breaks_goes_on_with_those_who_have_no_line_yet(client: MakeClient, shop: Server) -> None:
    users = [f"user-{number}" for number in range(20)]
    with proxied(shop.port) as proxy:
        proxy.faults += [LOST_REQUEST, CUT_ANSWER, CUT_ANSWER, LOST_REQUEST]
        lines = list(client(proxy.address, shop.keys["read"]).recommend_batch(users, limit=1))
        assert [line.user_id for line in lines] == users
        assert [seen.body.count(b"user-") for seen in proxy.seen] == [20, 20, 15, 10, 10]


def test_a_batch_that_can_not_go_on_raises_after_what_came(client: MakeClient, shop: Server) -> None:
    with proxied(shop.port) as proxy:
        proxy.faults += [CUT_ANSWER, LOST_REQUEST, LOST_REQUEST]
        asking = client(proxy.address, shop.keys["read"], attempts=2)
        with pytest.raises(NoAnswerError):
            list(asking.recommend_batch([f"user-{number}" for number in range(20)]))
        assert len(proxy.seen) == 3


def test_a_batch_waits_for_its_keys_next_window(client: MakeClient, tmp_path: Any) -> None:
    publish_night(tmp_path, "2026-01-01")
    users = [f"user-{number}" for number in range(25)]
    with serving(tmp_path, keyed=True, rate="10/second") as server:
        lines = list(reader(client, server).recommend_batch(users, limit=1))
        assert [line.user_id for line in lines] == users
        assert all(isinstance(line, BatchAnswer) for line in lines)


def test_a_batch_does_not_wait_longer_than_its_deadline(client: MakeClient, tmp_path: Any) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, rate="10/day") as server:
        with pytest.raises(RateLimitedError) as refused:
            list(reader(client, server).recommend_batch([f"user-{number}" for number in range(25)], limit=1))
        assert refused.value.retry_after_s is not None
        assert refused.value.retry_after_s > 30


def test_a_reader_who_stops_in_the_middle_of_a_batch_leaves_nothing_open(shop: Server) -> None:
    with Client(address(shop), shop.keys["read"]) as asking:
        lines = asking.recommend_batch([f"user-{number}" for number in range(1_000)], limit=100)
        assert next(lines).user_id == "user-0"
        lines.close()
        assert asking.recommend("user-1").recommendations
