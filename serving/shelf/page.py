"""Fill all shelves of a page: no product twice, each shelf as its placement says, or left out.

from serving.shelf.page import fill_page
shelves = fill_page(context, page, for_you)

Shelves are filled in the order of the file, so a product stands on the first shelf that wants it. An order by worth
moves whole shelves afterwards.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from serving.shelf.fill_levels import Level, fill_levels
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.filters import Filters
from serving.shelf.page_context import PageContext
from serving.shelf.page_sources import Content, contents
from serving.shelf.placements import Page, Placement
from serving.shelf.request import (
    ShelfRequest,
    request_filters,
    request_segment,
)
from serving.shelf.similar import fill_from
from serving.snapshot.contents import NO_SEGMENT

ForYou = Callable[[ShelfRequest, Filters, set[int]], FilledShelf]
"""Fills the shopper's own shelf for a request, without the positions that are taken."""


@dataclass(frozen=True)
class PageShelf:
    """One shelf of an answered page, with the item (a position, -1 for none) and the category of its title."""

    placement: Placement
    filled: FilledShelf
    request: ShelfRequest  # as this shelf answers it
    item: int = -1
    category: str = ""


def fill_page(context: PageContext, page: Page, for_you: ForYou, most: int | None = None) -> list[PageShelf]:
    """Return the shelves of a page that have enough items, in the order to be shown. None is longer than `most`."""
    taken, shelves = context.page_items(), []
    for placement in page.shelves:
        limit = placement.limit if most is None else min(placement.limit, most)
        shelf = fill_placement(context, placement, limit, for_you, taken)
        if shelf is not None:
            shelves.append(shelf)
    return by_worth(context, shelves) if page.order == "worth" else shelves


def fill_placement(
    context: PageContext, placement: Placement, limit: int, for_you: ForYou, taken: set[int]
) -> PageShelf | None:
    """Return one shelf of at most `limit` items, and add them to `taken`; None where it has fewer than its least."""
    least = min(placement.least, limit)
    if placement.shelf == "for_you":
        category = category_of(context, placement)
        request, filters = _narrowed(context, placement, limit, category)
        filled = for_you(request, filters, taken)
        taken.update(filled.positions)
        return PageShelf(placement, filled, request, category=category) if len(filled.positions) >= least else None
    for content in contents(context, placement):
        request, filters = _narrowed(context, placement, limit, content.category)
        filled, tried = FilledShelf(), set(taken)
        fill_from(content.levels, context.snapshot, context.live, filters, filled, limit, tried)
        if len(filled.positions) >= least:
            if placement.is_filled:
                popular = _popular(context, content, limit, filters)
                fill_from(popular, context.snapshot, context.live, filters, filled, limit, tried)
                filled.short = len(filled.positions) < limit
            taken |= tried
            return PageShelf(placement, filled, request, content.item, content.category)
    return None


def _narrowed(context: PageContext, placement: Placement, limit: int, category: str) -> tuple[ShelfRequest, Filters]:
    """Return the request as one shelf answers it, and its filters: the request's and those of the placement."""
    snapshot, request = context.snapshot, context.request
    path = placement.category or category or None
    highest = [each for each in (request.price_max_minor, placement.price_max_minor) if each is not None]
    if placement.price_max_share is not None:
        highest.append(int(context.basket_price_minor() * placement.price_max_share))
    lowest = max(request.price_min_minor or 0, placement.price_min_minor) or None
    asked = msgspec.structs.replace(
        request,
        limit=limit,
        category=path,
        price_min_minor=lowest,
        price_max_minor=min(highest, default=None),
        exclude=(),
    )
    without = tuple(snapshot.category_nodes(each) for each in placement.without_categories)
    return asked, msgspec.structs.replace(request_filters(snapshot, asked), without_nodes=without)


def category_of(context: PageContext, placement: Placement) -> str:
    """Return the category that the shopper's own shelf keeps to; empty for none."""
    if placement.within == "favourite_category":
        return next(iter(context.favourite_categories()), "")
    return context.category if placement.within == "category" else placement.category


def _popular(context: PageContext, content: Content, limit: int, filters: Filters) -> Iterator[Level]:
    """Yield what fills a shelf up: of the item's category or of the content's, then of the shop, by popularity."""
    snapshot = context.snapshot
    category = content.category or (snapshot.category(content.item) if content.item >= 0 else "")
    if category:
        yield from fill_levels(snapshot, limit=limit, category=category, prices=filters.prices)
    stored = snapshot.segments[context.stored.segment] if context.stored is not None else NO_SEGMENT
    yield from fill_levels(
        snapshot, limit=limit, prices=filters.prices, segment=request_segment(context.request, stored)
    )


def by_worth(context: PageContext, shelves: Sequence[PageShelf]) -> list[PageShelf]:
    """Return the shelves by what they are worth to the shopper, highest first; ties stay as they are.

    A shelf is worth the sum of its items' values, each discounted by its place: 1 / log2(2 + place), as in DCG
    (Jarvelin and Kekalainen 2002). The value is the score of the shopper's stored shelf; an item that is not on it
    counts as the least of it. Rows further down get less attention, so this order makes the page's sum the largest,
    whatever the attention of each row is. A shopper without a stored shelf gets the order of the file.
    """
    if context.stored is None or not context.stored.count:
        return list(shelves)
    rows = np.arange(context.stored.count)
    values = dict(zip(context.stored.positions(len(rows)).tolist(), context.stored.scores(rows), strict=True))
    least = min(values.values())

    def worth(shelf: PageShelf) -> float:
        return math.fsum(
            values.get(position, least) / math.log2(2 + place)
            for place, position in enumerate(shelf.filled.positions)
        )

    return sorted(shelves, key=worth, reverse=True)
