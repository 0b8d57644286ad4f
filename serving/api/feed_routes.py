"""Routes that take JSON lines: live price and stock, and shoppers' events."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler

from serving.api.access import key_guard
from serving.api.openapi import HttpRequest, JsonLinesOperation, problems
from serving.api.worker import Worker
from serving.logs.events import read_events
from serving.logs.file_log import LogError
from serving.logs.item_feed import Refusal, read_changes, split_rows
from serving.problems import ProblemError
from serving.shelf.item_state import ItemChange, encode_changes

_STEP_LINES = 250  # about a millisecond of work between answers
Row = TypeVar("Row", ItemChange, bytes)


class Taken(msgspec.Struct, frozen=True):
    """How many rows were accepted, and which were refused."""

    accepted: int
    refused: list[Refusal]


def feed_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    return [_items(worker), _events(worker)]


def _items(worker: Worker) -> HTTPRouteHandler:
    @post(
        "/items",
        summary="Live price, stock and moderation, as JSON lines",
        status_code=202,
        responses=problems(408, 413, 507),
        operation_class=JsonLinesOperation,
        guards=key_guard(worker.gate, "feed"),
    )
    async def items(request: HttpRequest) -> Taken:
        changes, refused = await _read(await request.body(), read_changes)
        if changes:
            await _append(worker.append_items, encode_changes(changes))
        worker.metrics.add("topshelf_items_changed_total", len(changes))
        worker.metrics.add("topshelf_items_refused_total", len(refused))
        return Taken(len(changes), refused)

    return items


def _events(worker: Worker) -> HTTPRouteHandler:
    @post(
        "/events",
        summary="What shoppers do, as JSON lines",
        status_code=202,
        responses=problems(408, 413, 507),
        operation_class=JsonLinesOperation,
        guards=key_guard(worker.gate, "feed"),
    )
    async def events(request: HttpRequest) -> Taken:
        lines, refused = await _read(await request.body(), read_events)
        if lines:
            await _append(worker.append_events, b"".join(lines))
        worker.metrics.add("topshelf_events_taken_total", len(lines))
        worker.metrics.add("topshelf_events_refused_total", len(refused))
        return Taken(len(lines), refused)

    return events


async def _read(
    body: bytes, rows_of: Callable[[list[bytes], float, int], Iterator[Row | Refusal]]
) -> tuple[list[Row], list[Refusal]]:
    """Read the JSON lines of a body, a few at a time so that answers go on: the rows accepted, and those refused.

    Raises ProblemError (413) for a body that is too large.
    """
    lines, now = split_rows(body), time.time()
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


async def _append(append: Callable[[bytes], Awaitable[None]], lines: bytes) -> None:
    """Append lines to a log. Raises ProblemError: 507 where the disk is full, 503 where Redis does not answer."""
    try:
        await append(lines)
    except LogError as error:
        disk_is_full = "cannot be written" in str(error)
        raise ProblemError(507 if disk_is_full else 503, str(error), "send it again once that is repaired") from error
