"""What variety costs: accuracy and diversity of the held-out window's shelves over MMR's lambda.

>>> diversity_curve(asked, value, catalogue, item_vectors, score)[0]
{'mmr_lambda': 1.0, 'ndcg': 0.3217, 'recall': 0.2598, 'diversity': 0.81}
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from jobs.asked import Asked
from jobs.blend import Blend, blended
from jobs.catalogue import Catalogue
from jobs.metrics import K, ListScores, Positions

LAMBDAS = (1.0, 0.98, 0.95, 0.9, 0.8, 0.6)
USERS_AT_ONCE = 250


def diversity_curve(
    asked: Asked,
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
