"""A program that is checked, not run: what the Python client's types say of what goes in and comes out."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import assert_type

from topshelf_client import (
    Answer,
    AsyncClient,
    BatchAnswer,
    BatchProblem,
    Client,
    EventRow,
    ItemRow,
    Page,
    SharedPage,
    SimilarItems,
    Taken,
)


def of_client(topshelf: Client) -> None:
    answer = topshelf.recommend("anna", limit=5, fields=["title"], actions=[("view", "mug-1")], category=None)
    assert_type(answer, Answer)
    assert_type(answer.recommendations[0].price, Decimal | None)
    assert_type(topshelf.similar("mug-1", price_max=Decimal("9.50")), SimilarItems)
    assert_type(topshelf.shared_shelf(category="home", region="DE"), SimilarItems)
    assert_type(topshelf.shared_page("homepage", limit=4), SharedPage)
    assert_type(topshelf.page("homepage", "anna", basket=["mug-1"]), Page)
    lines = topshelf.recommend_batch(iter(["anna"]), limit=4, page="email")
    assert_type(lines, Iterator[BatchAnswer | BatchProblem])
    rows: list[ItemRow] = [{"item_id": "mug-1", "stock": 3, "price": None}]
    assert_type(topshelf.send_items(rows), Taken)
    events: list[EventRow] = [{"event_id": "e", "item_id": "mug-1", "event_type": "view", "user_id": "anna"}]
    assert_type(topshelf.send_events(events), Taken)


async def of_async_client(topshelf: AsyncClient) -> None:
    assert_type(await topshelf.recommend("anna", limit=5), Answer)
    lines = topshelf.recommend_batch(["anna"])
    assert_type(lines, AsyncIterator[BatchAnswer | BatchProblem])


def mistakes(topshelf: Client) -> None:
    """Each line is a mistake that the types tell."""
    topshelf.recommend("anna", limitt=5)  # type: ignore[call-arg]
    topshelf.recommend("anna", limit="5")  # type: ignore[arg-type]
    topshelf.recommend("anna", fields=["colour"])  # type: ignore[list-item]
    topshelf.recommend("anna", actions=[("stare", "mug-1")])  # type: ignore[list-item]
    topshelf.recommend_batch(["anna"], actions=[("view", "mug-1")])  # type: ignore[call-arg]
    topshelf.send_items([{"stock": 3}])  # type: ignore[typeddict-item]
    topshelf.send_events([{"item_id": "mug-1", "event_type": "view"}])  # type: ignore[typeddict-item]
