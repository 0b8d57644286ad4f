"""Placements: which shelves stand on which page of the shop, one YAML file, checked whole before it is used.

    homepage:
      - {shelf: for_you, limit: 20}
      - {shelf: because_you_viewed, title: "Because you viewed {item}", limit: 10, least: 5}

docs/pages.md says what each word means. `placements.yaml` beside this module has the pages of a shop without a file.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from serving import money

BUILT_IN = Path(__file__).with_name("placements.yaml")
MOST_PAGES, MOST_SHELVES, MOST_ITEMS = 100, 20, 100
NAME = "[a-z0-9_-]{1,64}"

Kind = Literal[
    "for_you",
    "similar",
    "alternatives",
    "bought_together",
    "also_viewed",
    "because_you_viewed",
    "buy_again",
    "recently_viewed",
    "trending",
    "best_sellers",
    "most_viewed",
    "new_for_you",
    "on_sale",
    "popular_with_people_like_you",
]
FILLED = frozenset(
    ("for_you", "similar", "trending", "best_sellers", "most_viewed", "new_for_you", "popular_with_people_like_you")
)
"""Kinds that popular items fill up unless a placement says otherwise. In the others that would be untrue."""
_WINDOWED = ("best_sellers", "most_viewed")
_IN_CATEGORIES = ("for_you", "trending", "best_sellers", "most_viewed", "new_for_you", "on_sale")
MONTH_DAYS: Literal[30] = 30
_NAMES = dict.fromkeys(("similar", "alternatives", "because_you_viewed", "also_viewed", "bought_together"), "item")
"""What `{item}` stands for in a title, by kind; `{category}` is that of `in` or `category`."""


class PlacementsError(ValueError):
    """A file of placements that cannot be read or meant: what is wrong, where, and the remedy."""


class Placement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"within": "in", "goes_with": "with"}
):
    """One shelf of a page."""

    shelf: Kind
    name: str = ""  # by which exposures and `location` call it; the kind where it is empty
    title: str = ""  # the kind's own, in the shopper's language, where it is empty
    limit: int = 10
    least: int = 1  # with fewer items the shelf is left out
    fill: bool | None = None  # whether popular items fill it up; by its kind where it is not said
    within: Literal["category", "favourite_category", "region"] | None = None
    goes_with: Literal["item", "basket"] | None = None
    window_days: Literal[7, 30] = MONTH_DAYS
    category: str = ""  # only items of this path and below
    without_categories: tuple[str, ...] = ()  # none of these paths and below
    price_min: Decimal | None = None
    price_max: Decimal | None = None
    price_max_share: Decimal | None = None  # of the basket's price, most that an item may cost

    @property
    def called(self) -> str:
        """The name of the shelf on its page."""
        return self.name or self.shelf

    @property
    def is_filled(self) -> bool:
        """Whether popular items fill the shelf up."""
        return self.shelf in FILLED if self.fill is None else self.fill

    @property
    def price_min_minor(self) -> int:
        """The least price in minor units; 0 for none."""
        return 0 if self.price_min is None else money.lowest_minor(self.price_min)

    @property
    def price_max_minor(self) -> int | None:
        """The highest price in minor units; None for none."""
        return None if self.price_max is None else money.highest_minor(self.price_max)


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page: its shelves, in the order of the file or by what each is worth to the shopper."""

    shelves: tuple[Placement, ...]
    order: Literal["file", "worth"] = "file"


Pages = Mapping[str, Page]


@cache
def built_in() -> Pages:
    """Return the pages of a shop that has no file of its own."""
    return read_placements(BUILT_IN)


def read_placements(path: Path) -> Pages:
    """Return the pages of a file by name. Raises PlacementsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PlacementsError(
            f"{path} cannot be read ({reason}); name a file of placements: python -m serving placements prints one"
        ) from error
    try:
        raw = msgspec.convert(yaml.safe_load(text) or {}, dict[str, object])
        return checked_pages({name: _page_of(name, page) for name, page in raw.items()})
    except (yaml.YAMLError, msgspec.ValidationError, PlacementsError) as error:
        what = " ".join(str(error).split())
        raise PlacementsError(f"{path}: {what}; docs/pages.md shows such a file") from error


def _page_of(name: str, raw: object) -> Page:
    try:
        page = msgspec.convert(raw, tuple[Placement, ...] | Page)
    except msgspec.ValidationError as error:
        raise PlacementsError(f"page {name[:80]}: {error}") from error
    return page if isinstance(page, Page) else Page(page)


def checked_pages(pages: Pages) -> Pages:
    """Return the pages if they are valid. Raises PlacementsError for the first that is not."""
    if not 0 < len(pages) <= MOST_PAGES:
        raise PlacementsError(f"it has {len(pages)} pages; name 1 to {MOST_PAGES}")
    for name, page in pages.items():
        if not re.fullmatch(NAME, name):
            raise PlacementsError(f"page {name[:80]!r} is no name; use a to z, 0 to 9, _ and -, at most 64")
        if not 0 < len(page.shelves) <= MOST_SHELVES:
            raise PlacementsError(f"page {name} has {len(page.shelves)} shelves; give it 1 to {MOST_SHELVES}")
        for row, shelf in enumerate(page.shelves):
            fault = _fault_of(shelf)
            if fault:
                raise PlacementsError(f"page {name}, shelf no. {row + 1} ({shelf.shelf}): {fault}")
        called, count = Counter(shelf.called for shelf in page.shelves).most_common(1)[0]
        if count > 1:
            raise PlacementsError(f"page {name} has {count} shelves called {called}; give each a name of its own")
    return pages


def _fault_of(shelf: Placement) -> str:
    """Return what is wrong with a shelf, and the remedy; empty for nothing."""
    share, in_category = shelf.price_max_share, shelf.within in ("category", "favourite_category")
    faults = (
        (not re.fullmatch(NAME, shelf.called), f"{shelf.name[:80]!r} is no name; use a to z, 0 to 9, _ and -"),
        (not 1 <= shelf.limit <= MOST_ITEMS, f"limit {shelf.limit}: give a number from 1 to {MOST_ITEMS}"),
        (not 1 <= shelf.least <= shelf.limit, f"least {shelf.least}: give a number from 1 to its limit"),
        (
            (shelf.goes_with is not None) != (shelf.shelf == "bought_together"),
            "`with` is for bought_together, which needs it; say with: item or with: basket",
        ),
        (
            share is not None and (shelf.goes_with != "basket" or not 0 < share <= 1),
            "price_max_share is above 0 and at most 1, and for bought_together with: basket alone",
        ),
        (
            shelf.window_days != MONTH_DAYS and shelf.shelf not in _WINDOWED,
            f"window_days is for {' and '.join(_WINDOWED)}; leave it out",
        ),
        (
            shelf.within == "region" and shelf.shelf != "best_sellers",
            "in: region is for best_sellers alone; say in: category, or leave it out",
        ),
        (
            shelf.within is not None and shelf.shelf not in _IN_CATEGORIES,
            f"`in` is for {', '.join(_IN_CATEGORIES)}; leave it out, or say category: PATH",
        ),
        (bool(shelf.category) and in_category, "`category` and `in` both name a category; keep one"),
    )
    found = next((fault for holds, fault in faults if holds), "")
    return found or _fault_of_prices(shelf) or _fault_of_title(shelf)


def _fault_of_prices(shelf: Placement) -> str:
    try:
        lowest, highest = shelf.price_min_minor, shelf.price_max_minor
    except money.PriceError as error:
        return f"{error}; give a decimal such as 12.50"
    if highest is not None and lowest > highest:
        return "price_min is above price_max; swap them"
    return ""


def _fault_of_title(shelf: Placement) -> str:
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(shelf.title) if field is not None}
    except ValueError as error:
        return f"title: {error}; write {{{{ for a brace"
    if odd := sorted(fields - {"item", "category"}):
        return f"title names {{{odd[0]}}}; it may name {{item}} and {{category}}"
    if "item" in fields and (shelf.shelf not in _NAMES or shelf.goes_with == "basket"):
        return f"title names {{item}}, which a shelf {shelf.shelf} has not; leave it out"
    return ""
