"""Where the items of each kind of shelf come from: the levels of `serving.shelf.fill_levels` that it is filled from.

A kind may have several contents to try, such as one for each favourite category; the first that has enough items is
shown. What each kind promises stands in docs/pages.md.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.shelf.basket import goes_with, one_of_a_kind
from serving.shelf.fill_levels import LISTED, OWN, RELATED, SEGMENT, SIMILAR, TRENDING, Level
from serving.shelf.page_context import PageContext
from serving.shelf.placements import Placement
from serving.shelf.request import request_segment
from serving.shelf.similar import similar_levels
from serving.shelf.vocabulary import REASON, SOURCE
from serving.snapshot.contents import NO_SEGMENT, SALE_SHARE, UNKNOWN

_KINDS_A_PLACE = 10  # read for each place, as a price or another shelf may rule some out


class Content(NamedTuple):
    """What a shelf may show: its levels, and the item and the category that its title names."""

    levels: Iterable[Level]
    item: int = -1
    category: str = ""  # only items of this path and below


def contents(context: PageContext, placement: Placement) -> Iterator[Content]:
    """Yield the contents to try for one placement, in order. `for_you` has none: `fill_shelf` makes it."""
    if placement.shelf in _OF_CATEGORIES:
        levels = _OF_CATEGORIES[placement.shelf]
        for category in _categories(context, placement):
            yield Content(levels(context, placement, category), category=category)
    else:
        yield from _CONTENTS[placement.shelf](context, placement)


def _categories(context: PageContext, placement: Placement) -> list[str]:
    """Return the categories to try, empty for the whole shop."""
    if placement.within == "favourite_category":
        return [*context.favourite_categories(), ""]
    return [context.category if placement.within == "category" else placement.category]


def _listed(level: int, name: str, reason: str, scored: tuple[NDArray[np.integer], NDArray[np.floating]]) -> Level:
    return Level(level, SOURCE[name], REASON[reason], *scored)


def _trending(context: PageContext, _: Placement, _category: str) -> Iterator[Level]:
    found = context.snapshot.fallback("trending")
    if found is not None:
        yield _listed(TRENDING, "trending", "trending", found)


def _most(shelf: str, reason: str) -> Callable[[PageContext, Placement, str], Iterator[Level]]:
    def levels(context: PageContext, placement: Placement, category: str) -> Iterator[Level]:
        name = f"{shelf}_{placement.window_days}d"
        if placement.within == "region":
            segment = context.snapshot.segments[context.stored.segment] if context.stored else NO_SEGMENT
            found = context.snapshot.fallback(f"{name}_region", request_segment(context.request, segment)[0])
        else:
            found = context.snapshot.fallback(name, category)
        if found is not None:
            yield _listed(LISTED, shelf, reason, found)

    return levels


def _new_for_you(context: PageContext, _: Placement, category: str) -> Iterator[Level]:
    """Yield new items of favourite categories, then the others; those that came since the night first."""
    snapshot, found = context.snapshot, context.snapshot.fallback("new")
    positions = np.concatenate([snapshot.added_items(), found[0] if found is not None else ()]).astype(np.int64)
    nodes = snapshot.item_category[positions]
    liked = np.zeros(len(positions), bool)
    for path in context.favourite_categories():
        first, end = snapshot.category_nodes(path)
        liked |= (nodes >= first) & (nodes < end)
    order = np.argsort(~liked, kind="stable")
    yield Level(LISTED, SOURCE["new_item"], REASON["new_item"], positions[order])


def _on_sale(context: PageContext, placement: Placement, category: str) -> Iterator[Level]:
    """Yield what costs less than usual now: of the shopper's own shelf, of favourite categories, of the shop."""
    found: list[NDArray[np.integer]] = []
    if context.stored is not None:
        found.append(context.stored.positions(context.stored.count))
    paths = [category] if category else [*context.favourite_categories(), ""]
    found += [shelf[0] for path in paths if (shelf := context.snapshot.fallback("on_sale", path)) is not None]
    for positions in found:
        yield Level(LISTED, SOURCE["on_sale"], REASON["on_sale"], positions[_is_on_sale(context, positions)])


def _is_on_sale(context: PageContext, positions: NDArray[np.integer]) -> NDArray[np.bool_]:
    usual, price = context.snapshot.usual_price_minor, context.live.price_minor[positions]
    if usual is None:
        return np.zeros(len(positions), bool)
    known = positions < len(usual)  # what an overlay added has no usual price
    before = np.where(known, usual[np.where(known, positions, 0)], UNKNOWN)
    on_sale: NDArray[np.bool_] = (price >= 0) & (before > 0) & (price <= before * SALE_SHARE)
    return on_sale


def _people_like_you(context: PageContext, _: Placement, _category: str) -> Iterator[Level]:
    snapshot = context.snapshot
    segment = snapshot.segments[context.stored.segment] if context.stored is not None else NO_SEGMENT
    found = snapshot.segment_shelf(*request_segment(context.request, segment))
    if found is not None:
        positions, scores, chosen = found
        yield Level(SEGMENT, SOURCE["segment"], REASON["popular"], positions, scores, chosen=chosen)


def _similar(context: PageContext, _: Placement) -> Iterator[Content]:
    if context.item >= 0:
        yield Content(similar_levels(context.snapshot, context.item), item=context.item)


def _list_of_item(items: str, name: str) -> Callable[[PageContext, Placement], Iterator[Content]]:
    """Return the content of one of ITEM_LISTS, for the item that the page is about, with its source and reason."""

    def content(context: PageContext, _: Placement) -> Iterator[Content]:
        if context.item >= 0:
            positions, scores = context.snapshot.item_list(items, context.item)
            named = np.full(len(positions), context.item)
            level = Level(RELATED, SOURCE[name], REASON[name], positions, scores, named=named)
            yield Content([level], item=context.item)

    return content


def _bought_together(context: PageContext, placement: Placement) -> Iterator[Content]:
    """Yield what goes with the item or the basket; of products that stand for each other, one that is in stock."""
    of_item = placement.goes_with == "item"
    basket = [context.item] if of_item else list(context.basket)
    lists, substitutes = (context.snapshot.item_lists(name) for name in ("bought_together", "substitutes"))
    if lists is None or substitutes is None:
        return
    positions, scores, because = goes_with(np.array(basket, np.int64), lists, substitutes)
    stocked = np.flatnonzero(context.live.servable[positions])
    kept = stocked[one_of_a_kind(positions[stocked], substitutes, _KINDS_A_PLACE * placement.limit)]
    reason = REASON["bought_together" if of_item else "carted"]
    level = Level(RELATED, SOURCE["bought_together"], reason, positions[kept], scores[kept], named=because[kept])
    yield Content([level], item=context.item if of_item else -1)


def _because_you_viewed(context: PageContext, _: Placement) -> Iterator[Content]:
    for item in context.viewed[:_SEEDS]:
        if item != context.item:
            positions, scores = context.snapshot.similar(item)
            named = np.full(len(positions), item)
            level = Level(SIMILAR, SOURCE["item_item"], REASON["viewed"], positions, scores, named=named)
            yield Content([level], item=item)


_SEEDS = 5


def _buy_again(context: PageContext, _: Placement) -> Iterator[Content]:
    positions, scores = context.own.buy_again
    due = ~np.isin(positions, context.bought)
    yield Content([Level(OWN, SOURCE["own_list"], REASON["buy_again"], positions[due], scores[due])])


def _recently_viewed(context: PageContext, _: Placement) -> Iterator[Content]:
    positions = np.array(context.viewed, np.int64)
    yield Content([Level(OWN, SOURCE["own_list"], REASON["viewed"], positions)])


_OF_CATEGORIES: dict[str, Callable[[PageContext, Placement, str], Iterator[Level]]] = {
    "trending": _trending,
    "best_sellers": _most("best_sellers", "best_seller"),
    "most_viewed": _most("most_viewed", "most_viewed"),
    "new_for_you": _new_for_you,
    "on_sale": _on_sale,
    "popular_with_people_like_you": _people_like_you,
}
_CONTENTS: dict[str, Callable[[PageContext, Placement], Iterator[Content]]] = {
    "similar": _similar,
    "alternatives": _list_of_item("substitutes", "alternative"),
    "also_viewed": _list_of_item("looked_next", "also_viewed"),
    "bought_together": _bought_together,
    "because_you_viewed": _because_you_viewed,
    "buy_again": _buy_again,
    "recently_viewed": _recently_viewed,
}
