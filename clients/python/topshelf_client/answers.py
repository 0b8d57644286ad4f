"""What the endpoint answers, as frozen structs. Fields that a later endpoint adds are passed over."""

from decimal import Decimal

import msgspec

from topshelf_client.problems import Refusal


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """One item. The order of items is their rank; scores of different fill levels have different scales.

    `title` to `category` are there where `fields` asks for them and they are known, the last four with `details`.
    `reason_params` is what `reason` names: an item's title or a category.
    """

    item_id: str
    score: float
    reason: str
    title: str | None = None
    price: Decimal | None = None
    image_url: str | None = None
    brand: str | None = None
    category: str | None = None
    source: str | None = None
    reason_code: str | None = None
    fill_level: str | None = None
    reason_params: dict[str, str] | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A shelf. Send its `request_id` with the events that follow from it.

    `degraded` names what it had to do without; `short` says that the catalogue has no more such items.
    """

    recommendations: list[Recommendation]
    request_id: str
    model_version: str
    snapshot: str
    degraded: list[str] = []
    short: str = ""
    arms: dict[str, str] = {}


class BatchAnswer(Answer, frozen=True, kw_only=True):
    """One shopper's shelf of a batch."""

    user_id: str


class BatchProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why one shopper of a batch gets no shelf; asking again would not help."""

    user_id: str
    status: int
    title: str
    detail: str
    remedy: str
    parameter: str | None = None
    request_id: str | None = None


class SimilarItems(msgspec.Struct, frozen=True, kw_only=True):
    """Items like one, or a shelf for everybody. It has no `request_id`, as these answers are not logged."""

    recommendations: list[Recommendation]
    model_version: str
    snapshot: str
    degraded: list[str] = []
    short: str = ""


class PageShelf(msgspec.Struct, frozen=True, kw_only=True):
    """One shelf of a page. Send its `request_id` with the events that follow from it."""

    shelf: str
    title: str
    request_id: str
    recommendations: list[Recommendation]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """All shelves of a page, in the order to be shown; no product stands on it twice."""

    page: str
    shelves: list[PageShelf]
    request_id: str
    model_version: str
    snapshot: str
    degraded: list[str] = []


class SharedShelf(msgspec.Struct, frozen=True, kw_only=True):
    """One shelf of a page that is everybody's."""

    shelf: str
    title: str
    recommendations: list[Recommendation]


class SharedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page as a stranger sees it. It has no `request_id`, as these answers are not logged."""

    page: str
    shelves: list[SharedShelf]
    model_version: str
    snapshot: str
    degraded: list[str] = []


class ShelfPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A shelf of a page, as placements have it."""

    name: str
    shelf: str
    limit: int
    least: int
    title: str = ""


class PagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A page and its shelves, as placements have them."""

    page: str
    order: str
    shelves: list[ShelfPlace]


class Taken(msgspec.Struct, frozen=True):
    """How many rows were accepted, and which were refused. Mend those and send them again; the others are stored."""

    accepted: int
    refused: list[Refusal]


class Erased(msgspec.Struct, frozen=True):
    """How far an erasure has come.

    `everywhere`: every worker of the host has read it. `landed`: it stands under landing. Erase again until it does.
    """

    erased: bool
    everywhere: bool
    landed: bool


class Health(msgspec.Struct, frozen=True):
    """The answer of `/healthz` and `/readyz`; `trouble` names each background task that does not work, and why."""

    status: str
    snapshot: str = ""
    trouble: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether `readyz` said that shelves can be asked for."""
        return self.status == "ready"


class TracedAction(msgspec.Struct, frozen=True):
    """One of the shopper's last actions; `steps_back` is "last" for an item shown only when nothing else is."""

    item_id: str
    event_type: str
    age_s: float
    steps_back: float | str


class TracedCandidate(msgspec.Struct, frozen=True):
    """One item of the stored shelf: `shown_at` is its place in the answer, else `left_out` and `seen` say why not."""

    rank: int
    item_id: str
    title: str
    source: str
    score: float
    shown_at: int | None
    left_out: str | None
    seen: str | int | None


class TracedItem(msgspec.Struct, frozen=True):
    """One item of the answer."""

    item_id: str
    title: str
    source: str
    score: float
    reason: str
    fill_level: str
    slot_type: str
    propensity: float
    eligible_count: int


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Why a shelf is as it is: the answer, and what became of each candidate that the night stored."""

    user_id: str | None
    snapshot: str
    model_version: str
    known: bool
    erased: bool
    region: str
    age_band: str
    categories: list[str]
    last_actions: list[TracedAction]
    visit: dict[str, float]
    candidates: list[TracedCandidate]
    shelf: list[TracedItem]
    short: bool
    degraded: list[str]
