"""What routes declare: their request, their parameters with limits, their problem documents and JSON-lines bodies.

Litestar checks parameters by it and makes the OpenAPI document from it.
"""

from dataclasses import dataclass
from typing import Annotated, TypeAlias, cast

import msgspec
from litestar import MediaType, Request
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPI, OpenAPIMediaType, Operation, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import Parameter

from serving.api.parameters import ACTION, MAX_LIMIT, MAX_TEXT_BYTES, PRICE, Action, Body, Context, FilterParameters
from serving.problems import CONTENT_TYPE, Problem
from serving.shelf.recent_actions import ACTION_KINDS

HttpRequest: TypeAlias = Request[None, None, State]
_SEPARATED = "separated by commas"
Limit = Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="how many items to return")]
Text = Annotated[str | None, Parameter(min_length=1, max_length=MAX_TEXT_BYTES)]
Id = Annotated[str, Parameter(min_length=1, max_length=MAX_TEXT_BYTES, description="the shop's own id")]
Price = Annotated[str | None, Parameter(pattern=f"^{PRICE}$", description="a decimal such as 12.50")]
Exclude = Annotated[str | None, Parameter(description=f"item ids to leave out, {_SEPARATED}")]
Categories = Annotated[str | None, Parameter(description=f"category paths that a new user chose, {_SEPARATED}")]
LastActions = Annotated[
    str | None,
    Parameter(
        description="what the user just did, newest first",
        pattern=f"^{ACTION}(,{ACTION}){{0,19}}$",
    ),
]
RequestId = Annotated[
    str | None,
    Parameter(
        pattern=r"^([A-Za-z0-9._:-]{1,128}\.)?[0-9a-f]{32}$",
        description="an answer's request_id: the trace repeats its exploration",
    ),
]
_DESCRIPTIONS = {
    400: "The request is not valid",
    401: "No valid key was sent",
    403: "The key has another scope, or there are no keys and a page of another site sent it",
    404: "The live snapshot has no such item",
    408: "The body took too long to arrive",
    413: "The request is too large",
    429: "The key's rate limit is reached",
    503: "No snapshot is loaded yet, the keys cannot be read, or Redis does not answer",
    507: "The endpoint's disk is full",
}


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem documents of a route: those with `statuses`, and those that every route has."""
    media_type = cast("MediaType", CONTENT_TYPE.decode())  # an enumeration of common types, but any text will do
    return {
        status: ResponseSpec(
            Problem, generate_examples=False, description=_DESCRIPTIONS[status], media_type=media_type
        )
        for status in sorted({400, 401, 403, 429, 503, *statuses})
    }


@dataclass
class JsonLinesOperation(Operation):
    """An operation whose request body is JSON lines."""

    def __post_init__(self) -> None:
        lines = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, description="one JSON object per line"))
        self.request_body = RequestBody(content={"text/plain": lines}, required=False)


def complete(document: OpenAPI) -> None:
    """Add the limits of JSON bodies, which the generated schema leaves out."""
    schemas = document.components.schemas if document.components is not None else None
    properties: dict[type[msgspec.Struct], dict[str, Schema | Reference]] = {}
    for struct in (Body, Context, FilterParameters, Action):
        schema = (schemas or {})[struct.__name__]
        assert isinstance(schema, Schema)
        assert schema.properties is not None
        schema.additional_properties = False
        properties[struct] = schema.properties
    price = Schema(
        one_of=[
            Schema(type=OpenAPIType.NUMBER, minimum=0),
            Schema(type=OpenAPIType.STRING, pattern=f"^{PRICE}$"),
            Schema(type=OpenAPIType.NULL),
        ]
    )
    properties[FilterParameters] |= {"price_min": price, "price_max": price}
    properties[Action] |= {
        "type": Schema(type=OpenAPIType.STRING, enum=list(ACTION_KINDS)),
        "item_id": Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_TEXT_BYTES),
    }
    properties[Body]["limit"] = Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=MAX_LIMIT)
