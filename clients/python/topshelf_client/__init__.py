"""Topshelf's endpoint, called from Python.

    from topshelf_client import Client
    with Client("http://127.0.0.1:8000", key="…") as topshelf:
        shelf = topshelf.recommend("anna", limit=5, fields=["title", "price"])

`AsyncClient` has the same methods. Every failure is a `TopshelfError`.
"""

from topshelf_client.answers import (
    Answer,
    BatchAnswer,
    BatchProblem,
    Erased,
    Health,
    Page,
    PagePlan,
    PageShelf,
    Recommendation,
    SharedPage,
    SharedShelf,
    ShelfPlace,
    SimilarItems,
    Taken,
    Trace,
)
from topshelf_client.async_client import AsyncClient
from topshelf_client.client import Client
from topshelf_client.options import (
    ActionKind,
    BatchOptions,
    EventRow,
    Field,
    ItemOptions,
    ItemRow,
    PageOptions,
    SharedOptions,
    ShelfOptions,
    TraceOptions,
)
from topshelf_client.problems import (
    DiskFullError,
    ForbiddenError,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    ProblemError,
    RateLimitedError,
    Refusal,
    RowsRefusedError,
    TooLargeError,
    TopshelfError,
    UnauthorizedError,
    UnavailableError,
    UnreadableAnswerError,
)

__all__ = [
    "ActionKind",
    "Answer",
    "AsyncClient",
    "BatchAnswer",
    "BatchOptions",
    "BatchProblem",
    "Client",
    "DiskFullError",
    "Erased",
    "EventRow",
    "Field",
    "ForbiddenError",
    "Health",
    "InvalidRequestError",
    "ItemOptions",
    "ItemRow",
    "NoAnswerError",
    "NotFoundError",
    "Page",
    "PageOptions",
    "PagePlan",
    "PageShelf",
    "ProblemError",
    "RateLimitedError",
    "Recommendation",
    "Refusal",
    "RowsRefusedError",
    "SharedOptions",
    "SharedPage",
    "SharedShelf",
    "ShelfOptions",
    "ShelfPlace",
    "SimilarItems",
    "Taken",
    "TooLargeError",
    "TopshelfError",
    "Trace",
    "TraceOptions",
    "UnauthorizedError",
    "UnavailableError",
    "UnreadableAnswerError",
]
