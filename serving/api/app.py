"""The endpoint: Litestar for everything but the one hot route, which is a plain ASGI callable before it.

python -m serving serve --store lmdb://data/store --landing data/landing
"""

import asyncio
import logging
import re
import time
from functools import lru_cache
from time import perf_counter_ns
from typing import Any
from urllib.parse import unquote

from litestar import Litestar, Request, Response
from litestar.config.app import AppConfig
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.access import CLIENT_ID
from serving.api.access import client_id as client_id_of
from serving.api.openapi import complete
from serving.api.parameters import from_query
from serving.api.routes import HOT_PATH, handlers
from serving.api.worker import Worker
from serving.logs.item_feed import MAX_BYTES
from serving.problems import CONTENT_TYPE, ProblemError
from serving.settings import EndpointSettings

_LOG = logging.getLogger(__name__)
BODY_TIMEOUT_S = 10.0
_SLASH = re.compile(rb"%2f", re.IGNORECASE)


def build(settings: EndpointSettings) -> ASGIApp:
    """The whole ASGI application."""
    endpoint = Worker(settings)

    def put_before(config: AppConfig) -> AppConfig:
        config.lifespan = [*config.lifespan, endpoint.running]
        return config

    scheme = SecurityScheme(type="http", scheme="bearer", description="A key that topshelf keys create printed.")
    app = Litestar(
        route_handlers=handlers(endpoint),
        on_app_init=[put_before],
        openapi_config=OpenAPIConfig(
            title="Topshelf",
            version="1",
            path="/schema",
            components=Components(security_schemes={"key": scheme}),
            security=[{"key": []}],
        ),
        exception_handlers={
            ProblemError: _problem,
            HTTPException: _http_error,
            RecursionError: _too_deep,
            Exception: _fault,
        },
        request_max_body_size=MAX_BYTES,
    )
    return hot_route(endpoint, _watched(endpoint, app))


def hot_route(endpoint: Worker, others: ASGIApp) -> ASGIApp:
    """Answer `GET /recommendations` here and hand everything else on."""
    gate, answers, metrics = endpoint.gate, endpoint.answers, endpoint.metrics

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != HOT_PATH or scope.get("method") != "GET":
            await others(scope, receive, send)
            return
        started = perf_counter_ns()
        authorization = host = client_id = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = authorization or value
            elif name == b"host":
                host = host or value
            elif name == b"x-request-id" and CLIENT_ID.fullmatch(value):
                client_id = str(value, "ascii")
        told: list[tuple[bytes, bytes]] = []
        status, content_type = 200, b"application/json"
        try:
            key = gate.key(authorization, host, "read")
            if key is not None:
                told = await gate.spend(key, time.time())
            body, request_id = answers.recommend(from_query(scope["query_string"]), client_id, started)
        except ProblemError as problem:
            request_id = client_id or ""
            status, content_type, body = problem.status, CONTENT_TYPE, problem.to_json(client_id)
            told = problem.headers
        metrics.status(status)
        headers = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id.encode()),
            *told,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return application


def _watched(endpoint: Worker, app: Litestar) -> ASGIApp:
    """Count answers by status, and let no body take longer than BODY_TIMEOUT_S to arrive."""

    @lru_cache(1)
    def document() -> None:  # made when it is first asked for: a start should not wait for it
        complete(app.openapi_schema)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if "method" not in scope:  # the lifespan
            await app(scope, receive, send)
            return
        if scope["path"].startswith("/schema"):
            document()
        if b"%2f" in scope["raw_path"].lower():  # an id with a slash in it is still one part of the path
            scope["path"] = unquote(_SLASH.sub(b"_", scope["raw_path"]).decode("latin-1"))
        if scope.get("method") == "OPTIONS" and (allowed := _allowed(app, scope["path"])):
            headers = [(b"allow", ", ".join(allowed).encode())]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT_S
        whole = False

        async def in_time() -> Any:
            nonlocal whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                remedy = "send it faster, or in smaller parts"
                raise ProblemError(408, f"the body did not arrive in {BODY_TIMEOUT_S:.0f} s", remedy) from error
            whole = not message.get("more_body", False)
            return message

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                endpoint.metrics.status(message["status"])
            await send(message)

        await app(scope, in_time, counted)

    return application


def _problem(request: Request[Any, Any, Any], problem: ProblemError) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    if problem.status == 408:
        headers["connection"] = "close"
    return Response(
        problem.to_json(client_id_of(request.scope["headers"])),
        status_code=problem.status,
        media_type=CONTENT_TYPE.decode(),
        headers=headers,
    )


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    detail, parameter, headers = str(error.detail), None, []
    if isinstance(error.extra, list) and error.extra and isinstance(error.extra[0], dict):
        parameter = str(error.extra[0].get("key", "")) or None
        detail = f"{parameter}: {error.extra[0].get('message', detail)}"
    if error.status_code == 405:
        headers = [(b"allow", ", ".join(_allowed(request.app, request.scope["path"])).encode())]
    remedy = "see /schema for what this endpoint takes"
    return _problem(request, ProblemError(error.status_code, detail, remedy, parameter, headers))


def _allowed(app: Litestar, path: str) -> list[str]:
    """The methods of the routes that a path is of."""
    found: set[str] = set()
    for route in app.routes:
        if re.fullmatch(re.sub(r"{[^/]*}", "[^/]+", route.path), path):
            found |= set(getattr(route, "methods", ()))
    return sorted(found)


def _too_deep(request: Request[Any, Any, Any], _: RecursionError) -> Response[bytes]:
    return _problem(request, ProblemError(400, "the body is nested too deeply", "send the JSON of the documentation"))


def _fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    # The path alone: a query or a header may hold what belongs in no log.
    _LOG.error(
        "a fault while answering %s %s (request %s)",
        request.method,
        request.scope["path"],
        client_id_of(request.scope["headers"]),
        exc_info=error,
    )
    return _problem(request, ProblemError(500, type(error).__name__, "report it with the time and the log's lines"))
