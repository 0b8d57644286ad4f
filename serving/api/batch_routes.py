"""Many shoppers' shelves in one request, streamed as JSON lines: `POST /recommendations/batch`.

curl --json '{"user_ids": ["anna", "ben"], "limit": 4}' http://127.0.0.1:8000/recommendations/batch

A line is made when it is sent. Between two of them the worker answers whatever else it was asked, so a batch holds up
no other request for longer than one answer takes.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import msgspec
from litestar import MediaType, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from serving.api.accept_language import language_headers
from serving.api.access import client_id, header_value, key_guard
from serving.api.answers import Answer
from serving.api.batch_body import BatchBody, read_batch
from serving.api.feed_bodies import LINES
from serving.api.keys import Key
from serving.api.openapi import AcceptLanguage, HttpRequest, JsonRequest, problems
from serving.api.parameters import check_text
from serving.api.worker import Worker
from serving.problems import Problem, ProblemError
from serving.shelf.languages import Language
from serving.shelf.request import ShelfRequest

BATCH_PATH = "/recommendations/batch"
_MAX_BODY_BYTES = 1 << 20
_LINES_TYPE = LINES[0]
_LOG = logging.getLogger(__name__)


class BatchAnswer(Answer, frozen=True, omit_defaults=True, kw_only=True):
    """A line of a batch: the shelf of `user_id`."""

    user_id: str


class BatchProblem(Problem, omit_defaults=True, kw_only=True):
    """A line of a batch that is no shelf: why `user_id` gets none, and after how many seconds to ask again."""

    user_id: str
    retry_after_s: int | None = None


_LINE = ResponseSpec(
    cast("type[BatchAnswer]", BatchAnswer | BatchProblem),
    generate_examples=False,
    description="JSON lines, of which the schema is one: a line a user, in the order of the request",
    media_type=cast("MediaType", _LINES_TYPE),  # an enumeration of common types, but any text will do
)
_ENCODER = msgspec.json.Encoder()


def batch_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """All routes of this module."""

    @post(
        BATCH_PATH,
        summary="Many shoppers' shelves, a line each",
        operation_id="recommend_batch",
        status_code=200,
        media_type=_LINES_TYPE,
        responses={200: _LINE, **problems(408, 413)},
        guards=key_guard(worker.gate, "read"),
        request_class=JsonRequest,
        request_max_body_size=_MAX_BODY_BYTES,
    )
    async def batch(request: HttpRequest, *, data: BatchBody, accept_language: AcceptLanguage = None) -> Stream:
        user_ids, shared = read_batch(await request.body())
        worker.answers.check_ready()
        headers = request.scope["headers"]
        authorization, host = header_value(headers, b"authorization"), header_value(headers, b"host")
        key = worker.gate.authenticate(authorization, host, "read")
        language = worker.languages.of_request(headers)
        lines = _lines(_Asked(worker, key, shared, client_id(headers), language), user_ids)
        answer_headers = {"cache-control": "no-store", **language_headers(language)}
        return Stream(lines, media_type=_LINES_TYPE, headers=answer_headers)

    return [batch]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all lines of a batch share."""

    worker: Worker
    key: Key | None
    shared: ShelfRequest
    client: str | None
    language: Language


async def _lines(asked: _Asked, user_ids: list[str]) -> AsyncIterator[bytes]:
    """Yield the lines of a batch. Each takes a request off the key's rate; the route took the first one's already."""
    for number, user_id in enumerate(user_ids):
        yield await _line(asked, user_id, is_paid=number == 0)
        await asyncio.sleep(0)  # other requests of this worker go on


async def _line(asked: _Asked, user_id: str, *, is_paid: bool) -> bytes:
    """A user's answer, or the problem with it: whatever happens, the other lines follow."""
    try:
        if asked.key is not None and not is_paid:
            await asked.worker.gate.spend(asked.key, time.monotonic())
        check_text("user_id", user_id)
        request = msgspec.structs.replace(asked.shared, user_id=user_id)
        body, _ = asked.worker.pages.recommend(request, asked.client, asked.language)
        return b'{"user_id":%b,%b\n' % (_ENCODER.encode(user_id), body[1:])
    except ProblemError as error:
        problem = error
    except Exception as error:
        _LOG.exception("an unexpected error in a line of a batch (request %s)", asked.client)
        problem = ProblemError(500, type(error).__name__, "report it with the time and the log's lines")
    retry_after = header_value(problem.headers, b"retry-after")
    fields = msgspec.structs.asdict(problem.document(asked.client))
    line = BatchProblem(**fields, user_id=user_id, retry_after_s=None if retry_after is None else int(retry_after))
    return _ENCODER.encode(line) + b"\n"
