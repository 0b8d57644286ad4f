"""The coarse cut: a few small trees choose which of a user's candidates the fine ranker scores.

>>> score = ranker.coarse_score(ranking_features(shoppers, candidates, sources, COARSE_FEATURES))
>>> rows = coarse_cut(score, candidates.user, keep=200)

The trees learn from the fine ranker, not from labels: would it place a candidate on the shelf at all (ranking
distillation: Tang and Wang, KDD 2018)? So the cut follows whatever value a shop has chosen. Nearly all features that
the trees read are already part of the candidates.
"""

import lightgbm as lgb
import numpy as np

from jobs.config.parameters import Parameters
from jobs.numeric.arrays import Floats, Values, Whole, best_rows, rank_by_order
from jobs.ranking.boosting import TreeShape, fit_trees
from jobs.ranking.pair_features import COARSE_FEATURES, FEATURES

COARSE = "coarse"
SHAPE = TreeShape(trees=40, leaves=15, learning_rate=0.15, feature_fraction=0.8)
TRAINING_EXAMPLES = 300_000
"""The cut is trained on this many of the newest window's examples, the first whose shoppers have all of theirs."""


def coarse_keep(parameters: Parameters) -> int | None:
    """Return how many of a user's candidates the fine ranker scores; None if that is all of them.

    It is at least twice the shelf's length, so that the end of the shelf hardly changes.
    """
    keep = max(parameters.ranking.coarse_keep, 2 * parameters.shelves.top_n)
    return keep if keep < parameters.candidates.per_user else None


def coarse_cut(score: Values, user: Whole, keep: int) -> Whole:
    """Return the rows, ascending, that are among their user's `keep` highest scores; equal ones as they stand.

    `user` ascends.
    """
    return best_rows(user, score, keep)


def train_coarse_cut(features: Floats, user: Whole, value: Values, parameters: Parameters) -> lgb.Booster:
    """Return trees that predict whether a row of FEATURES is among its user's `top_n` highest values."""
    rank = rank_by_order(user, np.lexsort((-value, user)))
    columns = [FEATURES.index(name) for name in COARSE_FEATURES]
    is_placed = (rank < parameters.shelves.top_n).astype(np.int32)
    return fit_trees(features[:, columns], is_placed, COARSE_FEATURES, {"objective": "binary"}, SHAPE, parameters)
