"""The shelf: what one request is answered with. Computes no model: it reads the snapshot and looks at the present.

A request takes, in the order of rank, what is eligible now: first of the user's own shelf, then level by level
(`serving.shelf.fill_levels`) until it has `limit` items, none twice. What the user just did moves items
(`serving.shelf.reorder`); a few fixed places explore (`serving.shelf.explore`).
"""

from collections.abc import Collection, Iterator
from time import perf_counter_ns
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.shelf.explore import ExplorePool, draw_of, slots
from serving.shelf.fill_levels import (
    EXPLORE,
    LEVELS,
    MANY,
    MAX_MINOR,
    POSTINGS,
    REASON,
    RECENT,
    SOURCE,
    USER,
    Level,
    fill_levels,
)
from serving.shelf.picking import EXPLORED, RANKED, SLOT_TYPES, Filters, Live, Pick, Run, plain_run
from serving.shelf.recent_actions import LastActions
from serving.shelf.reorder import EVERY, FIRST, Near, neighbours, stepped, steps_back, waiting
from serving.shelf.snapshot import Snapshot
from serving.snapshot.contents import NO_SEGMENT, Segment
from serving.snapshot.manifest import StoreError
from serving.snapshot.record import NewerRecordError, PackedShelf, RecordError

__all__ = ["LEVELS", "POLICY", "SLOT_TYPES", "Ask", "Pick", "Policy", "pick"]


_MASKS = 1_024


class Ask(msgspec.Struct, frozen=True, gc=False):
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
    categories: tuple[str, ...] = ()  # those that the user chose
    actions: tuple[tuple[str, str], ...] = ()  # kind and item of what the user just did, the newest first


class Policy(msgspec.Struct, frozen=True):
    """How slots are given: the share of places that explore, and the key that a request's ordering is drawn with."""

    explore_share: float = 0.1
    secret: bytes = b"topshelf"


POLICY = Policy()
_SPARE = 8  # a shelf is looked at some times as far as items are wanted and this; where that fails, to its end


def filters_of(snapshot: Snapshot, ask: Ask) -> Filters:
    """The filters of a request, over a snapshot's categories."""
    prices = None
    if ask.price_min_minor is not None or ask.price_max_minor is not None:
        prices = (max(0, ask.price_min_minor or 0), MAX_MINOR if ask.price_max_minor is None else ask.price_max_minor)
    return Filters(prices, None if ask.category is None else snapshot.category_nodes(ask.category))


def pick(
    snapshot: Snapshot,
    live: Live,
    ask: Ask,
    variant: str = "base",
    *,
    actions: LastActions | None = None,
    request_key: bytes = b"",
    personal: bool = True,
    policy: Policy = POLICY,
) -> Pick:
    """Fill a shelf for one request. Never raises for what the store or a record does: `degraded` says it.

    Without a `request_key` (made here, never the client's) nothing is explored. Without `personal` the store is not
    asked for the user's shelf.
    """
    out = Pick()
    shelf = own_shelf(snapshot, ask.user_id, variant, out) if personal and ask.user_id is not None else None
    out.laps.append(perf_counter_ns())
    filters = filters_of(snapshot, ask)
    barred = barred_of(snapshot, ask) if ask.exclude else set[int]()
    pool = snapshot.pool_in(ask.category) if request_key else None
    places = slots(ask.limit, policy.explore_share) if pool is not None else ()
    wanted = ask.limit - len(places)
    filling: Filling | None = None
    if shelf is not None and actions is None and not barred:  # the common path: a handful of calls
        _take_own(snapshot, live, shelf, filters, out, wanted)
    if not out.positions:
        filling = Filling(snapshot, live, ask, shelf, filters=filters, barred=barred, actions=actions, out=out)
        filling.up_to(wanted)
    out.laps.append(perf_counter_ns())
    if pool is not None and places:
        unfit = (*barred, *actions.positions) if actions is not None else barred
        mask = _pool_mask(snapshot, live, pool, ask.category, filters)
        _explore(pool[0], mask, out, unfit, draw_of(policy.secret, request_key), places)
    out.laps.append(perf_counter_ns())
    if len(out.positions) < ask.limit:
        if filling is None:
            filling = Filling(snapshot, live, ask, shelf, filters=filters, barred=barred, actions=actions, out=out)
        filling.taken.update(out.positions)
        filling.up_to(ask.limit)
        out.short = len(out.positions) < ask.limit
    out.laps.append(perf_counter_ns())
    return out


def _pool_mask(
    snapshot: Snapshot,
    live: Live,
    pool: tuple[ExplorePool, NDArray[np.bool_]],
    category: str | None,
    filters: Filters,
) -> NDArray[np.bool_]:
    """What of a pool may be shown now, remembered until the present changes; the caller's own to change."""
    key = (category, filters.prices)
    mask = live.masks.get(key)
    if mask is None:
        if len(live.masks) >= _MASKS:
            live.masks.clear()
        mask = live.masks[key] = Filters(filters.prices).eligible(snapshot, live, pool[0].positions) & pool[1]
    return mask.copy()


def own_shelf(snapshot: Snapshot, user_id: str, variant: str, out: Pick) -> PackedShelf | None:
    """The user's shelf, or None: where the night knew none, or where it cannot be read, which `out` then says."""
    try:
        return snapshot.packed(user_id, variant)
    except StoreError:
        out.degraded.append("store_unavailable")
    except NewerRecordError:
        out.degraded.append("record_newer")
    except RecordError:
        out.degraded.append("record_unreadable")
    return None


def segment_of(ask: Ask, stored: Segment) -> Segment:
    """A user's segment: what the request says of it, else what the night knew."""
    region, age_band, chosen = stored
    return ask.region or region, ask.age_band or age_band, ask.categories or chosen


def barred_of(snapshot: Snapshot, ask: Ask) -> set[int]:
    """The positions of what the request wants left out."""
    return {snapshot.position(item_id) for item_id in ask.exclude} - {-1}


def _take_own(snapshot: Snapshot, live: Live, shelf: PackedShelf, filters: Filters, out: Pick, wanted: int) -> None:
    """Take the first eligible items of the user's own shelf, or none where it has too few."""
    look = (2 if filters.prices is None and filters.nodes is None else 3) * wanted + _SPARE
    positions = shelf.positions(look)
    rows = filters.eligible(snapshot, live, positions).nonzero()[0]
    if len(rows) < wanted and look < shelf.count:
        positions = shelf.positions(shelf.count)
        rows = filters.eligible(snapshot, live, positions).nonzero()[0]
    count = len(rows)
    if count < wanted:
        return
    first = rows[:wanted]
    found: list[int] = positions[first].tolist()
    if len(set(found)) < wanted:  # a stored shelf that repeats itself: taken one by one
        return
    out.positions = found
    out.scores = shelf.scores(first)
    out.sources, out.reasons, out.reason_positions = shelf.reasons(first.tolist())
    out.levels = [USER] * wanted
    out.slots = [RANKED] * wanted
    out.propensities = [1.0] * wanted
    out.eligible = [count] * wanted


class Filling:
    """Takes items level by level; it can be asked for more, and goes on where it stopped."""

    def __init__(
        self,
        snapshot: Snapshot,
        live: Live,
        ask: Ask,
        shelf: PackedShelf | None,
        *,
        filters: Filters,
        barred: set[int],
        actions: LastActions | None,
        out: Pick,
    ) -> None:
        self._snapshot, self._live, self._ask, self._filters, self._out = snapshot, live, ask, filters, out
        self._steps = steps_back(actions) if actions is not None else {}
        self._waiting = waiting(actions) if actions is not None else []
        self._held = barred.union(self._waiting)
        self._runs = self._walk(shelf)
        self._run: Run | None = None
        self._near = self._nearby(neighbours(snapshot, actions)) if actions is not None else None
        self._ranked = 0
        self.taken = set(barred)

    def up_to(self, limit: int) -> None:
        """Take items until there are `limit`, or no more."""
        out, near = self._out, self._near
        while (missing := limit - len(out.positions)) > 0:
            if near is not None:
                if self._ranked % EVERY == FIRST and near.give(out, 1, self.taken):
                    self._ranked += 1
                    continue
                missing = min(missing, (FIRST - self._ranked - 1) % EVERY + 1)
            if self._run is None:
                self._run = next(self._runs, None)
                if self._run is None:
                    return
            given = self._run.give(out, missing, self.taken)
            self._ranked += given
            if given < missing:
                self._run = None

    def _nearby(self, near: Near) -> Run | None:
        positions, scores, reasons, seeds = near
        mask = self._filters.eligible(self._snapshot, self._live, positions)
        rows = [row for row in mask.nonzero()[0].tolist() if int(positions[row]) not in self._held]
        if not rows:
            return None
        return Run(
            RECENT,
            len(rows),
            positions[rows].tolist(),
            [scores[row] for row in rows],
            [SOURCE["session"]] * len(rows),
            [reasons[row] for row in rows],
            [seeds[row] for row in rows],
        )

    def _walk(self, shelf: PackedShelf | None) -> Iterator[Run]:
        """What is eligible, level by level, seen items stepped back, and at the end what waited."""
        if shelf is not None:
            yield self._own(shelf)
        ask, snapshot = self._ask, self._snapshot
        segment = segment_of(ask, snapshot.segments[shelf.segment] if shelf is not None else NO_SEGMENT)
        limit, prices = ask.limit, self._filters.prices
        for level in fill_levels(snapshot, limit=limit, category=ask.category, prices=prices, segment=segment):
            yield self._of(level)
        if self._waiting:
            held = snapshot.listed(np.array(self._waiting, np.int64))
            rows = self._filters.eligible(snapshot, self._live, held).nonzero()[0]
            yield plain_run(Level(POSTINGS, SOURCE["popular"], REASON["popular"], held), rows, len(rows))

    def _own(self, shelf: PackedShelf) -> Run:
        positions = shelf.positions(shelf.count)
        rows = self._order(positions, self._filters.eligible(self._snapshot, self._live, positions), MANY)
        rows = rows[np.sort(np.unique(positions[rows], return_index=True)[1])]
        why = shelf.reasons(rows.tolist())
        return Run(USER, len(rows), positions[rows].tolist(), shelf.scores(rows), *why)

    def _of(self, level: Level) -> Run:
        mask = self._filters.eligible(self._snapshot, self._live, level.positions)
        # More are never needed, whatever was taken before or steps back.
        most = 2 * self._ask.limit + len(self.taken) + len(self._held) + len(self._steps)
        return plain_run(level, self._order(level.positions, mask, most), int(np.count_nonzero(mask)))

    def _order(
        self, positions: NDArray[np.integer[Any]], mask: NDArray[np.bool_], most: int
    ) -> NDArray[np.integer[Any]]:
        """The first `most` rows that may be taken, held ones left out, seen ones stepped back."""
        rows: NDArray[np.integer[Any]] = mask.nonzero()[0][:most]
        if not self._held and not self._steps:
            return rows
        found = positions[rows].tolist()
        if not self._held.isdisjoint(found):
            rows = rows[[position not in self._held for position in found]]
            found = positions[rows].tolist()
        return rows[stepped(found, self._steps)] if self._steps else rows


def _explore(
    pool: ExplorePool,
    mask: NDArray[np.bool_],
    out: Pick,
    unfit: Collection[int],
    draw: int,
    places: tuple[int, ...],
) -> None:
    """Put the chosen ordering's first eligible items, none of them shown already, into the slots."""
    eligible = pool.eligible(mask, out.positions, unfit)
    total, choices = pool.choices(eligible, len(places))
    rows, shares = choices[draw]
    for place, row, share in zip(places, rows, shares, strict=False):  # fewer rows than places: the first are filled
        out.positions.insert(place, pool.items[row])
        out.scores.insert(place, pool.scores[row])
        out.sources.insert(place, SOURCE["explore"])
        out.reasons.insert(place, pool.reasons[row])
        out.reason_positions.insert(place, -1)
        out.levels.insert(place, EXPLORE)
        out.slots.insert(place, EXPLORED)
        out.propensities.insert(place, share)
        out.eligible.insert(place, total)
