"""Fit the trees of one head, of the order head, and the effects of places on a shelf."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import lightgbm as lgb
import numpy as np

from jobs.config.parameters import Parameters
from jobs.numeric.arrays import Column, Flags, Floats, Values, Whole
from jobs.ranking.boosting import TreeShape, fit_trees
from jobs.ranking.heads import BASE_FACTS, SPEND, HeadExamples
from jobs.ranking.pair_features import FEATURES
from jobs.training.examples import Examples
from jobs.training.position_bias import fit_place_effects, place_intercepts
from jobs.training.sampling import SampledRows, examples_of_users, sample_rows

BINARY = {"objective": "binary"}
GAMMA = {"objective": "gamma"}
"""The objective of money: a gamma likelihood, whose mean is the mean of the money."""
ORDERED_PLACES = 30
"""A pair of items counts for the order head if one of them ranks within this many places."""
ORDER_EXAMPLES = 500_000
"""The order head is trained on about this many examples at most: beyond, its negatives are sampled."""

FEWEST_LEAVES = 4
POSITIVES_OF_A_LEAF = 100
"""A head with fewer positive examples than this for each leaf gets smaller trees, which learn less noise."""


def fit_head(
    name: str, rows: SampledRows, examples: HeadExamples, parameters: Parameters
) -> tuple[lgb.Booster, Values | None]:
    """Return one head's trees, and the effects of places where it is trained on shelves."""
    if examples.rows is None:
        chosen = np.flatnonzero((examples.label > 0) | rows.in_sample)
        label = examples.label[chosen]
    else:
        chosen, label = examples.rows, examples.label
    features = rows.features[chosen]
    if examples.place is None:
        return _fit(features, label, GAMMA if name == SPEND else BINARY, parameters), None
    effects = place_effects_of(features, label, examples.place, rows.user[chosen], parameters)
    return _fit_with_start(features, label, effects[examples.place], parameters), effects


def place_effects_of(features: Floats, label: Column, place: Whole, user: Whole, parameters: Parameters) -> Values:
    """Return the log-odds that each place adds to a click, 0 for the first; `place` is 0-based."""

    def fit(rows: Flags, start: Values) -> Callable[[Flags], Values]:
        trees = _fit_with_start(features[rows], label[rows], start[rows], parameters)
        return lambda others: np.asarray(trees.predict(features[others], raw_score=True))

    return fit_place_effects(label, place, user % 2 == 0, fit)


def fit_order_head(windows: Sequence[Examples], parameters: Parameters) -> lgb.Booster:
    """Fit the order head: for each shopper, purchases before other interactions before nothing.

    Shoppers without a positive example have no order to learn from.
    """
    graded = [replace(window, labels={name: window.labels[name] for name in BASE_FACTS}) for window in windows]
    graded = [examples_of_users(window, _has_positive(window)) for window in graded]
    draws = np.concatenate([window.draw for window in graded])
    share = np.partition(draws, ORDER_EXAMPLES)[ORDER_EXAMPLES] if len(draws) > ORDER_EXAMPLES else 1.0
    rows = sample_rows(graded, float(share))
    grade = rows.labels["interaction"] + 2 * rows.labels["purchase"]
    rows_of_user = np.unique(rows.user, return_counts=True)[1]
    objective: dict[str, str | int] = {"objective": "lambdarank", "lambdarank_truncation_level": ORDERED_PLACES}
    return _fit(rows.features, grade, objective, parameters, group=rows_of_user)


def _has_positive(window: Examples) -> Flags:
    """Tell which users have an example with any label, one flag a user."""
    has_positive = np.zeros(len(window.user_id), dtype=np.bool_)
    has_positive[window.user[(window.labels["interaction"] > 0) | (window.labels["purchase"] > 0)]] = True
    return has_positive


def _fit(
    features: Floats,
    label: Column,
    objective: Mapping[str, str | int],
    parameters: Parameters,
    *,
    group: Whole | None = None,
    start: Values | None = None,
) -> lgb.Booster:
    positives = int(np.count_nonzero(label))
    shape = TreeShape(
        parameters.ranking.trees,
        min(parameters.ranking.leaves, max(FEWEST_LEAVES, positives // POSITIVES_OF_A_LEAF)),
        parameters.ranking.learning_rate,
        parameters.ranking.feature_fraction,
    )
    return fit_trees(features, label, FEATURES, objective, shape, parameters, group=group, start=start)


def _fit_with_start(features: Floats, label: Column, start: Values, parameters: Parameters) -> lgb.Booster:
    """Fit trees to what explains the label beyond each row's `start` in log-odds; they predict without it."""
    base = place_intercepts(label, np.zeros(len(label), np.int64), start, 1)[0]
    trees = _fit(features, label, BINARY, parameters, start=start + base)
    # With an init_score LightGBM does not learn the average, so the average goes into the first tree.
    for leaf in range(trees.dump_model(num_iteration=1)["tree_info"][0]["num_leaves"]):
        trees.set_leaf_output(0, leaf, trees.get_leaf_output(0, leaf) + base)
    return trees
