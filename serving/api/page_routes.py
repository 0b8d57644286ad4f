"""Routes of pages: all shelves of one page in one call, and which pages there are."""

from typing import cast

import msgspec
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

from serving.api.accept_language import language_headers
from serving.api.access import client_id, key_guard
from serving.api.openapi import (
    AcceptLanguage,
    Arms,
    Basket,
    Categories,
    Details,
    Exclude,
    Fields,
    HttpRequest,
    Id,
    LastActions,
    MostItems,
    Price,
    Text,
    problems,
)
from serving.api.page_answers import PageAnswer
from serving.api.parameters import MAX_LIMIT, from_query
from serving.api.worker import Worker


class ShelfPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """A shelf of a page, as placements have it."""

    name: str
    shelf: str
    limit: int
    least: int
    title: str = ""


class PagePlan(msgspec.Struct, frozen=True):
    """A page and its shelves, in the order of the file."""

    page: str
    order: str
    shelves: list[ShelfPlace]


def page_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    return [_page(worker), _pages(worker)]


def _page(worker: Worker) -> HTTPRouteHandler:
    @get(
        "/pages/{page:str}",
        summary="All shelves of a page",
        operation_id="page",
        media_type=MediaType.JSON,
        responses=problems(404, 413),
        guards=key_guard(worker.gate, "read"),
    )
    async def page(
        request: HttpRequest,
        *,
        page: Id,
        user_id: Text = None,
        session_id: Text = None,
        item_id: Text = None,
        basket: Basket = None,
        limit: MostItems = MAX_LIMIT,
        category: Text = None,
        price_min: Price = None,
        price_max: Price = None,
        device: Text = None,
        region: Text = None,
        age_band: Text = None,
        exclude: Exclude = None,
        categories: Categories = None,
        actions: LastActions = None,
        details: Details = False,
        accept_language: AcceptLanguage = None,
        fields: Fields = None,
        arms: Arms = None,
    ) -> Response[PageAnswer]:
        query: bytes = request.scope["query_string"]
        asked = from_query(query)
        if asked.arms:
            worker.gate.check_scope(request.scope["headers"], "admin")
        most = asked.limit if b"limit=" in query else None
        http_headers = request.scope["headers"]
        language = worker.languages.of_request(http_headers)
        body, request_id = worker.pages.page(page, asked, most, client_id(http_headers), language)
        headers = {"cache-control": "no-store", "x-request-id": request_id, **language_headers(language)}
        return Response(cast("PageAnswer", body), media_type=MediaType.JSON, headers=headers)

    return page


def _pages(worker: Worker) -> HTTPRouteHandler:
    @get(
        "/pages",
        summary="The pages that placements have",
        operation_id="pages",
        responses=problems(),
        guards=key_guard(worker.gate, "read"),
    )
    async def pages() -> list[PagePlan]:
        return [
            PagePlan(
                name,
                page.order,
                [
                    ShelfPlace(shelf.called, shelf.shelf, shelf.limit, shelf.least, shelf.title)
                    for shelf in page.shelves
                ],
            )
            for name, page in worker.placements.pages.items()
        ]

    return pages
