"""Fit LightGBM trees so that the same rows in the same order give the same model, byte for byte."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm as lgb

from jobs.config.parameters import Parameters
from jobs.numeric.arrays import Column, Floats, Values, Whole
from jobs.ranking.pair_features import CATEGORICAL_FEATURES

MIN_LEAF_EXAMPLES = 50
L2 = 5.0


@dataclass(frozen=True)
class TreeShape:
    """How many trees of how many leaves are fitted, and how."""

    trees: int
    leaves: int
    learning_rate: float
    feature_fraction: float


def fit_trees(
    features: Floats,
    label: Column,
    names: Sequence[str],
    objective: Mapping[str, str | int],
    shape: TreeShape,
    parameters: Parameters,
    *,
    group: Whole | None = None,
    start: Values | None = None,
) -> lgb.Booster:
    """Fit trees to [n, len(names)] features.

    `objective` is LightGBM's objective with its own parameters, `group` the number of rows of each user for a ranking
    objective, `start` the score that each row begins with.
    """
    data = lgb.Dataset(
        features,
        label=label,
        group=group,
        init_score=start,
        feature_name=list(names),
        categorical_feature=[name for name in CATEGORICAL_FEATURES if name in names],
        params={"verbosity": -1, "num_threads": parameters.ranking.threads, "data_random_seed": parameters.seed},
    )
    settings = {
        **objective,
        "num_leaves": shape.leaves,
        "learning_rate": shape.learning_rate,
        "min_data_in_leaf": MIN_LEAF_EXAMPLES,
        "feature_fraction": shape.feature_fraction,
        "lambda_l2": L2,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": parameters.ranking.threads,
        "seed": parameters.seed,
        "verbosity": -1,
    }
    return lgb.train(settings, data, num_boost_round=shape.trees)
