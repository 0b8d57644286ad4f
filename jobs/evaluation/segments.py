"""Metrics by segment: for new, light and heavy users, and for head, middle and tail items.

>>> by_segment(split, lists, baselines).users["new"].metrics["all"]["recall@20"]

A user's segment is the number of days before the window on which they did what counts as truth: one day is new, up to
LIGHT_DAYS light, more heavy. Items are segmented by the share of all pairs of user and item that they hold, the best
known first: the head holds HEAD_SHARE, head and middle MIDDLE_SHARE, the tail the rest.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from scipy import sparse

from jobs.evaluation.time_split import TimeSplit
from jobs.lake.evaluations import ItemSegment, Metrics, Segments, UserSegment
from jobs.numeric.arrays import Positions
from jobs.numeric.list_metrics import K, user_values

USER_SEGMENTS = ("new", "light", "heavy")
LIGHT_DAYS = 5
ITEM_SEGMENTS = ("head", "middle", "tail")
HEAD_SHARE, MIDDLE_SHARE = 0.5, 0.8

Codes = npt.NDArray[np.int64]


def user_segments(split: TimeSplit) -> Codes:
    """Return the segment of each user of the split, an index into USER_SEGMENTS, [len(split.user_ids)]."""
    visible = split.visible if split.truth_kind == "any" else split.visible.where(split.visible.is_purchase)
    days = np.unique(np.stack([visible.user, visible.day.astype(np.int64)], axis=1), axis=0)
    day_count = np.bincount(days[:, 0], minlength=len(visible.user_ids))
    rows = pc.index_in(split.user_ids, value_set=visible.user_ids).to_numpy(False).astype(np.int64)
    return np.asarray(np.searchsorted([1, LIGHT_DAYS], day_count[rows], side="left"), dtype=np.int64)


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


def by_segment(split: TimeSplit, lists: Positions, baselines: Mapping[str, Positions], k: int = K) -> Segments:
    """Return the metrics of lists [len(split.user_ids), length] in each segment, with each baseline's beside them.

    `users` has the metrics of `TimeSplit.score` for the users of the segment; segments without users are left out.
    `items` has the recall, NDCG and hit rate of the truth of the segment alone, over the users who chose any of it,
    and the share of all places that the segment got.
    """
    return Segments(users=_users(split, lists, baselines, k), items=_items(split, lists, baselines, k))


def _users(split: TimeSplit, lists: Positions, baselines: Mapping[str, Positions], k: int) -> dict[str, UserSegment]:
    segment = user_segments(split)
    segments = {}
    for code, name in enumerate(USER_SEGMENTS):
        rows = np.flatnonzero(segment == code)
        if len(rows):
            part = split.for_users(rows)
            scores = part.score(lists[rows], k)
            others = {which: part.score(other[rows], k).metrics for which, other in baselines.items()}
            segments[name] = UserSegment(scores.n_users, scores.metrics, others)
    return segments


def _items(split: TimeSplit, lists: Positions, baselines: Mapping[str, Positions], k: int) -> dict[str, ItemSegment]:
    segment = item_segments(split.audience)
    segments = {}
    for code, name in enumerate(ITEM_SEGMENTS):
        in_segment = segment == code
        truth = sparse.csr_matrix(split.truth @ sparse.diags(in_segment.astype(np.float64)))
        truth.eliminate_zeros()
        segments[name] = ItemSegment(
            n_items=int(in_segment.sum()),
            n_users=int((np.diff(truth.indptr) > 0).sum()),
            metrics=_item_metrics(lists, truth, in_segment, k),
            baselines={which: _item_metrics(other, truth, in_segment, k) for which, other in baselines.items()},
        )
    return segments


def _item_metrics(lists: Positions, truth: sparse.csr_matrix, in_segment: npt.NDArray[np.bool_], k: int) -> Metrics:
    """Return the mean metrics of users with any `truth`, and the share of all places with an item of the segment."""
    rows = np.flatnonzero(np.diff(truth.indptr))
    cut = lists[:, :k]
    values = user_values(cut[rows], sparse.csr_matrix(truth[rows]), k)
    filled = cut[cut >= 0]
    places = float(in_segment[filled].sum() / max(len(filled), 1))
    means = {metric: float(each.mean()) if len(each) else 0.0 for metric, each in values.items()}
    return means | {f"share_of_places@{k}": places}
