"""Routes of answers that are everybody's: a stranger's shelf and page, for caches to keep.

They are not logged as exposures, as a cache shows them unseen; nothing is drawn for them, so nothing explores.
"""

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

from serving.api.access import key_guard
from serving.api.answers import SimilarItems
from serving.api.cached import cached, check_impersonal
from serving.api.openapi import (
    AcceptLanguage,
    Categories,
    Details,
    Exclude,
    Fields,
    HttpRequest,
    Id,
    Limit,
    MostItems,
    Price,
    Text,
    problems,
)
from serving.api.page_answers import SharedPage
from serving.api.parameters import MAX_LIMIT, from_query
from serving.api.worker import Worker


def shared_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    return [_shelf(worker), _page(worker)]


def _shelf(worker: Worker) -> HTTPRouteHandler:
    @get(
        "/shared/recommendations",
        summary="A stranger's shelf, for caches",
        operation_id="shared_recommendations",
        media_type=MediaType.JSON,
        responses=problems(413),
        guards=key_guard(worker.gate, "read"),
    )
    async def shared(
        request: HttpRequest,
        *,
        limit: Limit = 20,
        category: Text = None,
        price_min: Price = None,
        price_max: Price = None,
        region: Text = None,
        age_band: Text = None,
        exclude: Exclude = None,
        categories: Categories = None,
        details: Details = False,
        fields: Fields = None,
        accept_language: AcceptLanguage = None,
    ) -> Response[SimilarItems]:
        asked = from_query(request.scope["query_string"])
        check_impersonal(asked, "/recommendations")
        language = worker.languages.of_request(request.scope["headers"])
        return cached(request, worker.answers.of_strangers(asked, language), language)

    return shared


def _page(worker: Worker) -> HTTPRouteHandler:
    @get(
        "/shared/pages/{page:str}",
        summary="A stranger's page, for caches",
        operation_id="shared_page",
        media_type=MediaType.JSON,
        responses=problems(404, 413),
        guards=key_guard(worker.gate, "read"),
    )
    async def shared(
        request: HttpRequest,
        *,
        page: Id,
        item_id: Text = None,
        limit: MostItems = MAX_LIMIT,
        category: Text = None,
        price_min: Price = None,
        price_max: Price = None,
        region: Text = None,
        age_band: Text = None,
        exclude: Exclude = None,
        categories: Categories = None,
        details: Details = False,
        fields: Fields = None,
        accept_language: AcceptLanguage = None,
    ) -> Response[SharedPage]:
        query: bytes = request.scope["query_string"]
        asked = from_query(query)
        check_impersonal(asked, f"/pages/{page[:64]}")
        language = worker.languages.of_request(request.scope["headers"])
        most = asked.limit if b"limit=" in query else None
        return cached(request, worker.pages.of_strangers(page, asked, most, language), language)

    return shared
