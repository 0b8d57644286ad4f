"""Train the ranker's heads on the examples of windows, and calibrate them on examples that no head was trained on.

>>> ranker = train(windows, parameters, calibration_window)

The `order` head predicts no probability: it learns which of a shopper's items come first (LambdaMART, Burges 2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import lightgbm as lgb
import numpy as np

from jobs.config.parameters import Parameters
from jobs.numeric.arrays import Values
from jobs.ranking.coarse_cut import TRAINING_EXAMPLES, coarse_keep, train_coarse_cut
from jobs.ranking.heads import (
    Facts,
    HeadExamples,
    LabelDefinition,
    head_examples,
    required_heads,
    untrainable_reason,
)
from jobs.ranking.ranker import Ranker, available_terms
from jobs.training.examples import Examples
from jobs.training.fit_heads import fit_head, fit_order_head
from jobs.training.head_outcomes import calibration_curves
from jobs.training.sampling import calibration_split, sample_rows, sampled_share


def train(
    windows: Sequence[Examples],
    parameters: Parameters,
    calibration_window: Examples | None = None,
    *,
    with_coarse_cut: bool = True,
) -> Ranker:
    """Train the heads that `head_weight` requires and the examples can train; there may be none, as without a window.

    Heads are calibrated on `calibration_window`. Without it, every tenth shopper is reserved for calibration (only
    the order head and the coarse cut train on them). If that leaves too few examples, heads stay uncalibrated.
    """
    if not windows:
        return Ranker({}, {}, parameters.training.negative_share)
    training, calibration = calibration_split(windows, parameters, calibration_window)
    share = sampled_share(training, parameters)
    rows = sample_rows(training, share)
    definition = LabelDefinition.of_shop(rows.labels, parameters)
    trainable, left_out = trainable_heads(rows.labels, definition, parameters)
    heads: dict[str, lgb.Booster] = {}
    place_effects: dict[str, Values] = {}
    for name, examples in trainable.items():
        heads[name], effects = fit_head(name, rows, examples, parameters)
        if effects is not None:
            place_effects[name] = effects
    ranker = Ranker(
        heads,
        available_terms(parameters.ranking.head_weight.positive(), heads),
        share,
        fit_order_head(windows, parameters) if heads and parameters.ranking.order_tilt else None,
        parameters.ranking.order_tilt,
        unsampled=frozenset(name for name, examples in trainable.items() if examples.rows is not None),
        label_definition=definition,
        left_out=left_out,
        place_effects=place_effects,
    )
    ranker = replace(ranker, curves=calibration_curves(ranker, calibration, parameters))
    return replace(ranker, coarse=_coarse_cut(ranker, windows[0], parameters)) if with_coarse_cut else ranker


def trainable_heads(
    facts: Facts, definition: LabelDefinition, parameters: Parameters
) -> tuple[dict[str, HeadExamples], dict[str, str]]:
    """Return the examples of each required head, and why the other required ones cannot be trained, by name."""
    trainable: dict[str, HeadExamples] = {}
    left_out: dict[str, str] = {}
    for name in required_heads(parameters.ranking.head_weight.positive()):
        examples = head_examples(name, facts, definition)
        reason = untrainable_reason(name, examples) or _same_as(examples, trainable)
        if reason:
            left_out[name] = reason
        else:
            trainable[name] = examples
    return trainable, left_out


def _same_as(examples: HeadExamples, others: Mapping[str, HeadExamples]) -> str:
    """Return which other head has the same examples, in words: in a shop with purchases alone, two heads do."""
    for name, other in others.items():
        on_all_rows = examples.rows is None and other.rows is None
        if on_all_rows and np.array_equal(examples.label, other.label):
            return f"its examples are those of {name}"
    return ""


def _coarse_cut(ranker: Ranker, newest: Examples, parameters: Parameters) -> lgb.Booster | None:
    """Return the trees of the coarse cut; None if nothing is to be cut or the ranker has no heads to learn from."""
    if coarse_keep(parameters) is None or not ranker.heads:
        return None
    rows = np.flatnonzero(newest.is_whole[newest.user])[:TRAINING_EXAMPLES]
    features = newest.features[rows]
    value = ranker.value(features, parameters.ranking.threads)
    return train_coarse_cut(features, newest.user[rows], value, parameters)
