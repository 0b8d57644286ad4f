"""What routes declare: their request, their parameters with limits, their problem documents and bodies of rows.

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
from litestar.params import HeaderParameter, Parameter

from serving.api.batch_body import MAX_USERS, BatchBody
from serving.api.feed_bodies import JSON, LINES
from serving.api.parameters import (
    ACTION,
    ARM,
    FIELD,
    MAX_LIMIT,
    MAX_TEXT_BYTES,
    PRICE,
    Action,
    Body,
    Context,
    FilterParameters,
)
from serving.logs.events import Event
from serving.logs.item_feed import MAX_BYTES, MAX_ROWS, MAX_STOCK, FeedRow
from serving.problems import CONTENT_TYPE, Problem, ProblemError
from serving.shelf.item_fields import FIELDS
from serving.shelf.recent_actions import ACTION_KINDS

HttpRequest: TypeAlias = Request[None, None, State]


class JsonRequest(HttpRequest):
    """A request with a JSON body."""

    async def json(self) -> object:
        """Return the body. Raises SerializationException for most that is no JSON, and ProblemError for the rest."""
        try:
            return await super().json()
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise ProblemError(
                400, f"the body is not valid: {reason}", "send the JSON that /schema documents"
            ) from error


_SEPARATED = "separated by commas"
Limit = Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="how many items to return")]
MostItems = Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="no shelf of the page has more items")]
Text = Annotated[str | None, Parameter(min_length=1, max_length=MAX_TEXT_BYTES)]
SessionId = Annotated[
    str | None,
    Parameter(
        min_length=1,
        max_length=MAX_TEXT_BYTES,
        description="the visit, as events name it: what was done in it counts, with and without a user_id",
    ),
]
Id = Annotated[str, Parameter(min_length=1, max_length=MAX_TEXT_BYTES, description="the shop's own id")]
Price = Annotated[str | None, Parameter(pattern=f"^{PRICE}$", description="a decimal such as 12.50")]
Exclude = Annotated[str | None, Parameter(description=f"item ids to leave out, {_SEPARATED}")]
Basket = Annotated[
    str | None, Parameter(description=f"item ids in the basket, {_SEPARATED}; else those that last actions put there")
]
Categories = Annotated[str | None, Parameter(description=f"category paths that a new user chose, {_SEPARATED}")]
LastActions = Annotated[
    str | None,
    Parameter(
        description="what the user just did, newest first",
        pattern=f"^{ACTION}(,{ACTION}){{0,19}}$",
    ),
]
Arms = Annotated[
    str | None,
    Parameter(
        description="experiments and the arms to be in, for testers with a key of scope admin",
        pattern=f"^{ARM}(,{ARM}){{0,9}}$",
    ),
]
Details = Annotated[
    bool, Parameter(description="tell each item's source, reason code with what it names, and fill level")
]
AcceptLanguage = Annotated[
    str | None,
    HeaderParameter(name="Accept-Language", description="the language of reasons; English where none is known"),
]
Fields = Annotated[
    str | None,
    Parameter(
        description=f"what each item carries besides: {', '.join(FIELDS)}; {_SEPARATED}",
        pattern=f"^{FIELD}(,{FIELD}){{0,{len(FIELDS) - 1}}}$",
    ),
]
RequestId = Annotated[
    str | None,
    Parameter(
        pattern=r"^([A-Za-z0-9._:-]{1,128}\.)?[0-9a-f]{32}$",
        description="an answer's request_id: the trace repeats its exploration",
    ),
]
_TIME = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
_DESCRIPTIONS = {
    400: "The request is not valid",
    401: "No valid key was sent",
    403: "The key has another scope, or there are no keys and a page of another site sent it",
    404: "The live snapshot has no such item",
    408: "The body took too long to arrive",
    413: "The request is too large",
    415: "The body's type or encoding is not read here",
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
class ItemsOperation(Operation):
    """An operation whose request body is rows of the live feed."""

    def __post_init__(self) -> None:
        self.request_body = _rows_body(FeedRow)


@dataclass
class EventsOperation(Operation):
    """An operation whose request body is events."""

    def __post_init__(self) -> None:
        self.request_body = _rows_body(Event)


def _rows_body(row: type[msgspec.Struct]) -> RequestBody:
    one = Reference(ref=f"#/components/schemas/{row.__name__}")
    both = Schema(one_of=[Schema(type=OpenAPIType.ARRAY, items=one, max_items=MAX_ROWS), one])
    lines = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, description="one JSON object a line"))
    return RequestBody(
        content={JSON: OpenAPIMediaType(schema=both), **dict.fromkeys(LINES, lines)},
        description=f"Up to {MAX_ROWS} rows in {MAX_BYTES} bytes. May be sent with Content-Encoding: gzip.",
        required=False,
    )


def complete(document: OpenAPI) -> None:
    """Add the rows of feeds, and the limits of JSON bodies, which the generated schema leaves out.

    Take defaults away: to generators of clients, a field with a default is always there.
    """
    assert document.components is not None
    schemas = document.components.schemas
    for schema in schemas.values():
        for field in (schema.properties or {}).values():
            if isinstance(field, Schema):
                field.default = None
    properties: dict[type[msgspec.Struct], dict[str, Schema | Reference]] = {}
    for struct in (Body, BatchBody, Context, FilterParameters, Action):
        schema = schemas[struct.__name__]
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
    _, rows = msgspec.json.schema_components([FeedRow, Event], ref_template="#/components/schemas/{name}")
    rows["FeedRow"]["properties"] |= {"price": price, "ts": _TIME}
    rows["FeedRow"]["properties"]["stock"]["anyOf"][0] |= {"maximum": MAX_STOCK}
    rows["Event"]["properties"] |= {"unit_price": price, "ts": _TIME}
    rows["Event"]["properties"]["event_type"] = {"type": "string", "enum": list(ACTION_KINDS)}
    schemas |= {name: cast("Schema", schema) for name, schema in rows.items()}
    properties[Action] |= {
        "type": Schema(type=OpenAPIType.STRING, enum=list(ACTION_KINDS)),
        "item_id": Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_TEXT_BYTES),
    }
    names = Schema(type=OpenAPIType.STRING, enum=list(FIELDS))
    for body in (properties[Body], properties[BatchBody]):
        body["fields"] = Schema(type=OpenAPIType.ARRAY, items=names, max_items=len(FIELDS))
        body["limit"] = Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=MAX_LIMIT)
    properties[BatchBody]["user_ids"] = Schema(
        type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING), min_items=1, max_items=MAX_USERS
    )
