"""What the OpenAPI document says beside what the types say: limits of parameters, problems, bodies of lines."""

from dataclasses import dataclass
from typing import Annotated, Any

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPI, OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import Parameter

from serving.api.parameters import ACTION, MAX_LIMIT, MAX_TEXT_BYTES, PRICE, Action, Body, Context, FilterParameters
from serving.problems import CONTENT_TYPE, Problem
from serving.shelf.recent_actions import ACTION_KINDS

_IDS = "with commas between"
Limit = Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="items wanted")]
Text = Annotated[str | None, Parameter(min_length=1, max_length=MAX_TEXT_BYTES)]
Id = Annotated[str, Parameter(min_length=1, max_length=MAX_TEXT_BYTES, description="as the shop landed it")]
Price = Annotated[str | None, Parameter(pattern=f"^{PRICE}$", description="a decimal such as 12.50")]
Exclude = Annotated[str | None, Parameter(description=f"item ids to leave out, {_IDS}")]
Categories = Annotated[str | None, Parameter(description=f"paths that a new user chose, {_IDS}")]
LastActions = Annotated[
    str | None,
    Parameter(
        description="what the user just did, the newest first",
        pattern=f"^{ACTION}(,{ACTION}){{0,19}}$",
    ),
]
RequestId = Annotated[
    str | None,
    Parameter(
        pattern=r"^([A-Za-z0-9._:-]{1,128}\.)?[0-9a-f]{32}$",
        description="of an answer, whose exploration is drawn again",
    ),
]
_TOLD = {
    400: "The request cannot be understood",
    401: "No valid key was sent",
    403: "The key has another scope",
    404: "There is no such thing",
    408: "The body took too long to arrive",
    413: "The request is too large",
    429: "The key's rate is spent",
    503: "No snapshot was ever loaded, or Redis is away",
    507: "The endpoint's disk is full",
}


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems that a route may answer with, beside those that every route may."""
    media: Any = CONTENT_TYPE.decode()
    return {
        status: ResponseSpec(Problem, generate_examples=False, description=_TOLD[status], media_type=media)
        for status in sorted({400, 401, 403, 429, *statuses})
    }


@dataclass
class OfLines(Operation):
    """An operation whose body is JSON lines."""

    def __post_init__(self) -> None:
        lines = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, description="one JSON object a line"))
        self.request_body = RequestBody(content={"text/plain": lines}, required=False)


def complete(document: OpenAPI) -> None:
    """Say of the bodies what their types say and the generated schema leaves out."""
    schemas: dict[str, Any] = (document.components.schemas or {}) if document.components is not None else {}
    for kind in (Body, Context, FilterParameters, Action):
        schemas[kind.__name__].additional_properties = False
    price = Schema(
        one_of=[
            Schema(type=OpenAPIType.NUMBER, minimum=0),
            Schema(type=OpenAPIType.STRING, pattern=f"^{PRICE}$"),
            Schema(type=OpenAPIType.NULL),
        ]
    )
    schemas[FilterParameters.__name__].properties |= {"price_min": price, "price_max": price}
    schemas[Action.__name__].properties |= {
        "type": Schema(type=OpenAPIType.STRING, enum=list(ACTION_KINDS)),
        "item_id": Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_TEXT_BYTES),
    }
    schemas[Body.__name__].properties["limit"] = Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=MAX_LIMIT)
