"""What a visit is about tilts a shopper's stored shelf: items of the categories that it looks at come sooner.

An item's place is divided by 1 + TILT x share, where `share` is that of its category among the actions of the last
VISIT_S; equal places keep the night's order. Items that the request excludes count in the places, so that the next
page is tilted as this one. `python -m tests.bench mid_session` measures what it is worth;
docs/quality.md ("In mid-visit") has the figures and how TILT was chosen.
"""

import numpy as np
from numpy.typing import NDArray

from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.snapshot import Snapshot

VISIT_S = 1_800.0  # half an hour, as web analytics ends a visit
TILT = 8.0
_SHOWN = ACTION_KINDS.index("impression")  # what was shown says nothing of what is looked for


def category_shares(snapshot: Snapshot, actions: LastActions) -> dict[int, float]:
    """Return the share of each category, by its node, among what the visit looked at; of items that have one."""
    acted = zip(actions.positions, actions.kinds, actions.ages_s, strict=True)
    nodes = [
        int(snapshot.item_category[position])
        for position, kind, age_s in acted
        if kind != _SHOWN and age_s <= VISIT_S
    ]
    known = [node for node in nodes if node >= 0]
    return {node: known.count(node) / len(known) for node in dict.fromkeys(known)}


def tilted(snapshot: Snapshot, positions: NDArray[np.integer], shares: dict[int, float]) -> NDArray[np.intp]:
    """Return the order of items by their tilted places: indices into `positions`, which are in the night's order."""
    nodes, lift = snapshot.item_category[positions], np.ones(len(positions))
    for node, share in shares.items():
        lift[nodes == node] += TILT * share
    return np.argsort(np.arange(1, len(positions) + 1) / lift, kind="stable")
