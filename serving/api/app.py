"""The endpoint's ASGI application: one hot route as a plain ASGI callable, and Litestar for all other routes.

python -m serving serve --store lmdb://data/store --landing data/landing
"""

import time
from time import perf_counter_ns

from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, Receive, Scope, Send

from serving.api.access import CLIENT_ID
from serving.api.batch_routes import batch_routes
from serving.api.cors import with_cors
from serving.api.error_handlers import EXCEPTION_HANDLERS
from serving.api.feed_routes import feed_routes
from serving.api.middleware import middleware
from serving.api.operator_routes import operator_routes
from serving.api.page_routes import page_routes
from serving.api.parameters import from_query
from serving.api.schema_pages import KeptJson, OperationsPage
from serving.api.shared_routes import shared_routes
from serving.api.shelf_routes import HOT_PATH, shelf_routes
from serving.api.worker import Worker
from serving.logs.item_feed import MAX_BYTES
from serving.problems import CONTENT_TYPE, ProblemError
from serving.settings import EndpointSettings


def build(settings: EndpointSettings) -> ASGIApp:
    """The whole ASGI application of one worker."""
    worker = Worker(settings)

    def run_worker(config: AppConfig) -> AppConfig:
        config.lifespan = [*config.lifespan, worker.running]
        return config

    bearer = SecurityScheme(type="http", scheme="bearer", description="A key that topshelf keys create printed.")
    litestar = Litestar(
        route_handlers=[
            *shelf_routes(worker),
            *batch_routes(worker),
            *page_routes(worker),
            *shared_routes(worker),
            *feed_routes(worker),
            *operator_routes(worker),
        ],
        on_app_init=[run_worker],
        openapi_config=OpenAPIConfig(
            title="Topshelf",
            version="1",
            path="/schema",
            render_plugins=[OperationsPage(), KeptJson()],
            components=Components(security_schemes={"key": bearer}),
            security=[{"key": []}],
        ),
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BYTES,
        logging_config=None,  # whoever starts the process decides; by default it would log all libraries' INFO
    )
    return with_cors(hot_route(worker, middleware(worker, litestar)), settings.cors_origins)


def hot_route(worker: Worker, other_routes: ASGIApp) -> ASGIApp:
    """Answer `GET /recommendations` here and pass everything else on."""
    gate, pages, metrics, languages = worker.gate, worker.pages, worker.metrics, worker.languages

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != HOT_PATH or scope.get("method") != "GET":
            if "method" not in scope:  # the start: from now on uvicorn's protocol counts what it refuses
                scope["state"]["count_status"] = metrics.status
            await other_routes(scope, receive, send)
            return
        started = perf_counter_ns()
        authorization = host = client_id = accepted = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = authorization or value
            elif name == b"host":
                host = host or value
            elif name == b"accept-language":
                accepted = value if accepted is None else b"%b,%b" % (accepted, value)
            elif name == b"x-request-id" and CLIENT_ID.fullmatch(value):
                client_id = str(value, "ascii")
        more_headers: list[tuple[bytes, bytes]] = []
        status, content_type = 200, b"application/json"
        try:
            key = gate.authenticate(authorization, host, "read")
            if key is not None:
                more_headers = await gate.spend(key, time.monotonic())
            request = from_query(scope["query_string"])
            if request.arms:
                gate.check_scope(scope["headers"], "admin")
            language = languages.of(accepted)
            body, request_id = pages.recommend(request, client_id, language, started)
            more_headers = [*more_headers, *language.headers]
        except ProblemError as problem:
            request_id = client_id or ""
            status, content_type, body = problem.status, CONTENT_TYPE, problem.to_json(client_id)
            more_headers = problem.headers
        metrics.status(status)
        headers = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id.encode()),
            *more_headers,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return application
