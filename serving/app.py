"""The endpoint: Litestar for everything but the one hot route, which is a plain ASGI callable before it.

python -m serving serve --store lmdb://data/store --landing data/landing
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.config.app import AppConfig
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.params import Parameter
from litestar.types import ASGIApp, Receive, Scope, Send

from serving.answers import Answer, Answers
from serving.current import Current
from serving.exposures import ExposureLog
from serving.feed import MAX_BYTES, Refusal, read_feed
from serving.item_state import ItemState, ItemStateError
from serving.parameters import Body, from_body, from_query
from serving.problems import CONTENT_TYPE, ProblemError
from serving.stores import open_store

_LOG = logging.getLogger(__name__)
HOT_PATH = "/recommendations"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Taken(msgspec.Struct, frozen=True):
    """`POST /items`: rows taken, and those refused."""

    accepted: int
    refused: list[Refusal]


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """`/healthz` and `/readyz`."""

    status: str
    snapshot: str = ""
    trouble: str = ""


class Endpoint:
    """What one worker holds: the current snapshot, live item state, the exposure log."""

    def __init__(self, store_url: str, landing: Path, state_folder: Path) -> None:
        self.state = ItemState(state_folder)
        self.exposures = ExposureLog(landing)
        self.current = Current(open_store(store_url), self.state)
        self.answers = Answers(self.current, self.exposures)

    @contextlib.asynccontextmanager
    async def running(self, _: Litestar) -> AsyncIterator[None]:
        """Follow the pointer from start to stop."""
        following = asyncio.create_task(self.current.run())
        try:
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            self.exposures.close()
            self.state.close()


def build(store_url: str, landing: Path, state_folder: Path) -> ASGIApp:
    """The whole ASGI application."""
    endpoint = Endpoint(store_url, landing, state_folder)

    def put_before(config: AppConfig) -> AppConfig:
        config.lifespan = [*config.lifespan, endpoint.running]
        return config

    app = Litestar(
        route_handlers=handlers(endpoint),
        on_app_init=[put_before],
        openapi_config=OpenAPIConfig(title="Topshelf", version="1", path="/schema"),
        exception_handlers={
            ProblemError: _problem,
            HTTPException: _http_error,
            RecursionError: _too_deep,
            Exception: _fault,
        },
        request_max_body_size=MAX_BYTES,
    )
    return hot_route(endpoint, app)


def hot_route(endpoint: Endpoint, others: ASGIApp) -> ASGIApp:
    """Answer `GET /recommendations` here and hand everything else on."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != HOT_PATH or scope.get("method") != "GET":
            await others(scope, receive, send)
            return
        status, content_type = 200, b"application/json"
        request_id = _request_id(scope["headers"])
        try:
            body = endpoint.answers.recommend(from_query(scope["query_string"]), request_id)
        except ProblemError as problem:
            status, content_type, body = problem.status, CONTENT_TYPE, problem.to_json(request_id)
        headers = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return application


def _request_id(headers: Any) -> str | None:
    """The client's own request id, where it is fit for a log."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return None


def handlers(endpoint: Endpoint) -> list[Any]:
    """The routes that Litestar serves; `GET /recommendations` stands here for the schema and answers the same."""

    @get(HOT_PATH, summary="A shopper's shelf", media_type=MediaType.JSON, responses={})
    async def recommendations(
        request: Request[Any, Any, Any],
        *,
        user_id: str | None = None,
        limit: int = 20,
        category: str | None = None,
        price_min: str | None = None,
        price_max: str | None = None,
        page: str | None = None,
        device: str | None = None,
        location: str | None = None,
        region: str | None = None,
        age_band: str | None = None,
        exclude: str | None = Parameter(default=None, description="item ids to leave out, with commas between"),
    ) -> Answer:
        ask = from_query(request.scope["query_string"])
        return msgspec.json.decode(endpoint.answers.recommend(ask), type=Answer)

    @post(HOT_PATH, summary="A shopper's shelf, asked for in JSON", status_code=200)
    async def recommendations_by_body(request: Request[Any, Any, Any], data: Body) -> Response[bytes]:
        request_id = _request_id(request.scope["headers"])
        body = endpoint.answers.recommend(from_body(await request.body()), request_id)
        return Response(body, media_type=MediaType.JSON, headers={"cache-control": "no-store"})

    @post("/items", summary="Live price, stock and moderation, as JSON lines", status_code=202)
    async def items(request: Request[Any, Any, Any]) -> Taken:
        changes, refused = read_feed(await request.body(), time.time())
        try:
            endpoint.state.append(changes)
        except ItemStateError as error:
            raise ProblemError(507, str(error), "free space on the endpoint's disk, then send it again") from error
        return Taken(len(changes), refused)

    @get("/healthz", summary="The process is alive")
    async def healthz() -> Health:
        return Health("ok")

    @get("/readyz", summary="A snapshot is loaded")
    async def readyz() -> Response[Health]:
        pair, trouble = endpoint.current.pair, endpoint.current.trouble or ""
        if pair is None:
            return Response(Health("waiting for a snapshot", trouble=trouble), status_code=503)
        return Response(Health("ready", pair.snapshot.version, trouble), status_code=200)

    return [recommendations, recommendations_by_body, items, healthz, readyz]


def _problem(request: Request[Any, Any, Any], problem: ProblemError) -> Response[bytes]:
    body = problem.to_json(_request_id(request.scope["headers"]))
    return Response(body, status_code=problem.status, media_type=CONTENT_TYPE.decode())


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    detail = error.detail if isinstance(error.detail, str) else "the request was refused"
    remedy = "see /schema for what this endpoint takes"
    return _problem(request, ProblemError(error.status_code, detail, remedy))


def _too_deep(request: Request[Any, Any, Any], _: RecursionError) -> Response[bytes]:
    return _problem(request, ProblemError(400, "the body is nested too deeply", "send the JSON of the documentation"))


def _fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _LOG.error("a fault while answering %s %s", request.method, request.scope["path"], exc_info=error)
    return _problem(request, ProblemError(500, type(error).__name__, "report it with the time and the log's lines"))
