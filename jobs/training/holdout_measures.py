"""What variety costs: accuracy and diversity of the held-out window's shelves over MMR's lambda.

>>> diversity_curve(asked, value, catalogue, item_vectors, score)[0]
{'mmr_lambda': 1.0, 'ndcg': 0.3217, 'recall': 0.2598, 'diversity': 0.81}
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.features.catalogue import Catalogue
from jobs.numeric.arrays import Positions
from jobs.numeric.list_metrics import K, ListScores
from jobs.shelves.blend import Blend, blended
from jobs.training.holdout_lists import HeldOutCandidates
from serving.snapshot.record import SOURCES

LAMBDAS = (1.0, 0.98, 0.95, 0.9, 0.8, 0.6)
USERS_AT_ONCE = 250


def diversity_curve(
    asked: HeldOutCandidates,
    value: npt.NDArray[np.float64],
    catalogue: Catalogue,
    item_vectors: npt.NDArray[np.float32],
    score: Callable[[Positions], ListScores],
) -> list[dict[str, float]]:
    """Return a point for each of LAMBDAS: `ndcg` and `recall` at K, and `diversity` of the first K."""
    if not len(asked.user):
        return []
    by_value = np.lexsort((asked.item, -value, asked.user))
    bounds = np.searchsorted(asked.user, np.arange(0, asked.n_users + USERS_AT_ONCE, USERS_AT_ONCE))
    parts = [slice(first, last) for first, last in pairwise(bounds) if first < last]
    points = []
    for mmr_lambda in LAMBDAS:
        how = Blend(mmr_lambda, K)
        order = np.concatenate(
            [blended(asked.user, asked.item, value, by_value[of], catalogue, item_vectors, how) for of in parts]
        )
        lists = asked.lists(asked.ranks_in(order))
        metrics = score(lists).metrics["all"]
        of_lists = intra_list_diversity(lists[:, :K], item_vectors)
        points.append(
            {
                "mmr_lambda": mmr_lambda,
                "ndcg": round(metrics[f"ndcg@{K}"], 4),
                "recall": round(metrics[f"recall@{K}"], 4),
                "diversity": round(of_lists, 4),
            }
        )
    return points


def intra_list_diversity(lists: Positions, item_vectors: npt.NDArray[np.float32]) -> float:
    """Return the mean over lists of the mean distance (1 - cosine) of two of their items.

    Lists are [n, k] positions padded with -1; one with fewer than two items says nothing and is left out. Smyth and
    McClave, Similarity vs. diversity, ICCBR 2001.
    """
    # With unit vectors, all pairs of a list add up to (|sum|^2 - the sum of squares) / 2: no pair has to be made.
    n = (lists >= 0).sum(axis=1)
    total = np.zeros((len(lists), item_vectors.shape[1]))
    squares = np.zeros(len(lists))
    for place in range(lists.shape[1]):
        vectors = np.where(lists[:, place, None] >= 0, item_vectors[lists[:, place]], 0).astype(np.float64)
        total += vectors
        squares += (vectors**2).sum(axis=1)
    some = n > 1
    pairs = n[some] * (n[some] - 1) / 2
    return float((1 - ((total[some] ** 2).sum(axis=1) - squares[some]) / 2 / pairs).mean()) if some.any() else 0.0


BINS = 10
EDGE = 1e-12
"""The least probability that a log loss is told of."""


def reliability(
    predicted: npt.NDArray[np.float64], happened: npt.NDArray[np.integer[Any]], bins: int = BINS
) -> dict[str, Any]:
    """Return bins of examples by their prediction, each with its mean prediction and the share that happened.

    Each bin holds an equal share of the predicted events, not of the examples: most candidates are next to
    impossible, and would fill nine bins of ten. `calibration_error` is the mean gap between both, weighted by
    examples, `ratio` what was predicted in all over what happened (0 where nothing did), and `log_loss` the mean of
    -ln(probability of what happened).

    Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    order = np.argsort(predicted, kind="stable")
    p, y = predicted[order].astype(np.float64), happened[order].astype(np.float64)
    total = p.sum()
    if not total:
        none = dict.fromkeys(("ratio", "calibration_error", "log_loss"), 0.0)
        return {"examples": len(p), "positives": int(y.sum()), **none, "bins": []}
    number = np.minimum((np.cumsum(p) - p / 2) / total * bins, bins - 1).astype(np.int64)
    n = np.bincount(number, minlength=bins)
    filled = n > 0
    mean_p = np.bincount(number, p, minlength=bins)[filled] / n[filled]
    mean_y = np.bincount(number, y, minlength=bins)[filled] / n[filled]
    return {
        "examples": len(p),
        "positives": int(y.sum()),
        "ratio": float(total / y.sum()) if y.any() else 0.0,
        "calibration_error": float((n[filled] * np.abs(mean_p - mean_y)).sum() / len(p)),
        "log_loss": float(-np.log(np.clip(np.where(y > 0, p, 1 - p), EDGE, 1)).mean()),
        "bins": [
            {"examples": int(count), "predicted": float(said), "happened": float(was)}
            for count, said, was in zip(n[filled], mean_p, mean_y, strict=True)
        ],
    }


@dataclass(frozen=True)
class SourceHits:
    """Candidates of a window as flat columns of one length; `rank` from 1, as the ranker ordered each user's."""

    source: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int32]
    """Bit n is set if source n of SOURCES brought the candidate."""
    rank: npt.NDArray[np.int64]
    chosen: npt.NDArray[np.bool_]


def source_shares(found: SourceHits, n_users: int, n_truth: int, k: int = K) -> dict[str, Any]:
    """Return what candidates and each source came to; shares of recall are of all that `n_users` users chose.

    - `share`: of all candidates, those that the source brought; `only`: those that no other source brought.
    - `recall`: of the truth, what it brought, whoever else did; `unique_recall`: what no other source brought.
    - `shelf_share`, `shelf_hits`: of the first k places, and of the hits among them, those that it ranked higher
      than the other sources did; over the sources they add up to one.
    """
    on_shelf = found.rank <= k
    hits = on_shelf & found.chosen
    alone = np.bitwise_count(found.sources) == 1
    by_source: dict[str, dict[str, float]] = {}
    for code, name in enumerate(SOURCES):
        brought = (found.sources >> code) & 1 == 1
        if not brought.any():
            continue
        highest = found.source == code
        by_source[name] = {
            "share": _share(brought, len(brought)),
            "only": _share(brought & alone, len(brought)),
            "recall": _share(brought & found.chosen, n_truth),
            "unique_recall": _share(brought & alone & found.chosen, n_truth),
            "shelf_share": _share(on_shelf & highest, on_shelf.sum()),
            "shelf_hits": _share(hits & highest, hits.sum()),
        }
    return {
        "candidates_per_user": len(found.source) / max(n_users, 1),
        "recall": _share(found.chosen, n_truth),
        "by_source": by_source,
    }


def _share(rows: npt.NDArray[np.bool_], of: int) -> float:
    return float(rows.sum() / max(of, 1))
