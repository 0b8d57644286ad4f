"""Position bias: how much the place on a shelf, and not the item in it, adds to a click; a head must not learn that.

A click requires that the item is seen and wanted. The log-odds of a click are modelled as the sum of trees over the
features and one number for each place. Both are fitted, and only the trees are kept: a prediction is as if every item
stood in the first place (Zhao et al., Recommending what video to watch next, RecSys 2019, where the second part is a
shallow tower). Trees and places are fitted in turns: the trees to one half of the shoppers, the places to the other
half. Trees that have memorised their examples would leave the places nothing to explain.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from jobs.numeric.arrays import Flags, Values, Whole

TURNS = 5
PRIOR = 1.0
"""Strength of the prior that all places are alike, in units of the likelihood's curvature."""
NEWTON_STEPS = 25

Fit = Callable[[Flags, Values], Callable[[Flags], Values]]
"""Fits trees to the flagged rows, each of which starts from a given score. Returns the log-odds of flagged rows."""


def fit_place_effects(label: npt.NDArray[np.integer], place: Whole, half: Flags, fit: Fit) -> Values:
    """Return the log-odds that each place adds to a click, 0 for the first place.

    `place` is 0-based, and `half` is true for the rows of one half of the shoppers.
    """
    effects = np.zeros(int(place.max(initial=0)) + 1)
    for _ in range(TURNS):
        score = np.empty(len(label))
        for side in (half, ~half):
            score[~side] = fit(side, effects[place])(~side)
        effects = place_intercepts(label, place, score, len(effects))
        effects -= effects[0]
    return effects


def place_intercepts(label: npt.NDArray[np.integer], place: Whole, score: Values, n_places: int) -> Values:
    """Return [n_places]: what, added to the scores of a place, explains its clicks best (logistic regression)."""
    shift = np.zeros(n_places)
    for _ in range(NEWTON_STEPS):
        p = expit(score + shift[place])
        gradient = np.bincount(place, p - label, minlength=n_places) + PRIOR * (shift - shift.mean())
        step = gradient / (np.bincount(place, p * (1 - p), minlength=n_places) + PRIOR)
        shift = shift - np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    return shift
