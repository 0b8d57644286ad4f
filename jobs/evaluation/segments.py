"""Tell for which users and for which items lists are good: new, light and heavy users; head, middle and tail items.

>>> by_segment(split, lists)["users"]["new"]["metrics"]["all"]["recall@20"]

A user's segment is the number of days before the window on which they did what counts as truth: one day is new, up to
LIGHT_DAYS light, more heavy. Items are cut by the share of all pairs of user and item that they hold, the best known
first: the head holds HEAD_SHARE, head and middle MIDDLE_SHARE, the tail the rest.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from scipy import sparse

from jobs.evaluation.time_split import TimeSplit
from jobs.numeric.arrays import Positions
from jobs.numeric.list_metrics import K, user_values

USER_SEGMENTS = ("new", "light", "heavy")
LIGHT_DAYS = 5
ITEM_SEGMENTS = ("head", "middle", "tail")
HEAD_SHARE, MIDDLE_SHARE = 0.5, 0.8

Codes = npt.NDArray[np.int64]


def user_segments(split: TimeSplit) -> Codes:
    """Return the segment of each asked user, an index into USER_SEGMENTS, [len(split.user_ids)]."""
    visible = split.visible if split.truth_kind == "any" else split.visible.where(split.visible.is_purchase)
    days = np.unique(np.stack([visible.user, visible.day.astype(np.int64)], axis=1), axis=0)
    count = np.bincount(days[:, 0], minlength=len(visible.user_ids))
    asked = pc.index_in(split.user_ids, value_set=visible.user_ids).to_numpy(False).astype(np.int64)
    return np.asarray(np.searchsorted([1, LIGHT_DAYS], count[asked], side="left"), dtype=np.int64)


def item_segments(audience: npt.NDArray[np.int64]) -> Codes:
    """Return the segment of each item, an index into ITEM_SEGMENTS, from its distinct users; equals by position.

    An item belongs to the segment in which its pairs begin, so the head has one item at least.
    """
    order = np.argsort(-audience, kind="stable")
    before = np.cumsum(audience[order]) - audience[order]
    segment = np.empty(len(audience), dtype=np.int64)
    cuts = np.array([HEAD_SHARE, MIDDLE_SHARE]) * audience.sum()
    segment[order] = np.searchsorted(cuts, before, side="right")
    return segment


def by_segment(split: TimeSplit, lists: Positions, k: int = K) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what lists [len(split.user_ids), length] are worth in each segment: `users` and `items`, by its name.

    `users` has the metrics of `TimeSplit.score` for the users of the segment. `items` has the recall, NDCG and hit
    rate of the truth of the segment alone, over the users who chose any of it, and the share of all places it got.
    """
    of_user, of_item = user_segments(split), item_segments(split.audience)
    users, items = {}, {}
    for code, name in enumerate(USER_SEGMENTS):
        rows = np.flatnonzero(of_user == code)
        if len(rows):
            scores = split.of_users(rows).score(lists[rows], k)
            users[name] = {"n_users": scores.n_users, "metrics": scores.metrics}
    cut = lists[:, :k]
    places = np.bincount(of_item[cut[cut >= 0]], minlength=len(ITEM_SEGMENTS))
    for code, name in enumerate(ITEM_SEGMENTS):
        truth = sparse.csr_matrix(split.truth @ sparse.diags((of_item == code).astype(np.float64)))
        truth.eliminate_zeros()
        asked = np.flatnonzero(np.diff(truth.indptr))
        values = user_values(cut[asked], sparse.csr_matrix(truth[asked]), k)
        items[name] = {
            "n_items": int((of_item == code).sum()),
            "n_users": len(asked),
            "metrics": {metric: float(of.mean()) if len(of) else 0.0 for metric, of in values.items()}
            | {f"share_of_places@{k}": float(places[code] / max(places.sum(), 1))},
        }
    return {"users": users, "items": items}
