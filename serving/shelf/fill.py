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
from serving.shelf.fill_levels import EXPLORE, USER
from serving.shelf.filled_shelf import EXPLORED, RANKED, FilledShelf
from serving.shelf.filler import ShelfFiller
from serving.shelf.filters import Filters, LiveColumns
from serving.shelf.interleave import InterleavedShelf, draw_number
from serving.shelf.perturb import perturb
from serving.shelf.recent_actions import LastActions
from serving.shelf.request import POLICY, Policy, ShelfRequest, excluded_positions, request_filters
from serving.shelf.snapshot import Snapshot
from serving.shelf.vocabulary import SOURCE
from serving.snapshot.experiments import BASE
from serving.snapshot.manifest import StoreError
from serving.snapshot.record import NewerRecordError, PackedShelf, RecordError

_KEPT_MASKS = 1_024
_SPARE_ITEMS = 8  # read beyond a multiple of the items wanted, before the whole stored shelf is read


def fill_shelf(
    snapshot: Snapshot,
    live: LiveColumns,
    request: ShelfRequest,
    variants: tuple[str, ...] = (BASE,),
    *,
    actions: LastActions | None = None,
    request_key: bytes = b"",
    personal: bool = True,
    policy: Policy = POLICY,
    filters: Filters | None = None,
    taken: Collection[int] = (),
) -> FilledShelf:
    """Return a shelf for one request. A store or a record that fails raises nothing: `degraded` names the failure.

    Nothing is drawn without a `request_key`, which the endpoint makes and never takes from the client. The stored
    shelf is not read unless `personal`. Of several variants, the stored shelves are interleaved. `filters` replace
    those of the request, and items that are `taken` are left out like those that it excludes.
    """
    filled = FilledShelf()
    stored: PackedShelf | InterleavedShelf | None = None
    read: list[PackedShelf] = []
    if personal and request.user_id is not None:
        if len(variants) == 1:
            stored = read_stored_shelf(snapshot, request.user_id, variants[0], filled.degraded)
        else:
            read = _read_all(snapshot, request.user_id, variants, filled.degraded)
    filled.laps.append(perf_counter_ns())
    filters = filters or request_filters(snapshot, request)
    excluded = excluded_positions(snapshot, request) if request.exclude else set[int]()
    excluded.update(taken)
    pool = snapshot.pool_in(request.category) if request_key else None
    places = exploration_slots(request.limit, policy.explore_share) if pool is not None else ()
    wanted = request.limit - len(places)
    interleaved: InterleavedShelf | None = None
    if len(read) == 1:
        stored = read[0]
    elif read:
        number = draw_number(policy.secret, request_key, len(read))
        rows = [_eligible_rows(snapshot, live, filters, shelf, excluded) for shelf in read]
        # Last actions may move any item back; without them no more places can be needed than are shown.
        stored = interleaved = InterleavedShelf(read, rows, number, wanted, None if actions else request.limit)
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
    if interleaved is not None:
        _tell_teams(filled, interleaved)
    elif request_key and policy.perturb_share:
        perturb(filled, policy.perturb_share, policy.secret, request_key)
    filled.laps.append(perf_counter_ns())
    return filled


def read_stored_shelf(snapshot: Snapshot, user_id: str, variant: str, degraded: list[str]) -> PackedShelf | None:
    """Return the user's stored shelf, the base's where there is none of the variant, or None.

    A failure to read is appended to `degraded`: `store_unavailable`, `record_newer` or `record_unreadable`.
    """
    try:
        stored = snapshot.packed(user_id, variant)
        return snapshot.packed(user_id) if stored is None and variant != BASE else stored
    except StoreError:
        degraded.append("store_unavailable")
    except NewerRecordError:
        degraded.append("record_newer")
    except RecordError:
        degraded.append("record_unreadable")
    return None


def _read_all(snapshot: Snapshot, user_id: str, variants: tuple[str, ...], degraded: list[str]) -> list[PackedShelf]:
    """Return the user's stored shelves of all variants; the base's alone where one is missing, or none."""
    failed: list[str] = []
    shelves = [read_stored_shelf(snapshot, user_id, variant, failed) for variant in variants]
    degraded += failed[:1]
    found = [shelf for shelf in shelves if shelf is not None]
    return found if len(found) == len(variants) else found[:1]


def _eligible_rows(
    snapshot: Snapshot, live: LiveColumns, filters: Filters, shelf: PackedShelf, excluded: set[int]
) -> NDArray[np.intp]:
    """Return the rows of a stored shelf that may be shown."""
    positions = shelf.positions(shelf.count)
    mask = filters.eligible(snapshot, live, positions)
    if excluded:
        mask = mask & ~np.isin(positions, list(excluded))
    return mask.nonzero()[0]


def _tell_teams(filled: FilledShelf, interleaved: InterleavedShelf) -> None:
    """Write the team and the propensity of each place that an interleaved shelf filled.

    The propensity is that of the item's place on the interleaved shelf, before last actions moved it.
    """
    row_of = {position: row for row, position in enumerate(interleaved.positions(interleaved.count).tolist())}
    filled.teams = [-1] * len(filled.positions)
    for place, (position, level) in enumerate(zip(filled.positions, filled.levels, strict=True)):
        row = row_of.get(position) if level == USER else None
        if row is not None:
            filled.teams[place] = interleaved.teams[row]
            if row < len(interleaved.propensities):
                filled.propensities[place] = interleaved.propensities[row]


def _take_stored(
    snapshot: Snapshot,
    live: LiveColumns,
    stored: PackedShelf | InterleavedShelf,
    filters: Filters,
    filled: FilledShelf,
    wanted: int,
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
    key = (category, filters.prices, filters.without_nodes)
    mask = live.masks.get(key)
    if mask is None:
        if len(live.masks) >= _KEPT_MASKS:
            live.masks.clear()
        of_all = Filters(filters.prices, None, filters.without_nodes)
        mask = live.masks[key] = of_all.eligible(snapshot, live, pool[0].positions) & pool[1]
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
