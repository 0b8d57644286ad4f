"""Parses a query string or a JSON body into a `ShelfRequest`. Every refusal names the parameter and the remedy."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from urllib.parse import unquote

import msgspec

from serving import money
from serving.problems import ProblemError
from serving.shelf.item_fields import FIELDS
from serving.shelf.recent_actions import ACTION_KINDS, MAX_ACTIONS
from serving.shelf.request import ShelfRequest
from serving.snapshot.manifest import NOT_JSON

MAX_LIMIT = 500
MAX_TEXT_BYTES = 256
_SHORT_CHARACTERS = MAX_TEXT_BYTES // 4  # a text of this length has at most MAX_TEXT_BYTES bytes of UTF-8
MAX_EXCLUDE = 1_000
MAX_QUERY_BYTES = 8_192
_KEPT_QUERY_BYTES = 256  # longer ones name items, and hardly two are equal
_TEXTS = ("user_id", "session_id", "item_id", "category", "page", "device", "location", "region", "age_band")
_LISTS = ("exclude", "categories", "actions", "arms", "fields", "basket")
_KNOWN = frozenset((*_TEXTS, *_LISTS, "limit", "price_min", "price_max", "details"))
MAX_CATEGORIES = 10
MAX_BASKET = 100
MAX_ARMS = 10
ARM = "[a-z0-9-]{1,40}:[a-z0-9-]{1,40}"
FIELD = f"({'|'.join(FIELDS)})"
ACTION = rf"({'|'.join(ACTION_KINDS)}):[^,]{{1,256}}"
PRICE = r"[0-9]{1,12}(\.[0-9]{1,4})?"


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the shelf is shown, and what the shop knows of the shopper."""

    page: str | None = None
    device: str | None = None
    location: str | None = None
    region: str | None = None
    age_band: str | None = None
    categories: tuple[str, ...] = ()  # a tuple, because a struct with a default must be hashable


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that the user just did; `type` is one of ACTION_KINDS."""

    type: str
    item_id: str


class FilterParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Only items of this category path or below it are shown, with prices (decimals) in this range."""

    category: str | None = None
    price_min: Decimal | None = None
    price_max: Decimal | None = None


class ShelfBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a JSON body may ask of a shelf, whoever it is for."""

    context: Context = Context()
    limit: int = 20
    filters: FilterParameters = FilterParameters()
    exclude: list[str] = []
    details: bool = False
    fields: list[str] = []


class Body(ShelfBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The JSON body of `POST /recommendations`."""

    user_id: str | None = None
    session_id: str | None = None
    actions: list[Action] = []
    arms: dict[str, str] = {}
    item_id: str | None = None
    basket: list[str] = []


_PLAIN_ID = re.compile(rb"[A-Za-z0-9._~:@|,-]{1,256}")  # an id that URL-encoding leaves as it is
_BODY = msgspec.json.Decoder(Body)


def _refuse(parameter: str, detail: str, remedy: str) -> ProblemError:
    return ProblemError(400, f"{parameter}: {detail}", remedy, parameter)


def from_query(query: bytes) -> ShelfRequest:
    """Parse the query of `GET /recommendations`. Raises ProblemError (400, or 413 for a query that is too long)."""
    user_id, rest = _without_id(query, b"user_id=")
    session_id, rest = _without_id(rest, b"session_id=")
    if len(rest) < len(query) and b"user_id" not in rest and b"session_id" not in rest and b"%" not in rest:
        parse = _known_query if len(rest) <= _KEPT_QUERY_BYTES else _from_query
        return msgspec.structs.replace(parse(rest), user_id=user_id, session_id=session_id)
    return _from_query(query)


def _without_id(query: bytes, name: bytes) -> tuple[str | None, bytes]:
    """Return the id that follows `name`, and the query without both; where it is no plain id, None and the query."""
    first = query.find(name)
    if first == 0 or (first > 0 and query[first - 1 : first] == b"&"):
        end = query.find(b"&", first)
        found = query[first + len(name) :] if end < 0 else query[first + len(name) : end]
        if _PLAIN_ID.fullmatch(found):
            return found.decode("ascii"), query[:first] if end < 0 else query[:first] + query[end + 1 :]
    return None, query


@lru_cache(4_096)
def _known_query(query: bytes) -> ShelfRequest:
    """Parse and keep a query without its ids: few are distinct."""
    return _from_query(query)


def _from_query(query: bytes) -> ShelfRequest:
    if len(query) > MAX_QUERY_BYTES:
        raise ProblemError(413, f"a query of {len(query)} bytes", f"send at most {MAX_QUERY_BYTES}, or use POST")
    try:
        pairs = _pairs(query.decode("ascii"))
    except ValueError as error:
        raise ProblemError(
            400, f"the query is not URL-encoded UTF-8: {error}", "encode it, with %20 for a space"
        ) from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        repeated = next(name for name in fields if sum(name == other for other, _ in pairs) > 1)
        raise _refuse(repeated[:64], "given more than once", "give it once")
    if not fields.keys() <= _KNOWN:
        unknown = next(name for name in fields if name not in _KNOWN)
        raise _refuse(unknown[:64], "not a parameter of this call", f"use {', '.join(sorted(_KNOWN))}")
    get = fields.get
    limit = get("limit", "20")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 6):
        raise _refuse("limit", "not a whole number", f"give a number from 1 to {MAX_LIMIT}")
    details = get("details", "false")
    if details not in ("true", "false"):
        raise _refuse("details", f"{details[:64]!r} is neither true nor false", "write details=true, or leave it out")
    for name in _TEXTS:
        if (value := get(name)) is not None and not (0 < len(value) <= _SHORT_CHARACTERS):
            check_text(name, value)
    exclude, categories, actions, basket = get("exclude"), get("categories"), get("actions"), get("basket")
    return _checked(
        ShelfRequest(
            user_id=get("user_id"),
            session_id=get("session_id"),
            limit=int(limit),
            category=get("category"),
            price_min_minor=_minor("price_min", get("price_min"), money.lowest_minor),
            price_max_minor=_minor("price_max", get("price_max"), money.highest_minor),
            page=get("page"),
            device=get("device"),
            location=get("location"),
            region=get("region"),
            age_band=get("age_band"),
            exclude=tuple(exclude.split(",")) if exclude else (),
            categories=tuple(categories.split(",")) if categories else (),
            actions=_pairs_of(actions) if actions is not None else (),
            details=details == "true",
            fields=_fields(names.split(",")) if (names := get("fields")) is not None else (),
            arms=_pairs_of(arms) if (arms := get("arms")) is not None else (),
            item_id=get("item_id"),
            basket=tuple(basket.split(",")) if basket else (),
        )
    )


def _pairs_of(text: str) -> tuple[tuple[str, str], ...]:
    """`view:mug-1,purchase:pan-2` as pairs of kind and item."""
    pairs = (pair.partition(":") for pair in text.split(","))
    return tuple((first, second) for first, _, second in pairs)


def _fields(names: Sequence[str]) -> tuple[str, ...]:
    """Names of fields as a request holds them, each once and in the order of FIELDS. Raises ProblemError (400)."""
    unknown = next((name for name in names if name not in FIELDS), None)
    if unknown is not None:
        raise _refuse("fields", f"{unknown[:64]!r} is not a field of an item", f"use some of {', '.join(FIELDS)}")
    if len(names) > len(FIELDS):
        raise _refuse("fields", f"{len(names)} entries", "name each field once")
    return tuple(name for name in FIELDS if name in names)


def _pairs(query: str) -> list[tuple[str, str]]:
    """Names and values, like the standard library's parse_qsl in a third of its time. Raises ValueError."""
    pairs = []
    for field in query.split("&"):
        if field:
            if "%" in field or "+" in field:
                name, _, value = field.replace("+", " ").partition("=")
                pairs.append((unquote(name, errors="strict"), unquote(value, errors="strict")))
            else:
                name, _, value = field.partition("=")
                pairs.append((name, value))
    return pairs


def from_body(body: bytes) -> ShelfRequest:
    """Parse the body of `POST /recommendations`. Raises ProblemError (400)."""
    try:
        fields = _BODY.decode(body)
    except NOT_JSON as error:
        raise ProblemError(400, f"the body is not valid: {error}", "send the JSON that /schema documents") from error
    actions = tuple((action.type, action.item_id) for action in fields.actions)
    return shelf_request(
        fields,
        fields.user_id,
        session_id=fields.session_id,
        actions=actions,
        arms=tuple(fields.arms.items()),
        item_id=fields.item_id,
        basket=tuple(fields.basket),
    )


def shelf_request(
    fields: ShelfBody,
    user_id: str | None,
    *,
    session_id: str | None = None,
    actions: tuple[tuple[str, str], ...] = (),
    arms: tuple[tuple[str, str], ...] = (),
    item_id: str | None = None,
    basket: tuple[str, ...] = (),
) -> ShelfRequest:
    """Return the request of a decoded body for one user. Raises ProblemError (400)."""
    context, filters = fields.context, fields.filters
    request = ShelfRequest(
        user_id=user_id,
        session_id=session_id,
        limit=fields.limit,
        category=filters.category,
        price_min_minor=_minor("price_min", filters.price_min, money.lowest_minor),
        price_max_minor=_minor("price_max", filters.price_max, money.highest_minor),
        page=context.page,
        device=context.device,
        location=context.location,
        region=context.region,
        age_band=context.age_band,
        exclude=tuple(fields.exclude),
        categories=context.categories,
        actions=actions,
        details=fields.details,
        fields=_fields(fields.fields),
        arms=arms,
        item_id=item_id,
        basket=basket,
    )
    for name in _TEXTS:
        if (value := getattr(request, name)) is not None:
            check_text(name, value)
    return _checked(request)


def check_text(name: str, value: str) -> None:
    """Check a text's length. Raises ProblemError (400)."""
    if not 0 < _utf8_length(name, value) <= MAX_TEXT_BYTES:
        raise _refuse(name, f"empty, or longer than {MAX_TEXT_BYTES} bytes", "leave it out or shorten it")


def _checked(request: ShelfRequest) -> ShelfRequest:
    """Return the same request if its numbers and lists are in range. Raises ProblemError (400)."""
    if not 1 <= request.limit <= MAX_LIMIT:
        raise _refuse("limit", f"{request.limit} is out of range", f"give a number from 1 to {MAX_LIMIT}")
    lowest, highest = request.price_min_minor, request.price_max_minor
    if lowest is not None and highest is not None and lowest > highest:
        raise _refuse("price_min", "above price_max", "swap them")
    if request.exclude or request.categories or request.actions or request.arms or request.basket:
        _check_lists(request)
    return request


def id_in_path(raw_path: bytes) -> str:
    """The id in `/items/ID/…` or `/users/ID`, decoded, including any slashes in it. Raises ProblemError (400)."""
    try:
        text = unquote(raw_path.split(b"/")[2].decode("ascii"), errors="strict")
    except ValueError as error:
        raise ProblemError(400, "the id is not URL-encoded UTF-8", "encode it, with %2F for a slash", "id") from error
    if not 0 < len(text.encode()) <= MAX_TEXT_BYTES:
        raise ProblemError(
            400, f"the id is empty or longer than {MAX_TEXT_BYTES} bytes", "send the shop's own id", "id"
        )
    return text


def _check_lists(request: ShelfRequest) -> None:
    lists = (
        ("exclude", request.exclude, MAX_EXCLUDE),
        ("categories", request.categories, MAX_CATEGORIES),
        ("actions", tuple(item_id for _, item_id in request.actions), MAX_ACTIONS),
        ("arms", tuple(arm for _, arm in request.arms), MAX_ARMS),
        ("basket", request.basket, MAX_BASKET),
    )
    for name, values, limit in lists:
        if len(values) > limit:
            raise _refuse(name, f"{len(values)} entries", f"send at most {limit}")
        for value in values:
            if _utf8_length(name, value) > MAX_TEXT_BYTES:
                raise _refuse(name, f"an entry is longer than {MAX_TEXT_BYTES} bytes", "send the shop's own ids")
    for kind, item_id in request.actions:
        if not item_id:
            raise _refuse("actions", "an entry names no item", "write view:ITEM")
        if kind not in ACTION_KINDS:
            raise _refuse(
                "actions", f"{kind[:64]!r} is not a kind of action", f"use one of {', '.join(ACTION_KINDS)}"
            )


def _utf8_length(name: str, value: str) -> int:
    try:
        return len(value.encode())
    except UnicodeEncodeError as error:
        raise _refuse(name, "contains half of a surrogate pair", "send whole characters") from error


@lru_cache(4_096)
def _known_minor(price: str, convert: Callable[[str | Decimal], int]) -> int:
    """Convert and keep a query's price: few are distinct."""
    if not re.fullmatch(PRICE, price):
        raise money.PriceError(f"{price[:40]!r} is not a price")
    return convert(price)


def _minor(name: str, price: str | Decimal | None, convert: Callable[[str | Decimal], int]) -> int | None:
    if price is None:
        return None
    try:
        return _known_minor(price, convert) if isinstance(price, str) else convert(price)
    except money.PriceError as error:
        raise _refuse(name, str(error), "send a decimal such as 12.50") from error
