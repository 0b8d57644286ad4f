"""Every error on a Litestar route becomes a problem document (`serving.problems`)."""

import logging
import re

from litestar import Litestar, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from serving.api.access import client_id
from serving.api.openapi import HttpRequest
from serving.api.shelf_routes import HOT_PATH
from serving.problems import CONTENT_TYPE, ProblemError

_LOG = logging.getLogger(__name__)


def _problem(request: HttpRequest, problem: ProblemError) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    if problem.status == 408:
        headers["connection"] = "close"
    return Response(
        problem.to_json(client_id(request.scope["headers"])),
        status_code=problem.status,
        media_type=CONTENT_TYPE.decode(),
        headers=headers,
    )


def _http_error(request: HttpRequest, error: HTTPException) -> Response[bytes]:
    detail, parameter, headers = str(error.detail), None, []
    if isinstance(error.extra, list) and error.extra and isinstance(error.extra[0], dict):
        parameter = str(error.extra[0].get("key", "")) or None
        detail = f"{parameter}: {error.extra[0].get('message', detail)}"
    if error.status_code == 405:
        methods = allowed_methods(request.app, request.scope["path"])
        headers = [(b"allow", ", ".join(methods).encode())]
    remedy = "see /schema for what this endpoint takes"
    return _problem(request, ProblemError(error.status_code, detail, remedy, parameter, headers))


def _unexpected(request: HttpRequest, error: Exception) -> Response[bytes]:
    # Only the path is logged: a query or a header may hold a key or a shopper's data.
    _LOG.error(
        "an unexpected error while answering %s %s (request %s)",
        request.method,
        request.scope["path"],
        client_id(request.scope["headers"]),
        exc_info=error,
    )
    return _problem(request, ProblemError(500, type(error).__name__, "report it with the time and the log's lines"))


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    ProblemError: _problem,
    HTTPException: _http_error,
    Exception: _unexpected,
}


def allowed_methods(litestar: Litestar, path: str) -> list[str]:
    """The HTTP methods of all routes that match a path, sorted."""
    methods: set[str] = set()
    for route in litestar.routes:
        if re.fullmatch(re.sub(r"{[^/]*}", "[^/]+", route.path), path):
            methods |= set(getattr(route, "methods", ()))
    if "GET" in methods and path != HOT_PATH:
        methods.add("HEAD")
    return sorted(methods)
