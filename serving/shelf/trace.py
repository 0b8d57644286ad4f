"""Trace: why a user's shelf is as it is. Each candidate's source, rank and score; for each left out, the value seen.

from serving.shelf.trace import trace
trace(snapshot, live, Ask(user_id="user-17", price_max_minor=1000))
"""

from typing import Any

from serving import money
from serving.shelf.fill import POLICY, Ask, Policy, barred_of, filters_of, own_shelf, pick, segment_of
from serving.shelf.fill_levels import LEVELS
from serving.shelf.picking import SLOT_TYPES, Filters, Live, Pick
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.reorder import steps_back, waiting
from serving.shelf.snapshot import Snapshot
from serving.snapshot.contents import NO_SEGMENT
from serving.snapshot.record import SOURCES, decode


def trace(
    snapshot: Snapshot,
    live: Live,
    ask: Ask,
    variant: str = "base",
    *,
    actions: LastActions | None = None,
    request_key: bytes = b"",
    personal: bool = True,
    policy: Policy = POLICY,
) -> dict[str, Any]:
    """What `pick` answers to the same arguments, and what became of each candidate that the snapshot stored.

    `left_out` is `excluded`, `moderated`, `out_of_stock`, `category`, `price`, `bought` or `limit`, with the value
    `seen`; None for an item of the answer.
    """
    picked = pick(
        snapshot, live, ask, variant, actions=actions, request_key=request_key, personal=personal, policy=policy
    )
    packed = own_shelf(snapshot, ask.user_id, variant, Pick()) if personal and ask.user_id is not None else None
    own = None if packed is None else decode(packed.record)
    region, age_band, chosen = segment_of(ask, snapshot.segments[own.segment] if own is not None else NO_SEGMENT)
    candidates = []
    if own is not None:
        verdict = _Verdict(snapshot, live, ask, picked, actions)
        rows = zip(own.positions.tolist(), own.scores.tolist(), own.sources.tolist(), strict=True)
        for rank, (position, score, source) in enumerate(rows, 1):
            left_out, seen = verdict.of(position)
            candidates.append(
                {
                    "rank": rank,
                    **_item(snapshot, position, score, source),
                    "shown_at": verdict.shown.get(position),
                    "left_out": left_out,
                    "seen": seen,
                }
            )
    return {
        "user_id": ask.user_id,
        "snapshot": snapshot.version,
        "model_version": snapshot.manifest.model_version,
        "known": own is not None,
        "region": region,
        "age_band": age_band,
        "categories": chosen,
        "last_actions": _actions(snapshot, actions),
        "candidates": candidates,
        "shelf": _shelf(snapshot, picked),
        "short": picked.short,
        "degraded": picked.degraded,
    }


class _Verdict:
    """Says of an item whether it is shown, or else why not."""

    def __init__(self, snapshot: Snapshot, live: Live, ask: Ask, picked: Pick, actions: LastActions | None) -> None:
        self._snapshot, self._live = snapshot, live
        self._filters: Filters = filters_of(snapshot, ask)
        self._barred = barred_of(snapshot, ask)
        self._waiting = set(waiting(actions)) if actions is not None else set()
        self.shown = {position: place for place, position in enumerate(picked.positions)}

    def of(self, position: int) -> tuple[str | None, Any]:
        snapshot, live = self._snapshot, self._live
        stock, price = int(live.stock[position]), int(live.price_minor[position])
        lowest, highest = self._filters.prices or (price, price)
        node = int(snapshot.item_category[position])
        first, end = self._filters.nodes or (node, node + 1)
        gone = not live.servable[position]
        verdicts: tuple[tuple[bool, str | None, Any], ...] = (
            (position in self.shown, None, None),
            (position in self._barred, "excluded", snapshot.item_id(position)),
            (gone and stock != 0, "moderated", "hidden"),
            (gone, "out_of_stock", stock),
            (not first <= node < end, "category", snapshot.category(position)),
            (not lowest <= price <= highest, "price", money.to_text(price)),
            (position in self._waiting, "bought", "in the last actions"),
            (True, "limit", len(self.shown)),
        )
        return next((left_out, seen) for holds, left_out, seen in verdicts if holds)


def _item(snapshot: Snapshot, position: int, score: float, source: int) -> dict[str, Any]:
    return {
        "item_id": snapshot.item_id(position),
        "title": str(snapshot.titles[position]),
        "source": SOURCES[source],
        "score": float(f"{score:.4g}"),
    }


def _shelf(snapshot: Snapshot, picked: Pick) -> list[dict[str, Any]]:
    columns = (picked.positions, picked.scores, picked.sources, picked.levels, picked.slots, picked.propensities)
    return [
        {
            **_item(snapshot, position, score, source),
            "reason": snapshot.reason(picked.reasons[place], position, picked.reason_positions[place]),
            "fill_level": LEVELS[level],
            "slot_type": SLOT_TYPES[slot],
            "propensity": propensity,
            "eligible_count": picked.eligible[place],
        }
        for place, (position, score, source, level, slot, propensity) in enumerate(zip(*columns, strict=True))
    ]


def _actions(snapshot: Snapshot, actions: LastActions | None) -> list[dict[str, Any]]:
    if actions is None:
        return []
    steps, held = steps_back(actions), set(waiting(actions))
    return [
        {
            "item_id": snapshot.item_id(position),
            "event_type": ACTION_KINDS[kind],
            "age_s": round(age_s, 1),
            "steps_back": "last" if position in held else round(steps.get(position, 0.0), 1),
        }
        for position, kind, age_s in zip(actions.positions, actions.kinds, actions.ages_s, strict=True)
    ]
