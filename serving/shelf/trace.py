"""Trace: why a user's shelf is as it is: each candidate's source, rank and score, and why it was left out.

from serving.shelf.trace import trace
trace(snapshot, live, ShelfRequest(user_id="user-17", price_max_minor=1000))
"""

import msgspec

from serving import money
from serving.shelf.fill import fill_shelf, read_stored_shelf
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filled_shelf import SLOT_TYPES, FilledShelf
from serving.shelf.filters import Filters, LiveColumns
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.reorder import steps_back, waiting_items
from serving.shelf.request import POLICY, Policy, ShelfRequest, excluded_positions, request_filters, request_segment
from serving.shelf.snapshot import Snapshot
from serving.shelf.visit import category_shares
from serving.snapshot.contents import NO_SEGMENT
from serving.snapshot.experiments import BASE
from serving.snapshot.record import SOURCES, decode


class TracedAction(msgspec.Struct, frozen=True):
    """One of the user's last actions; `steps_back` is "last" for an item that is shown only when nothing else is."""

    item_id: str
    event_type: str
    age_s: float
    steps_back: float | str


class TracedCandidate(msgspec.Struct, frozen=True):
    """One item of the stored shelf.

    `left_out` is `excluded`, `moderated`, `out_of_stock`, `category`, `price`, `bought` or `limit`, and `seen` the
    value that decided it; both are None for an item of the answer.
    """

    rank: int
    item_id: str
    title: str
    source: str
    score: float
    shown_at: int | None  # 0-based place in the answer
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


class ShelfTrace(msgspec.Struct, frozen=True):
    """The answer to a request, and what became of each candidate that the snapshot stored for the user."""

    user_id: str | None
    snapshot: str
    model_version: str
    known: bool  # whether a stored shelf was read
    region: str
    age_band: str
    categories: tuple[str, ...]
    last_actions: list[TracedAction]
    visit: dict[
        str, float
    ]  # the share of each category in what the visit is about, to which the stored shelf is tilted
    candidates: list[TracedCandidate]
    shelf: list[TracedItem]
    short: bool
    degraded: list[str]


def trace(
    snapshot: Snapshot,
    live: LiveColumns,
    request: ShelfRequest,
    variants: tuple[str, ...] = (BASE,),
    *,
    actions: LastActions | None = None,
    request_key: bytes = b"",
    personal: bool = True,
    policy: Policy = POLICY,
) -> ShelfTrace:
    """Return what `fill_shelf` answers to the same arguments, with the reasons.

    Candidates are those of the stored shelf of the first variant.
    """
    filled = fill_shelf(
        snapshot, live, request, variants, actions=actions, request_key=request_key, personal=personal, policy=policy
    )
    packed = None
    if personal and request.user_id is not None:
        packed = read_stored_shelf(snapshot, request.user_id, variants[0], [])
    stored = None if packed is None else decode(packed.record)
    region, age_band, categories = request_segment(
        request, snapshot.segments[stored.segment] if stored is not None else NO_SEGMENT
    )
    candidates = []
    if stored is not None:
        outcomes = _CandidateOutcomes(snapshot, live, request, filled, actions)
        rows = zip(stored.positions.tolist(), stored.scores.tolist(), stored.sources.tolist(), strict=True)
        for rank, (position, score, source) in enumerate(rows, 1):
            item = _item(snapshot, position, score, source)
            shown_at = outcomes.shown_at.get(position)
            candidates.append(TracedCandidate(rank, *item, shown_at, *outcomes.left_out(position)))
    return ShelfTrace(
        request.user_id,
        snapshot.version,
        snapshot.manifest.model_version,
        stored is not None,
        region,
        age_band,
        categories,
        _traced_actions(snapshot, actions),
        _traced_visit(snapshot, actions),
        candidates,
        _traced_shelf(snapshot, filled),
        filled.short,
        filled.degraded,
    )


def _traced_visit(snapshot: Snapshot, actions: LastActions | None) -> dict[str, float]:
    shares = {} if actions is None else category_shares(snapshot, actions)
    return {str(snapshot.categories[node]): share for node, share in shares.items()}


class _CandidateOutcomes:
    """Says whether an item is shown, or why it was left out."""

    def __init__(
        self,
        snapshot: Snapshot,
        live: LiveColumns,
        request: ShelfRequest,
        filled: FilledShelf,
        actions: LastActions | None,
    ) -> None:
        self._snapshot, self._live = snapshot, live
        self._filters: Filters = request_filters(snapshot, request)
        self._excluded = excluded_positions(snapshot, request)
        self._waiting = set(waiting_items(actions)) if actions is not None else set()
        self.shown_at = {position: place for place, position in enumerate(filled.positions)}

    def left_out(self, position: int) -> tuple[str | None, str | int | None]:
        """Return why an item was left out, and the value that decided it; (None, None) for a shown item."""
        snapshot, live = self._snapshot, self._live
        stock, price = int(live.stock[position]), int(live.price_minor[position])
        lowest, highest = self._filters.prices or (price, price)
        node = int(snapshot.item_category[position])
        first, end = self._filters.nodes or (node, node + 1)
        unavailable = not live.servable[position]
        outcomes: tuple[tuple[bool, str | None, str | int | None], ...] = (
            (position in self.shown_at, None, None),
            (position in self._excluded, "excluded", snapshot.item_id(position)),
            (unavailable and stock != 0, "moderated", "hidden"),
            (unavailable, "out_of_stock", stock),
            (not first <= node < end, "category", snapshot.category(position)),
            (not lowest <= price <= highest, "price", money.to_text(price)),
            (position in self._waiting, "bought", "in the last actions"),
            (True, "limit", len(self.shown_at)),
        )
        return next((reason, seen) for holds, reason, seen in outcomes if holds)


def _item(snapshot: Snapshot, position: int, score: float, source: int) -> tuple[str, str, str, float]:
    """Return item id, title, source and score to four digits."""
    item_id, title = snapshot.item_id(position), str(snapshot.titles[position])
    return item_id, title, SOURCES[source], float(f"{score:.4g}")


def _traced_shelf(snapshot: Snapshot, filled: FilledShelf) -> list[TracedItem]:
    columns = (filled.positions, filled.scores, filled.sources, filled.levels, filled.slots, filled.propensities)
    return [
        TracedItem(
            *_item(snapshot, position, score, source),
            snapshot.reason(filled.reasons[place], position, filled.reason_positions[place]),
            LEVELS[level],
            SLOT_TYPES[slot],
            propensity,
            filled.eligible[place],
        )
        for place, (position, score, source, level, slot, propensity) in enumerate(zip(*columns, strict=True))
    ]


def _traced_actions(snapshot: Snapshot, actions: LastActions | None) -> list[TracedAction]:
    if actions is None:
        return []
    steps, waiting = steps_back(actions), set(waiting_items(actions))
    return [
        TracedAction(
            snapshot.item_id(position),
            ACTION_KINDS[kind],
            round(age_s, 1),
            "last" if position in waiting else round(steps.get(position, 0.0), 1),
        )
        for position, kind, age_s in zip(actions.positions, actions.kinds, actions.ages_s, strict=True)
    ]
