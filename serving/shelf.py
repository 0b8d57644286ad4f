"""The shelf: what one request is answered with. Computes no model: it reads the snapshot and looks at the present.

A request walks the levels `user`, `segment`, `category`, `global`, `postings` and takes from each, in the order of
rank, what is eligible now and not yet taken, until it has `limit` items. The last level is the whole catalogue (or
category), so an answer is short only where the catalogue itself has no more such items.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serving.item_state import LiveItems, eligible
from serving.record import REASON_CODES, SOURCES, RecordError, Shelf
from serving.snapshot import Snapshot
from serving.stores import StoreError

LEVELS = ("user", "segment", "category", "global", "postings")
_MAX_MINOR = 1 << 62
_FIRST_POSTINGS = 1_024  # the first look into the postings; each further one is four times as long
_SOURCE = {name: code for code, name in enumerate(SOURCES)}
_REASON = {name: code for code, name in enumerate(REASON_CODES)}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, parsed; `location` is a place on the page, `region` is geography."""

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


@dataclass(slots=True)
class Pick:
    """The items of an answer, in order; one entry an item in every list. `eligible` counts those of its level."""

    positions: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    reasons: list[int] = field(default_factory=list)
    reason_positions: list[int] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    eligible: list[int] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    short: bool = False


def pick(snapshot: Snapshot, live: LiveItems, ask: Ask, variant: str = "base") -> Pick:
    """Fill a shelf for one request. Never raises for what the store or a record does: `degraded` says it."""
    out = Pick()
    prices = None
    if ask.price_min_minor is not None or ask.price_max_minor is not None:
        highest = _MAX_MINOR if ask.price_max_minor is None else ask.price_max_minor
        prices = (ask.price_min_minor or 0, highest)
    nodes = None if ask.category is None else snapshot.category_nodes(ask.category)
    taken = {snapshot.position(item_id) for item_id in ask.exclude} - {-1}
    shelf = _own_shelf(snapshot, ask, variant, out)
    if shelf is not None:
        mask = eligible(live, shelf.positions, prices, nodes)
        if taken:
            mask &= ~np.isin(shelf.positions, list(taken))
        _take_own(out, shelf, mask, ask.limit)
    if len(out.positions) < ask.limit:
        taken.update(out.positions)
        for level, source, reason, positions, scores in _levels(snapshot, ask, shelf):
            mask = eligible(live, positions, prices, nodes)
            rows = np.flatnonzero(mask)
            what = (LEVELS.index(level), _SOURCE[source], _REASON[reason])
            found = [] if scores is None else scores[rows].tolist()
            _take(out, what, positions[rows].tolist(), found, taken=taken, limit=ask.limit)
            if len(out.positions) >= ask.limit:
                break
        out.short = len(out.positions) < ask.limit
    return out


def _own_shelf(snapshot: Snapshot, ask: Ask, variant: str, out: Pick) -> Shelf | None:
    if ask.user_id is None:
        return None
    try:
        return snapshot.shelf(ask.user_id, variant)
    except StoreError:
        out.degraded.append("store_unavailable")
    except RecordError:
        out.degraded.append("record_unreadable")
    return None


def _take_own(out: Pick, shelf: Shelf, mask: NDArray[np.bool_], limit: int) -> None:
    rows = np.flatnonzero(mask)
    count = len(rows)
    rows = rows[:limit]
    out.positions = shelf.positions[rows].tolist()
    out.scores = shelf.scores[rows].tolist()
    out.sources = shelf.sources[rows].tolist()
    out.reasons = shelf.reasons[rows].tolist()
    out.reason_positions = shelf.reason_positions[rows].tolist()
    out.levels = [0] * len(rows)
    out.eligible = [count] * len(rows)


def _take(
    out: Pick,
    what: tuple[int, int, int],
    positions: list[int],
    scores: list[float],
    *,
    taken: set[int],
    limit: int,
) -> None:
    level, source, reason = what
    for row, position in enumerate(positions):
        if position in taken:
            continue
        taken.add(position)
        out.positions.append(position)
        out.scores.append(scores[row] if scores else 0.0)
        out.sources.append(source)
        out.reasons.append(reason)
        out.reason_positions.append(-1)
        out.levels.append(level)
        out.eligible.append(len(positions))
        if len(out.positions) >= limit:
            return


_Level = tuple[str, str, str, NDArray[np.integer], NDArray[np.floating] | None]


def _levels(snapshot: Snapshot, ask: Ask, shelf: Shelf | None) -> Iterator[_Level]:
    """What to fill from, in order: level, source, reason, positions, scores."""
    region, age_band = snapshot.segments[shelf.segment] if shelf is not None else ("", "")
    for kind, key in (("region", ask.region or region), ("age_band", ask.age_band or age_band)):
        found = snapshot.fallback(kind, key) if key else None
        if found is not None:
            yield "segment", "segment", "popular", *found
    if ask.category is not None:
        found = snapshot.fallback("category", ask.category)
        if found is not None:
            yield "category", "popular_in_category", "popular_in_category", *found
    for kind, source in (("global", "popular"), ("trending", "trending")):
        found = snapshot.fallback(kind)
        if found is not None:
            yield "global", source, source, *found
    postings = snapshot.postings(ask.category)
    reason = "popular" if ask.category is None else "popular_in_category"
    first, step = 0, _FIRST_POSTINGS
    while first < len(postings):
        yield "postings", reason, reason, postings[first : first + step], None
        first, step = first + step, step * 4
