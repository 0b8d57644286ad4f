"""What may be asked, as typed keyword arguments. One that is left out, or None, is not sent."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, NotRequired, TypeAlias, TypedDict

Field: TypeAlias = Literal["title", "price", "image_url", "brand", "category"]
ActionKind: TypeAlias = Literal[
    "impression", "click", "view", "add_to_cart", "purchase", "rating", "remove_from_cart"
]
Price: TypeAlias = Decimal | int | float | str


class ItemOptions(TypedDict, total=False):
    """What may be asked of any answer with items.

    `category` is a path and matches those below it; `exclude` are ids of items to leave out; `fields` are what each
    item carries besides; `details` tell what brought an item; `language` is an `Accept-Language` for reasons.
    """

    limit: int | None
    category: str | None
    price_min: Price | None
    price_max: Price | None
    exclude: Sequence[str] | None
    fields: Sequence[Field] | None
    details: bool | None
    language: str | None


class ShopperOptions(ItemOptions, total=False):
    """What may be asked of shoppers' items besides: what the shop knows of them, and what they are looking at.

    `region` is geography, `categories` are those that a new shopper chose. `request_id` is put before the endpoint's.
    """

    device: str | None
    region: str | None
    age_band: str | None
    categories: Sequence[str] | None
    request_id: str | None


class SharedOptions(ItemOptions, total=False):
    """What may be asked of an answer that is everybody's: of what kind of stranger it is.

    `item_id` is the product that a page shows.
    """

    region: str | None
    age_band: str | None
    categories: Sequence[str] | None
    item_id: str | None


class BatchOptions(ShopperOptions, total=False):
    """What may be asked of a batch, for all its shoppers alike: where the shelves are shown.

    `location` is the placement on the `page`.
    """

    page: str | None
    location: str | None


class PageOptions(ShopperOptions, total=False):
    """What may be asked of a page.

    `session_id` names the visit. `item_id` is the product that the page shows, `basket` are the items in the cart.
    `actions` are what the shopper just did, the newest first, as pairs of kind and item: `[("view", "mug-1")]`.
    `arms` are experiments and the arms to be in, for testers.
    """

    session_id: str | None
    item_id: str | None
    basket: Sequence[str] | None
    actions: Sequence[tuple[ActionKind, str]] | None
    arms: Mapping[str, str] | None


class ShelfOptions(PageOptions, total=False):
    """What may be asked of one shelf: what may be asked of a page, and where the shelf is shown.

    `location` is the placement on the `page`.
    """

    page: str | None
    location: str | None


class TraceOptions(TypedDict, total=False):
    """What may be asked of a trace; `request_id` is an answer's, and repeats its exploration."""

    limit: int | None
    category: str | None
    price_min: Price | None
    price_max: Price | None
    region: str | None
    age_band: str | None
    exclude: Sequence[str] | None
    actions: Sequence[tuple[ActionKind, str]] | None
    session_id: str | None
    request_id: str | None


class ItemRow(TypedDict):
    """A row of the live feed. What is left out stays as it was; None takes the fed value back.

    Give `ts`, when it was so: then a row may be sent again without harm, and late rows lose against newer ones.
    """

    item_id: str
    price: NotRequired[Price | None]
    stock: NotRequired[int | None]
    moderated: NotRequired[bool | None]
    ts: NotRequired[datetime | str]


class EventRow(TypedDict):
    """What a shopper did. It needs a `user_id` or a `session_id`.

    An event that is sent again with its `event_id` counts once, so keep the id with the event.
    """

    event_id: str
    item_id: str
    event_type: ActionKind
    user_id: NotRequired[str | None]
    session_id: NotRequired[str | None]
    ts: NotRequired[datetime | str]
    value: NotRequired[float | None]
    quantity: NotRequired[int | None]
    unit_price: NotRequired[Price | None]
    request_id: NotRequired[str | None]
    position: NotRequired[int | None]
    page: NotRequired[str | None]
    device: NotRequired[str | None]
    location: NotRequired[str | None]
    region: NotRequired[str | None]
