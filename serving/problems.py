"""Errors as RFC 9457 problem documents: what is wrong, with which parameter, and the remedy."""

import msgspec

CONTENT_TYPE = b"application/problem+json"
_TITLES = {
    400: "The request cannot be understood",
    401: "A key is needed",
    403: "This is not allowed",
    404: "There is no such thing",
    405: "This method is not known here",
    413: "The request is too large",
    408: "The request took too long to arrive",
    431: "The request's headers are too large",
    415: "This content type is not read here",
    429: "Too many requests",
    500: "The endpoint made a mistake",
    503: "The endpoint cannot answer yet",
    507: "The endpoint's disk is full",
}


class Problem(msgspec.Struct, omit_defaults=True):
    """A problem document (RFC 9457): what is wrong, with which parameter, and the remedy."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    parameter: str | None = None
    request_id: str | None = None


class ProblemError(Exception):
    """A request that gets a problem document with this status; `remedy` says what to do."""

    def __init__(
        self,
        status: int,
        detail: str,
        remedy: str,
        parameter: str | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.remedy, self.parameter = status, detail, remedy, parameter
        self.headers = headers or []

    def document(self, request_id: str | None = None) -> Problem:
        """Return the problem document."""
        title = _TITLES.get(self.status, "Error")
        return Problem("about:blank", title, self.status, self.detail, self.remedy, self.parameter, request_id)

    def to_json(self, request_id: str | None = None) -> bytes:
        """Return the problem document as JSON."""
        return msgspec.json.encode(self.document(request_id))
