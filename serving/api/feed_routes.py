"""Routes that take rows: live price and stock, and shoppers' events."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TypeVar, cast

import msgspec
from litestar import Response, post
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from serving.api.access import header_value, key_guard
from serving.api.feed_bodies import inflated, split_rows
from serving.api.openapi import EventsOperation, HttpRequest, ItemsOperation, problems
from serving.api.worker import Worker
from serving.logs.events import read_events
from serving.logs.file_log import LogError
from serving.logs.item_feed import Refusal, read_changes
from serving.problems import CONTENT_TYPE, Problem, ProblemError
from serving.shelf.item_state import ItemChange, encode_changes

_STEP_LINES = 250  # about a millisecond of work between answers
Row = TypeVar("Row", ItemChange, bytes)


class Taken(msgspec.Struct, frozen=True):
    """How many rows were accepted, and which were refused: 202 where none was, 207 where some were."""

    accepted: int
    refused: list[Refusal]


class RowsRefused(Problem, omit_defaults=True):
    """The problem of a request of which nothing was accepted; `refused` says why, row by row."""

    refused: tuple[Refusal, ...] = ()


_RESPONSES = {
    **problems(408, 413, 415, 503, 507),
    207: ResponseSpec(Taken, generate_examples=False, description="Some rows were refused"),
    400: ResponseSpec(
        RowsRefused,
        generate_examples=False,
        description="No row was accepted, or the body is not valid",
        media_type=cast("MediaType", CONTENT_TYPE.decode()),
    ),
}


def feed_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    return [_items(worker), _events(worker)]


def _items(worker: Worker) -> HTTPRouteHandler:
    @post(
        "/items",
        summary="Live price, stock and moderation",
        operation_id="send_items",
        status_code=202,
        responses=_RESPONSES,
        operation_class=ItemsOperation,
        guards=key_guard(worker.gate, "feed"),
    )
    async def items(request: HttpRequest) -> Response[Taken]:
        changes, refused = await _read(request, partial(read_changes, newest_ms=worker.state.newest_ms))
        if changes:
            await _append(worker.append_items, encode_changes(changes))
        worker.metrics.add("topshelf_items_changed_total", len(changes))
        worker.metrics.add("topshelf_items_refused_total", len(refused))
        return _answer(len(changes), refused)

    return items


def _events(worker: Worker) -> HTTPRouteHandler:
    @post(
        "/events",
        summary="What shoppers do",
        operation_id="send_events",
        status_code=202,
        responses=_RESPONSES,
        operation_class=EventsOperation,
        guards=key_guard(worker.gate, "events"),
    )
    async def events(request: HttpRequest) -> Response[Taken]:
        lines, refused = await _read(request, read_events)
        if lines:
            await _append(worker.append_events, b"".join(lines))
        worker.metrics.add("topshelf_events_taken_total", len(lines))
        worker.metrics.add("topshelf_events_refused_total", len(refused))
        return _answer(len(lines), refused)

    return events


async def _read(
    request: HttpRequest, rows_of: Callable[[list[bytes], float, int], Iterator[Row | Refusal]]
) -> tuple[list[Row], list[Refusal]]:
    """Read the rows of a body, a few at a time so that answers go on: those accepted, and those refused.

    Raises ProblemError: 400, 413 or 415 for a body that cannot be read as rows.
    """
    headers, body = request.scope["headers"], await request.body()
    encoding = header_value(headers, b"content-encoding")
    if encoding is not None:
        body = await asyncio.to_thread(inflated, body, encoding)
    lines, now = split_rows(body, header_value(headers, b"content-type")), time.time()
    accepted: list[Row] = []
    refused: list[Refusal] = []
    for first in range(0, len(lines), _STEP_LINES):
        for row in rows_of(lines[first : first + _STEP_LINES], now, first + 1):
            if isinstance(row, Refusal):
                refused.append(row)
            else:
                accepted.append(row)
        await asyncio.sleep(0)
    return accepted, refused


def _answer(accepted: int, refused: list[Refusal]) -> Response[Taken]:
    if accepted or not refused:
        return Response(Taken(accepted, refused), status_code=207 if refused else 202)
    first = refused[0]
    problem = RowsRefused(
        "about:blank",
        "No row was accepted",
        400,
        f"all {len(refused)} rows were refused, row {first.line} because of: {first.reason}",
        "send rows as /schema documents them",
        refused=tuple(refused),
    )
    # Its type is that of a 202, for the schema; `_RESPONSES` documents the problem.
    return Response(cast("Taken", problem), status_code=400, media_type=CONTENT_TYPE.decode())


async def _append(append: Callable[[bytes], Awaitable[None]], lines: bytes) -> None:
    """Append lines to a log. Raises ProblemError: 507 where the disk is full, 503 where Redis does not answer."""
    try:
        await append(lines)
    except LogError as error:
        disk_is_full = "cannot be written" in str(error)
        raise ProblemError(507 if disk_is_full else 503, str(error), "send it again once that is repaired") from error
