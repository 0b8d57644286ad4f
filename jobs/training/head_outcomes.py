"""Compare each head's predictions with what happened, and fit the curves that calibrate it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from jobs.config.parameters import Parameters
from jobs.numeric.arrays import Column, Values
from jobs.ranking.calibration import Curve, fit_curve, log_odds
from jobs.ranking.heads import SPEND, Facts, head_examples
from jobs.ranking.ranker import Ranker
from jobs.training.examples import Examples

CALIBRATION_EXAMPLES = 1_000_000
"""Heads are calibrated on about this many examples, those of the first shoppers."""


@dataclass(frozen=True)
class HeadOutcomes:
    """What a head predicted for the examples that it is about, and what happened."""

    uncalibrated: Values
    calibrated: Values
    happened: Column


def head_outcomes(ranker: Ranker, uncalibrated: Mapping[str, Values], facts: Facts) -> dict[str, HeadOutcomes]:
    """Return the outcomes of each head, by name, from its `uncalibrated` predictions of the examples with `facts`.

    A head that was trained on shelves is compared on what was shown, with the effect of the place it was shown in.
    `ranker` must have been trained in this process: one that was loaded does not know how labels were defined.
    """
    assert ranker.label_definition is not None
    outcomes = {}
    for name, predicted in uncalibrated.items():
        examples = head_examples(name, facts, ranker.label_definition)
        before = predicted if examples.rows is None else predicted[examples.rows]
        if examples.place is not None:
            effects = ranker.place_effects[name]
            before = expit(log_odds(before) + effects[np.minimum(examples.place, len(effects) - 1)])
        outcomes[name] = HeadOutcomes(before, ranker.calibrated(name, before), examples.label)
    return outcomes


def calibration_curves(ranker: Ranker, windows: Sequence[Examples], parameters: Parameters) -> dict[str, Curve]:
    """Return the curve of each head that can be calibrated on these examples, which did not train it."""
    outcomes: dict[str, list[HeadOutcomes]] = {}
    for examples in windows:
        rows = slice(0, CALIBRATION_EXAMPLES // len(windows))
        facts = {name: label[rows] for name, label in examples.labels.items()}
        predicted = ranker.uncalibrated(examples.features[rows], parameters.ranking.threads)
        for name, of_window in head_outcomes(ranker, predicted, facts).items():
            outcomes.setdefault(name, []).append(of_window)
    curves = {}
    for name, of_windows in outcomes.items():
        if name == SPEND:
            continue
        predicted_before = np.concatenate([one.uncalibrated for one in of_windows])
        happened = np.concatenate([one.happened for one in of_windows])
        curve = fit_curve(parameters.ranking.calibration, predicted_before, happened)
        if curve is not None:
            curves[name] = curve
    return curves
