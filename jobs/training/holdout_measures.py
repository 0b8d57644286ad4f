"""Measures on held-out users: what each source brought, how reliable heads are, and what variety costs.

>>> diversity_curve(candidates, value, catalogue, item_vectors, score)[0]
MmrPoint(mmr_lambda=1.0, ndcg=0.3217, recall=0.2598, diversity=0.81)
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from jobs.features.catalogue import Catalogue
from jobs.lake.evaluations import MmrPoint, Reliability, ReliabilityBin, SourceShare, SourceShares
from jobs.numeric.arrays import Positions, Values
from jobs.numeric.list_metrics import K, ListScores
from jobs.shelves.blend import Blend, blended
from jobs.training.holdout_lists import HeldOutCandidates
from serving.snapshot.record import SOURCES

LAMBDAS = (1.0, 0.98, 0.95, 0.9, 0.8, 0.6)
USERS_AT_ONCE = 250
BINS = 10
LEAST_PROBABILITY = 1e-12
"""Smaller probabilities count as this in a log loss, which keeps it finite."""


def diversity_curve(
    candidates: HeldOutCandidates,
    value: Values,
    catalogue: Catalogue,
    item_vectors: npt.NDArray[np.float32],
    score: Callable[[Positions], ListScores],
) -> list[MmrPoint]:
    """Return NDCG, recall and diversity of the first K places at each of LAMBDAS; nothing without candidates."""
    if not len(candidates.user):
        return []
    by_value = np.lexsort((candidates.item, -value, candidates.user))
    bounds = np.searchsorted(candidates.user, np.arange(0, candidates.n_users + USERS_AT_ONCE, USERS_AT_ONCE))
    batches = [slice(first, last) for first, last in pairwise(bounds) if first < last]
    points = []
    for mmr_lambda in LAMBDAS:
        blend = Blend(mmr_lambda, K)
        order = np.concatenate(
            [
                blended(candidates.user, candidates.item, value, by_value[batch], catalogue, item_vectors, blend)
                for batch in batches
            ]
        )
        lists = candidates.lists(candidates.ranks_in(order))
        metrics = score(lists).metrics["all"]
        points.append(
            MmrPoint(
                mmr_lambda=mmr_lambda,
                ndcg=round(metrics[f"ndcg@{K}"], 4),
                recall=round(metrics[f"recall@{K}"], 4),
                diversity=round(intra_list_diversity(lists[:, :K], item_vectors), 4),
            )
        )
    return points


def intra_list_diversity(lists: Positions, item_vectors: npt.NDArray[np.float32]) -> float:
    """Return the mean over lists of the mean distance (1 - cosine) of two of their items.

    Lists are [n, k] positions padded with -1; those with fewer than two items are left out. 0 without any lists.
    `item_vectors` have unit length. Smyth and McClave, Similarity vs. diversity, ICCBR 2001.
    """
    # With unit vectors, all pairs of a list add up to (|sum|^2 - the sum of squares) / 2: no pair has to be made.
    length = (lists >= 0).sum(axis=1)
    total = np.zeros((len(lists), item_vectors.shape[1]))
    squares = np.zeros(len(lists))
    for place in range(lists.shape[1]):
        vectors = np.where(lists[:, place, None] >= 0, item_vectors[lists[:, place]], 0).astype(np.float64)
        total += vectors
        squares += (vectors**2).sum(axis=1)
    has_pairs = length > 1
    if not has_pairs.any():
        return 0.0
    pairs = length[has_pairs] * (length[has_pairs] - 1) / 2
    return float((1 - ((total[has_pairs] ** 2).sum(axis=1) - squares[has_pairs]) / 2 / pairs).mean())


def reliability(predicted: Values, happened: npt.NDArray[np.int32], bins: int = BINS) -> Reliability:
    """Return bins of examples by their prediction, each with its mean prediction and the share that happened.

    Each bin holds an equal share of the predicted events, not of the examples: most candidates are next to
    impossible, and would fill nine bins of ten. `calibration_error` is the mean gap between both, weighted by
    examples, `ratio` what was predicted in all over what happened (0 where nothing did), and `log_loss` the mean of
    -ln(probability of what happened). Predictions that are all 0 have no bins, and all three are 0.

    Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    order = np.argsort(predicted, kind="stable")
    p, y = predicted[order].astype(np.float64), happened[order].astype(np.float64)
    total = p.sum()
    if not total:
        return Reliability(
            examples=len(p), positives=int(y.sum()), ratio=0.0, bins=[], calibration_error=0.0, log_loss=0.0
        )
    bin_number = np.minimum((np.cumsum(p) - p / 2) / total * bins, bins - 1).astype(np.int64)
    n = np.bincount(bin_number, minlength=bins)
    filled = n > 0
    mean_p = np.bincount(bin_number, p, minlength=bins)[filled] / n[filled]
    mean_y = np.bincount(bin_number, y, minlength=bins)[filled] / n[filled]
    return Reliability(
        examples=len(p),
        positives=int(y.sum()),
        ratio=float(total / y.sum()) if y.any() else 0.0,
        calibration_error=float((n[filled] * np.abs(mean_p - mean_y)).sum() / len(p)),
        log_loss=float(-np.log(np.clip(np.where(y > 0, p, 1 - p), LEAST_PROBABILITY, 1)).mean()),
        bins=[
            ReliabilityBin(int(examples), float(prediction), float(share))
            for examples, prediction, share in zip(n[filled], mean_p, mean_y, strict=True)
        ],
    )


@dataclass(frozen=True)
class SourceHits:
    """Held-out candidates as flat columns of one length."""

    source: npt.NDArray[np.int64]
    """Number in SOURCES of the source that ranked the candidate highest."""
    sources: npt.NDArray[np.int32]
    """Bit n is set if source n of SOURCES brought the candidate."""
    rank: npt.NDArray[np.int64]
    """The ranker's, from 1, among the user's candidates."""
    chosen: npt.NDArray[np.bool_]


def source_shares(hits: SourceHits, n_users: int, n_truth: int, k: int = K) -> SourceShares:
    """Return what all candidates and each source contributed to the `n_truth` items that `n_users` users chose.

    - `share`: of all candidates, those that the source brought; `only`: those that no other source brought.
    - `recall`: of the truth, what it brought, whoever else did; `unique_recall`: what no other source brought.
    - `shelf_share`, `shelf_hits`: of the first k places, and of the hits among them, those that it ranked higher
      than the other sources did; over the sources they add up to one.

    A source that brought nothing is left out.
    """
    on_shelf = hits.rank <= k
    shelf_hits = on_shelf & hits.chosen
    by_one_source = np.bitwise_count(hits.sources) == 1
    by_source: dict[str, SourceShare] = {}
    for code, name in enumerate(SOURCES):
        brought = (hits.sources >> code) & 1 == 1
        if not brought.any():
            continue
        highest = hits.source == code
        by_source[name] = SourceShare(
            share=_share(brought, len(brought)),
            only=_share(brought & by_one_source, len(brought)),
            recall=_share(brought & hits.chosen, n_truth),
            unique_recall=_share(brought & by_one_source & hits.chosen, n_truth),
            shelf_share=_share(on_shelf & highest, int(on_shelf.sum())),
            shelf_hits=_share(shelf_hits & highest, int(shelf_hits.sum())),
        )
    return SourceShares(
        candidates_per_user=len(hits.source) / max(n_users, 1),
        recall=_share(hits.chosen, n_truth),
        by_source=by_source,
    )


def _share(rows: npt.NDArray[np.bool_], total: int) -> float:
    return float(rows.sum() / max(total, 1))
