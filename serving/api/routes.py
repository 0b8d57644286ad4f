"""The routes that Litestar serves. `GET /recommendations` is here for the schema alone: `serving.api.app` has it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from litestar import MediaType, Request, Response, delete, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from serving.api.access import client_id
from serving.api.answers import Answer
from serving.api.openapi import Categories, Exclude, Id, LastActions, Limit, OfLines, Price, RequestId, Text, problems
from serving.api.parameters import MAX_TEXT_BYTES, Body, from_body, from_query
from serving.api.worker import Worker
from serving.logs.events import read_events
from serving.logs.file_log import LogError
from serving.logs.item_feed import Refusal, read_changes, split_rows
from serving.problems import ProblemError
from serving.shelf.item_state import ItemChange, encode_changes

HOT_PATH = "/recommendations"
_STEP_LINES = 250  # a millisecond of work, then answers go first
_ASK_BYTES = 256 << 10
Row = TypeVar("Row", ItemChange, bytes)
Guard = Callable[[ASGIConnection[Any, Any, Any, State], BaseRouteHandler], Awaitable[None]]


class Taken(msgspec.Struct, frozen=True):
    """Rows taken, and those refused."""

    accepted: int
    refused: list[Refusal]


class Erased(msgspec.Struct, frozen=True):
    """`everywhere`: every worker of this host knows of it already, not only the one that answered."""

    erased: bool
    everywhere: bool


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """`/healthz` and `/readyz`."""

    status: str
    snapshot: str = ""
    trouble: str = ""


def needs(endpoint: Worker, scope: str | None) -> list[Any]:
    """The guard of a route: a key of that scope (of any for None), and its rate."""

    async def guard(connection: ASGIConnection[Any, Any, Any, State], _: BaseRouteHandler) -> None:
        await endpoint.gate.admit(connection.scope["headers"], scope)

    return [guard]


def handlers(endpoint: Worker) -> list[Any]:
    """All routes."""
    return [*_shelves(endpoint), *_feeds(endpoint), *_people(endpoint), *_health(endpoint)]


def _shelves(endpoint: Worker) -> list[Any]:
    @get(
        HOT_PATH,
        summary="A shopper's shelf",
        media_type=MediaType.JSON,
        responses=problems(413, 503),
        guards=needs(endpoint, "read"),
    )
    async def recommendations(
        request: Request[Any, Any, Any],
        *,
        user_id: Text = None,
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
    ) -> Answer:
        body, _ = endpoint.answers.recommend(from_query(request.scope["query_string"]))
        return msgspec.json.decode(body, type=Answer)

    @post(
        HOT_PATH,
        summary="A shopper's shelf, asked for in JSON",
        status_code=200,
        responses=problems(408, 413, 503),
        guards=needs(endpoint, "read"),
        request_max_body_size=_ASK_BYTES,
    )
    async def recommendations_by_body(request: Request[Any, Any, Any], data: Body) -> Response[Answer]:
        ask = from_body(await request.body())
        answer = endpoint.answers.recommend(ask, client_id(request.scope["headers"]))
        body: Any = answer[0]
        request_id = answer[1]
        return Response(
            body, media_type=MediaType.JSON, headers={"cache-control": "no-store", "x-request-id": request_id}
        )

    return [recommendations, recommendations_by_body, *_more_shelves(endpoint)]


def _more_shelves(endpoint: Worker) -> list[Any]:
    @get(
        "/items/{item_id:str}/similar",
        summary="Items like one",
        media_type=MediaType.JSON,
        responses=problems(404, 413, 503),
        guards=needs(endpoint, "read"),
    )
    async def similar(
        request: Request[Any, Any, Any],
        *,
        item_id: Id,
        limit: Limit = 20,
        category: Text = None,
        price_min: Price = None,
        price_max: Price = None,
        exclude: Exclude = None,
    ) -> Response[Answer]:
        ask = from_query(request.scope["query_string"])
        body: Any = endpoint.answers.similar(segment(request), ask)
        # Nothing personal is in it; a second is as long as a sold-out item may be shown.
        return Response(body, media_type=MediaType.JSON, headers={"cache-control": "private, max-age=1"})

    @get(
        "/users/{user_id:str}/trace",
        summary="Why a shelf is as it is",
        responses=problems(413, 503),
        guards=needs(endpoint, "admin"),
    )
    async def why(
        request: Request[Any, Any, Any],
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
        request_id: RequestId = None,
    ) -> dict[str, Any]:
        query = [field for field in request.scope["query_string"].split(b"&") if field[:11] != b"request_id="]
        ask = msgspec.structs.replace(from_query(b"&".join(query)), user_id=segment(request))
        return endpoint.answers.trace(ask, request_id)

    return [similar, why]


def segment(request: Request[Any, Any, Any]) -> str:
    """The id in `/items/ID/…` or `/users/ID`, slashes in it and all. Raises ProblemError (400)."""
    try:
        text = unquote(request.scope["raw_path"].split(b"/")[2].decode("ascii"), errors="strict")
    except ValueError as error:
        raise ProblemError(400, "the id is not URL-encoded UTF-8", "encode it, %2F for a slash", "id") from error
    if not 0 < len(text.encode()) <= MAX_TEXT_BYTES:
        raise ProblemError(400, f"the id is longer than {MAX_TEXT_BYTES} bytes", "send it as the shop knows it", "id")
    return text


def _feeds(endpoint: Worker) -> list[Any]:
    @post(
        "/items",
        summary="Live price, stock and moderation, as JSON lines",
        status_code=202,
        responses=problems(408, 413, 503, 507),
        operation_class=OfLines,
        guards=needs(endpoint, "feed"),
    )
    async def items(request: Request[Any, Any, Any]) -> Taken:
        changes, refused = await _read(await request.body(), read_changes)
        if changes:
            await _append(endpoint.item_log.append, encode_changes(changes))
            await endpoint.items_seen()
        endpoint.metrics.add("topshelf_items_changed_total", len(changes))
        endpoint.metrics.add("topshelf_items_refused_total", len(refused))
        return Taken(len(changes), refused)

    @post(
        "/events",
        summary="What shoppers do, as JSON lines",
        status_code=202,
        responses=problems(408, 413, 503, 507),
        operation_class=OfLines,
        guards=needs(endpoint, "feed"),
    )
    async def events(request: Request[Any, Any, Any]) -> Taken:
        logged, refused = await _read(await request.body(), read_events)
        if logged:
            whole = b"".join(logged)
            await _append(endpoint.event_log.append, whole)
            await endpoint.share_events(whole)
            await endpoint.events_seen()
        endpoint.metrics.add("topshelf_events_taken_total", len(logged))
        endpoint.metrics.add("topshelf_events_refused_total", len(refused))
        return Taken(len(logged), refused)

    return [items, events]


async def _read(
    body: bytes, rows_of: Callable[[list[bytes], float, int], Iterator[Row | Refusal]]
) -> tuple[list[Row], list[Refusal]]:
    """Read the JSON lines of a body in small steps between answers: the rows taken, and those refused.

    Raises ProblemError (413) for a body that is too large.
    """
    lines, now = split_rows(body), time.time()
    taken: list[Row] = []
    refused: list[Refusal] = []
    for first in range(0, len(lines), _STEP_LINES):
        for row in rows_of(lines[first : first + _STEP_LINES], now, first + 1):
            if isinstance(row, Refusal):
                refused.append(row)
            else:
                taken.append(row)
        await asyncio.sleep(0)
    return taken, refused


async def _append(append: Callable[[bytes], None], lines: bytes) -> None:
    try:
        await asyncio.to_thread(append, lines)
    except LogError as error:
        full = "cannot be written" in str(error)
        raise ProblemError(507 if full else 503, str(error), "send it again when that is mended") from error


def _people(endpoint: Worker) -> list[Any]:
    @delete(
        "/users/{user_id:str}",
        summary="Erase a shopper",
        status_code=200,
        responses=problems(503, 507),
        guards=needs(endpoint, "admin"),
    )
    async def erase(request: Request[Any, Any, Any], user_id: Id) -> Erased:
        try:
            return Erased(True, await endpoint.erase(segment(request)))
        except LogError as error:
            raise ProblemError(507, str(error), "send it again when that is mended") from error

    return [erase]


def _health(endpoint: Worker) -> list[Any]:
    @get("/healthz", summary="The process is alive", security=[{}])
    async def healthz() -> Health:
        return Health("ok")

    @get(
        "/readyz",
        summary="A snapshot is loaded, and the present was read",
        security=[{}],
        responses={503: ResponseSpec(Health, generate_examples=False, description="Not yet")},
    )
    async def readyz() -> Response[Health]:
        pair, trouble = endpoint.current.loaded, endpoint.current.trouble or ""
        if pair is None:
            return Response(Health("waiting for a snapshot", trouble=trouble), status_code=503)
        if not endpoint.replayed:
            told = endpoint.items_follow.trouble or endpoint.erased_follow.trouble or ""
            return Response(Health("reading the live state", trouble=told), status_code=503)
        return Response(Health("ready", pair.snapshot.version, trouble), status_code=200)

    @get(
        "/metrics",
        summary="For Prometheus",
        media_type="text/plain; version=0.0.4",
        responses=problems(),
        guards=needs(endpoint, None),
    )
    async def metrics() -> str:
        return endpoint.metrics.text(endpoint.gauges())

    return [healthz, readyz, metrics]
