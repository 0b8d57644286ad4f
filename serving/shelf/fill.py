"""Fill the shelf of one request from the snapshot and the live state; no model runs here.

The answer takes eligible items in the order of rank: first the user's stored shelf, then level by level
(`serving.shelf.fill_levels`) until it has `limit` items, each once. The user's last actions move items
(`serving.shelf.reorder`), and a few fixed places explore (`serving.shelf.explore`).
"""

from collections.abc import Collection
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from serving.shelf.explore import ExplorePool, exploration_slots, ordering_number
from serving.shelf.fill_levels import EXPLORE, SOURCE, USER
from serving.shelf.filled_shelf import EXPLORED, RANKED, FilledShelf
from serving.shelf.filler import ShelfFiller
from serving.shelf.filters import Filters, LiveColumns
from serving.shelf.recent_actions import LastActions
from serving.shelf.request import POLICY, Policy, ShelfRequest, excluded_positions, request_filters
from serving.shelf.snapshot import Snapshot
from serving.snapshot.manifest import StoreError
from serving.snapshot.record import NewerRecordError, PackedShelf, RecordError

_KEPT_MASKS = 1_024
_SPARE_ITEMS = 8  # read beyond a multiple of the items wanted, before the whole stored shelf is read


def fill_shelf(
    snapshot: Snapshot,
    live: LiveColumns,
    request: ShelfRequest,
    variant: str = "base",
    *,
    actions: LastActions | None = None,
    request_key: bytes = b"",
    personal: bool = True,
    policy: Policy = POLICY,
) -> FilledShelf:
    """Return a shelf for one request. A store or a record that fails raises nothing: `degraded` names the failure.

    Nothing explores without a `request_key`, which the endpoint makes and never takes from the client. The stored
    shelf is not read unless `personal`.
    """
    filled = FilledShelf()
    stored = None
    if personal and request.user_id is not None:
        stored = read_stored_shelf(snapshot, request.user_id, variant, filled.degraded)
    filled.laps.append(perf_counter_ns())
    filters = request_filters(snapshot, request)
    excluded = excluded_positions(snapshot, request) if request.exclude else set[int]()
    pool = snapshot.pool_in(request.category) if request_key else None
    places = exploration_slots(request.limit, policy.explore_share) if pool is not None else ()
    wanted = request.limit - len(places)
    filler: ShelfFiller | None = None
    if stored is not None and actions is None and not excluded:  # the common path: a handful of calls
        _take_stored(snapshot, live, stored, filters, filled, wanted)
    if not filled.positions:
        filler = ShelfFiller(
            snapshot, live, request, stored, filters=filters, excluded=excluded, actions=actions, filled=filled
        )
        filler.fill_to(wanted)
    filled.laps.append(perf_counter_ns())
    if pool is not None and places:
        unfit = (*excluded, *actions.positions) if actions is not None else excluded
        mask = _pool_mask(snapshot, live, pool, request.category, filters)
        _explore(pool[0], mask, filled, unfit, ordering_number(policy.secret, request_key), places)
    filled.laps.append(perf_counter_ns())
    if len(filled.positions) < request.limit:
        if filler is None:
            filler = ShelfFiller(
                snapshot, live, request, stored, filters=filters, excluded=excluded, actions=actions, filled=filled
            )
        filler.taken.update(filled.positions)
        filler.fill_to(request.limit)
        filled.short = len(filled.positions) < request.limit
    filled.laps.append(perf_counter_ns())
    return filled


def read_stored_shelf(snapshot: Snapshot, user_id: str, variant: str, degraded: list[str]) -> PackedShelf | None:
    """Return the user's stored shelf, or None where there is none or it cannot be read.

    A failure to read is appended to `degraded`: `store_unavailable`, `record_newer` or `record_unreadable`.
    """
    try:
        return snapshot.packed(user_id, variant)
    except StoreError:
        degraded.append("store_unavailable")
    except NewerRecordError:
        degraded.append("record_newer")
    except RecordError:
        degraded.append("record_unreadable")
    return None


def _take_stored(
    snapshot: Snapshot, live: LiveColumns, stored: PackedShelf, filters: Filters, filled: FilledShelf, wanted: int
) -> None:
    """Take the first `wanted` eligible items of the stored shelf; take none if it has fewer."""
    count = (2 if filters.prices is None and filters.nodes is None else 3) * wanted + _SPARE_ITEMS
    positions = stored.positions(count)
    rows = filters.eligible(snapshot, live, positions).nonzero()[0]
    if len(rows) < wanted and count < stored.count:
        positions = stored.positions(stored.count)
        rows = filters.eligible(snapshot, live, positions).nonzero()[0]
    eligible_count = len(rows)
    if eligible_count < wanted:
        return
    rows = rows[:wanted]
    chosen: list[int] = positions[rows].tolist()
    if len(set(chosen)) < wanted:  # the record repeats an item: ShelfFiller takes each once
        return
    filled.positions = chosen
    filled.scores = stored.scores(rows)
    filled.sources, filled.reasons, filled.reason_positions = stored.reasons(rows.tolist())
    filled.levels = [USER] * wanted
    filled.slots = [RANKED] * wanted
    filled.propensities = [1.0] * wanted
    filled.eligible = [eligible_count] * wanted


def _pool_mask(
    snapshot: Snapshot,
    live: LiveColumns,
    pool: tuple[ExplorePool, NDArray[np.bool_]],
    category: str | None,
    filters: Filters,
) -> NDArray[np.bool_]:
    """Return which items of a pool may be shown now: a copy from the cache that live changes empty."""
    key = (category, filters.prices)
    mask = live.masks.get(key)
    if mask is None:
        if len(live.masks) >= _KEPT_MASKS:
            live.masks.clear()
        mask = live.masks[key] = Filters(filters.prices).eligible(snapshot, live, pool[0].positions) & pool[1]
    return mask.copy()


def _explore(
    pool: ExplorePool,
    mask: NDArray[np.bool_],
    filled: FilledShelf,
    unfit: Collection[int],
    ordering: int,
    places: tuple[int, ...],
) -> None:
    """Insert the first eligible items of one ordering at `places`, none of which the shelf has already."""
    eligible = pool.eligible(mask, filled.positions, unfit)
    eligible_count, rows, propensities = pool.choice(eligible, len(places), ordering)
    # With fewer eligible rows than places, the first places are filled.
    for place, row, propensity in zip(places, rows, propensities, strict=False):
        filled.positions.insert(place, pool.items[row])
        filled.scores.insert(place, pool.scores[row])
        filled.sources.insert(place, SOURCE["explore"])
        filled.reasons.insert(place, pool.reasons[row])
        filled.reason_positions.insert(place, -1)
        filled.levels.insert(place, EXPLORE)
        filled.slots.insert(place, EXPLORED)
        filled.propensities.insert(place, propensity)
        filled.eligible.insert(place, eligible_count)
