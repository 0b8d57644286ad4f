"""A request for a shelf, and what it means over one snapshot: filters, exclusions and segment."""

import msgspec

from serving.shelf.filters import Filters
from serving.shelf.snapshot import Snapshot
from serving.snapshot.contents import Segment

_NO_PRICE_LIMIT = 1 << 62


class ShelfRequest(msgspec.Struct, frozen=True, gc=False):
    """One parsed request; `location` is a placement on the page, `region` is geography."""

    user_id: str | None = None
    limit: int = 20
    category: str | None = None
    price_min_minor: int | None = None
    price_max_minor: int | None = None
    page: str | None = None
    device: str | None = None
    location: str | None = None
    region: str | None = None
    age_band: str | None = None
    exclude: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()  # those that the user chose
    actions: tuple[tuple[str, str], ...] = ()  # kind and item of the user's latest actions, newest first
    details: bool = False  # whether the answer tells each item's source, reason code and fill level, and its arms
    fields: tuple[str, ...] = ()  # some of `serving.shelf.item_fields.FIELDS`, in their order
    arms: tuple[tuple[str, str], ...] = ()  # experiment and arm that a tester wants
    session_id: str | None = None  # the visit, whose last actions count beside the user's
    item_id: str | None = None  # that the page is about
    basket: tuple[str, ...] = ()  # items in the shopper's basket


class Policy(msgspec.Struct, frozen=True):
    """What is drawn for an answer: shares, and the secret that everything is drawn with."""

    explore_share: float = 0.1  # of places
    perturb_share: float = 0.0  # of answers whose ranked places are reordered
    secret: bytes = b"topshelf"


POLICY = Policy()
NOTHING_DRAWN = Policy(explore_share=0.0)
"""For answers that are the same for everybody."""


def request_filters(snapshot: Snapshot, request: ShelfRequest) -> Filters:
    """Return the filters of a request over a snapshot's categories; a missing price bound is open."""
    lowest, highest = request.price_min_minor, request.price_max_minor
    prices = None
    if lowest is not None or highest is not None:
        prices = (max(0, lowest or 0), _NO_PRICE_LIMIT if highest is None else highest)
    return Filters(prices, None if request.category is None else snapshot.category_nodes(request.category))


def excluded_positions(snapshot: Snapshot, request: ShelfRequest) -> set[int]:
    """Return the catalogue positions of the items that the request excludes; unknown ids are ignored."""
    return {snapshot.position(item_id) for item_id in request.exclude} - {-1}


def request_segment(request: ShelfRequest, stored: Segment) -> Segment:
    """Return the user's segment: each part from the request, or from `stored` where the request is silent."""
    region, age_band, categories = stored
    return request.region or region, request.age_band or age_band, request.categories or categories
