"""The coarse cut: a few small trees choose which of a shopper's candidates are worth the fine ranker's time.

>>> score = ranker.coarse_score(ranking_features(shoppers, found, sources, COARSE_FEATURES))
>>> rows = coarse_cut(score, found.user, found.item, keep=200)

They learn from the fine ranker, and not from labels: whether it would place a candidate on the shelf at all (ranking
distillation: Tang and Wang, KDD 2018). So the cut follows whatever value a shop has chosen. Nearly all that they read
lies in the candidates already.
"""

from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from jobs.config.parameters import Parameters
from jobs.numeric.arrays import best_in_group, rank_by_order
from jobs.ranking.pair_features import CATEGORICAL_FEATURES, COARSE_FEATURES, FEATURES

COARSE = "coarse"
TREES, LEAVES, LEARNING_RATE = 40, 15, 0.15
LEARNED_FROM = 300_000
"""So many of the newest window's examples teach the cut."""

Features = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def kept_per_user(parameters: Parameters) -> int | None:
    """Return how many candidates a user keep the fine ranker's attention; None where that would be all of them.

    It is at least twice the shelf's length, so that the shelf's end is hardly touched.
    """
    keep = max(parameters.ranking.coarse_keep, 2 * parameters.shelves.top_n)
    return keep if keep < parameters.candidates.per_user else None


def coarse_cut(score: npt.NDArray[np.float64], user: Rows, item: npt.NDArray[np.int32], keep: int) -> Rows:
    """Return the rows, ascending, that are among their user's `keep` best; users ascend, ties by item position."""
    return np.sort(best_in_group(user, score, item, keep))


def learn_the_cut(
    features: Features, user: Rows, value: npt.NDArray[np.float64], parameters: Parameters
) -> lgb.Booster:
    """Return trees that tell whether a row of FEATURES is among its user's `top_n` by the fine ranker's value."""
    order = np.lexsort((-value, user))
    place = rank_by_order(user, order)
    columns = [FEATURES.index(name) for name in COARSE_FEATURES]
    data = lgb.Dataset(
        features[:, columns],
        label=(place < parameters.shelves.top_n).astype(np.int32),
        feature_name=list(COARSE_FEATURES),
        categorical_feature=[name for name in CATEGORICAL_FEATURES if name in COARSE_FEATURES],
        params={"verbosity": -1, "num_threads": parameters.ranking.threads, "data_random_seed": parameters.seed},
    )
    chosen: dict[str, Any] = {
        "objective": "binary",
        "num_leaves": LEAVES,
        "learning_rate": LEARNING_RATE,
        "min_data_in_leaf": 50,
        "feature_fraction": 0.8,
        "lambda_l2": 5.0,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": parameters.ranking.threads,
        "seed": parameters.seed,
        "verbosity": -1,
    }
    return lgb.train(chosen, data, num_boost_round=TREES)
