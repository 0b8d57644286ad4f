"""Each call as data: what is sent, how the answer is read, and whether it may be sent again. Both clients use it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec

from topshelf_client.answers import Answer, Erased, Health, Page, PagePlan, SharedPage, SimilarItems, Trace
from topshelf_client.options import (
    BatchOptions,
    ItemOptions,
    PageOptions,
    SharedOptions,
    ShelfOptions,
    ShopperOptions,
    TraceOptions,
)
from topshelf_client.problems import UnreadableAnswerError, problem_of

T = TypeVar("T")
_LONGEST_QUERY = 8_000  # bytes; the endpoint takes 8,192
_JSON = {"content-type": "application/json"}
_IN_HEADERS = {"language": "accept-language", "request_id": "x-request-id"}


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `repeatable`: sending it twice does no harm, though nobody knows whether the first was heard."""

    method: str
    path: str
    read: Callable[[bytes], T]
    query: str = ""
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    answer_statuses: tuple[int, ...] = ()  # besides 2xx

    def answer_of(self, response: httpx.Response) -> T:
        """Read the answer of a response that is whole. Raises ProblemError, or UnreadableAnswerError."""
        if not response.is_success and response.status_code not in self.answer_statuses:
            raise problem_of(response)
        try:
            return self.read(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreadableAnswerError(f"{response.url.path}: {error}; is the base URL the endpoint's?") from error


@dataclass(frozen=True)
class Address:
    """Where calls go, with which key, and how long an attempt may wait."""

    base_url: str
    key: str | None
    timeout_s: float

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
        """The request of a call."""
        url = self.base_url.rstrip("/") + call.path + (f"?{call.query}" if call.query else "")
        key = {} if self.key is None else {"authorization": f"Bearer {self.key}"}
        return http.build_request(
            call.method, url, content=call.content, headers=key | dict(call.headers), timeout=self.timeout_s
        )


def recommend(user_id: str | None, options: ShelfOptions) -> Call[Answer]:
    """A shelf: by query, which costs the endpoint least, or by body where a query cannot say it."""
    read, headers = msgspec.json.Decoder(Answer).decode, _headers(options)
    actions = options.get("actions") or ()
    lists = (options.get("exclude"), options.get("categories"), options.get("basket"), [item for _, item in actions])
    if not any("," in value for values in lists for value in values or ()):
        query = _query(options, user_id=user_id)
        if len(query) <= _LONGEST_QUERY:
            return Call("GET", "/recommendations", read, query, headers=headers)
    body = _body(options) | _sent(
        user_id=user_id,
        session_id=options.get("session_id"),
        item_id=options.get("item_id"),
        basket=options.get("basket"),
        actions=[{"type": kind, "item_id": item_id} for kind, item_id in actions],
        arms=options.get("arms"),
    )
    return Call("POST", "/recommendations", read, content=msgspec.json.encode(body), headers=_JSON | headers)


def batch(user_ids: Sequence[str], options: BatchOptions) -> Call[bytes]:
    """Many shelves, as lines."""
    content = msgspec.json.encode({"user_ids": user_ids} | _body(options))
    return Call("POST", "/recommendations/batch", bytes, content=content, headers=_JSON | _headers(options))


def page(name: str, user_id: str | None, options: PageOptions) -> Call[Page]:
    """All shelves of a page."""
    read, query = msgspec.json.Decoder(Page).decode, _query(options, user_id=user_id)
    return Call("GET", f"/pages/{_segment(name)}", read, query, headers=_headers(options))


def pages() -> Call[list[PagePlan]]:
    """Which pages there are."""
    return Call("GET", "/pages", msgspec.json.Decoder(list[PagePlan]).decode)


def similar(item_id: str, options: ItemOptions) -> Call[SimilarItems]:
    """Items like one."""
    read = msgspec.json.Decoder(SimilarItems).decode
    return Call("GET", f"/items/{_segment(item_id)}/similar", read, _query(options), headers=_headers(options))


def shared_shelf(options: SharedOptions) -> Call[SimilarItems]:
    """A stranger's shelf."""
    read = msgspec.json.Decoder(SimilarItems).decode
    return Call("GET", "/shared/recommendations", read, _query(options), headers=_headers(options))


def shared_page(name: str, options: SharedOptions) -> Call[SharedPage]:
    """A stranger's page."""
    read = msgspec.json.Decoder(SharedPage).decode
    return Call("GET", f"/shared/pages/{_segment(name)}", read, _query(options), headers=_headers(options))


def trace(user_id: str, options: TraceOptions) -> Call[Trace]:
    """Why a shelf is as it is."""
    query = _query(options, request_id=options.get("request_id"))
    return Call("GET", f"/users/{_segment(user_id)}/trace", msgspec.json.Decoder(Trace).decode, query)


def erase(user_id: str) -> Call[Erased]:
    """Erase a shopper."""
    return Call("DELETE", f"/users/{_segment(user_id)}", msgspec.json.Decoder(Erased).decode)


def metrics() -> Call[str]:
    """Prometheus's text."""
    return Call("GET", "/metrics", bytes.decode)


def health(path: str) -> Call[Health]:
    """`/healthz` or `/readyz`, whose 503 is an answer too."""
    return Call("GET", path, msgspec.json.Decoder(Health).decode, answer_statuses=(503,))


def _body(options: BatchOptions | ShelfOptions) -> dict[str, object]:
    """What a JSON body says of these options."""
    filters = _sent(
        category=options.get("category"),
        price_min=_decimal(options.get("price_min")),
        price_max=_decimal(options.get("price_max")),
    )
    context = _sent(
        page=options.get("page"),
        device=options.get("device"),
        location=options.get("location"),
        region=options.get("region"),
        age_band=options.get("age_band"),
        categories=options.get("categories"),
    )
    return _sent(
        limit=options.get("limit"),
        filters=filters,
        context=context,
        exclude=options.get("exclude"),
        fields=options.get("fields"),
        details=options.get("details"),
    )


def _sent(**values: object) -> dict[str, object]:
    """Those that say something."""
    return {name: value for name, value in values.items() if value is not None and value not in ({}, [], ())}


def _query(options: Mapping[str, object], **more: object) -> str:
    """Options as a query. Raises ValueError for an id that no list in a query can hold."""
    asked = {name: value for name, value in options.items() if name not in _IN_HEADERS}
    texts = {name: _text(name, value) for name, value in _sent(**(asked | more)).items()}
    return urlencode(texts, quote_via=quote, safe="/:,@")


def _text(name: str, value: object) -> str:
    """An option as a query says it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if name in ("price_min", "price_max"):
        return str(_decimal(value))
    if isinstance(value, Mapping):
        value = value.items()
    elif isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    words = [word if isinstance(word, str) else ":".join(word) for word in value]
    for word in words:
        if "," in word:
            raise ValueError(f"{name}: {word!r} has a comma, and this call separates ids by commas; leave it out")
    return ",".join(words)


def _decimal(price: object) -> object:
    """A price without an exponent, which the endpoint does not read; text as it is."""
    return price if price is None or isinstance(price, str) else format(Decimal(str(price)), "f")


def _headers(options: ItemOptions | ShopperOptions) -> dict[str, str]:
    return {header: str(value) for name, header in _IN_HEADERS.items() if (value := options.get(name)) is not None}


def _segment(text: str) -> str:
    """An id as one segment of a path; `.` and `..` would be taken for steps."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")
