"""What a call may raise. All of it is a `TopshelfError`, so a page can do without a shelf by catching that alone.

try:
    shelf = topshelf.recommend("anna")
except TopshelfError:
    shelf = None
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A row that was refused: its line, from 1, among the rows of the call, and why."""

    line: int
    reason: str


class TopshelfError(Exception):
    """Any failure of a call."""


class NoAnswerError(TopshelfError):
    """No whole answer came: no connection, a timeout, or a connection that broke. Its cause is httpx's exception.

    `sent` is False where the request cannot have reached the endpoint.
    """

    def __init__(self, cause: httpx.RequestError) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__)
        self.sent = not isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


class UnreadableAnswerError(TopshelfError):
    """An answer that the endpoint does not give: is the base URL that of something else?"""


class ProblemError(TopshelfError):
    """The endpoint's problem document (RFC 9457): what is wrong, with which parameter, and the remedy.

    `retry_after_s` is how long to wait before the call can succeed, where the endpoint says so.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        remedy: str = "",
        *,
        title: str = "",
        parameter: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{status}: {detail}; {remedy}" if remedy else f"{status}: {detail}")
        self.status, self.title, self.detail, self.remedy = status, title, detail, remedy
        self.parameter, self.request_id, self.retry_after_s = parameter, request_id, retry_after_s


class InvalidRequestError(ProblemError):
    """400: the request is not valid; `parameter` says which part of it."""


class RowsRefusedError(InvalidRequestError):
    """400: of all rows none was accepted; `refused` says why, row by row."""

    refused: Sequence[Refusal] = ()


class UnauthorizedError(ProblemError):
    """401: no valid key was sent."""


class ForbiddenError(ProblemError):
    """403: the key has another scope."""


class NotFoundError(ProblemError):
    """404: there is no such item, or the base URL is not the endpoint's."""


class TooLargeError(ProblemError):
    """413: the request is too large."""


class RateLimitedError(ProblemError):
    """429: the key's rate is spent for `retry_after_s` seconds."""


class UnavailableError(ProblemError):
    """502, 503 or 504: the endpoint cannot answer now, or what stands before it cannot reach it."""


class DiskFullError(ProblemError):
    """507: the endpoint's disk is full; nothing of the request was taken."""


_BY_STATUS: dict[int, type[ProblemError]] = {
    400: InvalidRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    413: TooLargeError,
    429: RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
    507: DiskFullError,
}


class _Document(msgspec.Struct, frozen=True):
    status: int
    detail: str
    title: str = ""
    remedy: str = ""
    parameter: str | None = None
    request_id: str | None = None
    retry_after_s: float | None = None
    refused: list[Refusal] = []


_DOCUMENT = msgspec.json.Decoder(_Document)


@contextmanager
def no_answer() -> Iterator[None]:
    """Make httpx's failures a NoAnswerError."""
    try:
        yield
    except httpx.RequestError as error:
        raise NoAnswerError(error) from error


def problem_of(response: httpx.Response) -> ProblemError:
    """Return what a response that is no 2xx says, read whole. What is no problem document has the status alone."""
    seconds = response.headers.get("retry-after", "")
    retry_after_s = float(seconds) if seconds.isascii() and seconds.isdecimal() else None
    try:
        problem = problem_in(response.content)
    except msgspec.DecodeError:  # of a proxy, most often
        remedy = "see what stands between this program and the endpoint"
        kind = _BY_STATUS.get(response.status_code, ProblemError)
        problem = kind(response.status_code, "an answer without a problem document", remedy)
    if retry_after_s is not None:
        problem.retry_after_s = retry_after_s
    return problem


def problem_in(document: bytes) -> ProblemError:
    """Return the problem of a document. Raises msgspec.DecodeError for what is none."""
    read = _DOCUMENT.decode(document)
    kind = RowsRefusedError if read.refused else _BY_STATUS.get(read.status, ProblemError)
    problem = kind(
        read.status,
        read.detail,
        read.remedy,
        title=read.title,
        parameter=read.parameter,
        request_id=read.request_id,
        retry_after_s=read.retry_after_s,
    )
    if isinstance(problem, RowsRefusedError):
        problem.refused = read.refused
    return problem
