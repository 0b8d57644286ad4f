"""Routes that answer with items: a shopper's shelf, items like one, and why a shelf is as it is."""

from typing import cast

import msgspec
from litestar import MediaType, Response, get, post
from litestar.handlers import HTTPRouteHandler

from serving.api.accept_language import language_headers
from serving.api.access import client_id, key_guard
from serving.api.answers import Answer, SimilarItems, UserTrace
from serving.api.cached import cached
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
    JsonRequest,
    LastActions,
    Limit,
    Price,
    RequestId,
    SessionId,
    Text,
    problems,
)
from serving.api.parameters import Body, from_body, from_query, id_in_path
from serving.api.worker import Worker

HOT_PATH = "/recommendations"
_MAX_BODY_BYTES = 256 << 10


def shelf_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    return [_shelf_by_query(worker), _shelf_by_body(worker), _similar(worker), _trace(worker)]


def _shelf_by_query(worker: Worker) -> HTTPRouteHandler:
    # `serving.api.app.hot_route` answers this path. This handler is here for the schema.
    @get(
        HOT_PATH,
        summary="A shopper's shelf",
        operation_id="recommend",
        media_type=MediaType.JSON,
        responses=problems(413),
        guards=key_guard(worker.gate, "read"),
    )
    async def recommendations(
        request: HttpRequest,
        *,
        user_id: Text = None,
        session_id: SessionId = None,
        limit: Limit = 20,
        category: Text = None,
        price_min: Price = None,
        price_max: Price = None,
        page: Text = None,
        device: Text = None,
        location: Text = None,
        region: Text = None,
        age_band: Text = None,
        exclude: Exclude = None,
        categories: Categories = None,
        actions: LastActions = None,
        details: Details = False,
        fields: Fields = None,
        accept_language: AcceptLanguage = None,
        arms: Arms = None,
        item_id: Text = None,
        basket: Basket = None,
    ) -> Answer:
        raise NotImplementedError

    return recommendations


def _shelf_by_body(worker: Worker) -> HTTPRouteHandler:
    @post(
        HOT_PATH,
        summary="A shopper's shelf, asked for in JSON",
        operation_id="recommend_by_body",
        status_code=200,
        responses=problems(408, 413),
        guards=key_guard(worker.gate, "read"),
        request_class=JsonRequest,
        request_max_body_size=_MAX_BODY_BYTES,
    )
    async def recommendations_by_body(
        request: HttpRequest, *, data: Body, accept_language: AcceptLanguage = None
    ) -> Response[Answer]:
        shelf_request = from_body(await request.body())
        if shelf_request.arms:
            worker.gate.check_scope(request.scope["headers"], "admin")
        language = worker.languages.of_request(request.scope["headers"])
        client = client_id(request.scope["headers"])
        body, request_id = worker.pages.recommend(shelf_request, client, language)
        headers = {"cache-control": "no-store", "x-request-id": request_id, **language_headers(language)}
        return Response(cast("Answer", body), media_type=MediaType.JSON, headers=headers)  # cast for the schema alone

    return recommendations_by_body


def _similar(worker: Worker) -> HTTPRouteHandler:
    @get(
        "/items/{item_id:str}/similar",
        summary="Items like one",
        operation_id="similar_items",
        media_type=MediaType.JSON,
        responses=problems(404, 413),
        guards=key_guard(worker.gate, "read"),
    )
    async def similar(
        request: HttpRequest,
        *,
        item_id: Id,
        limit: Limit = 20,
        category: Text = None,
        price_min: Price = None,
        price_max: Price = None,
        exclude: Exclude = None,
        details: Details = False,
        fields: Fields = None,
        accept_language: AcceptLanguage = None,
    ) -> Response[SimilarItems]:
        shelf_request = from_query(request.scope["query_string"])
        language = worker.languages.of_request(request.scope["headers"])
        body = worker.answers.similar(id_in_path(request.scope["raw_path"]), shelf_request, language)
        return cached(request, body, language)

    return similar


def _trace(worker: Worker) -> HTTPRouteHandler:
    @get(
        "/users/{user_id:str}/trace",
        summary="Why a shelf is as it is",
        operation_id="trace_user",
        responses=problems(413),
        guards=key_guard(worker.gate, "admin"),
    )
    async def why(
        request: HttpRequest,
        *,
        user_id: Id,
        limit: Limit = 20,
        category: Text = None,
        price_min: Price = None,
        price_max: Price = None,
        region: Text = None,
        age_band: Text = None,
        exclude: Exclude = None,
        actions: LastActions = None,
        session_id: SessionId = None,
        request_id: RequestId = None,
    ) -> UserTrace:
        fields = request.scope["query_string"].split(b"&")
        query = b"&".join(field for field in fields if not field.startswith(b"request_id="))
        user_id = id_in_path(request.scope["raw_path"])
        return worker.answers.trace(msgspec.structs.replace(from_query(query), user_id=user_id), request_id)

    return why
