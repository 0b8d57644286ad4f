"""How far a place on a shelf, and not the item in it, brings clicks; taken out of what a head learns.

A click wants the item to be seen and to be wanted. The head's log-odds are taken as the sum of trees over the
features and of one number a place, learned together, and only the trees are kept: a prediction is as if everything
stood in the first place (Zhao et al., Recommending what video to watch next, RecSys 2019, where a shallow tower is
the second part). They are fitted in turns. A turn's trees see one half of the shoppers, the places are fitted to
the other half, so that trees which know their examples by heart leave the places something to explain.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from jobs.ranking.calibration import Values

TURNS = 5
PRIOR = 1.0
"""Weight of the guess that a place is like the first, as many examples' worth of curvature."""
NEWTON_STEPS = 25

Fit = Callable[[npt.NDArray[np.bool_], Values], Callable[[npt.NDArray[np.bool_]], Values]]
"""From the rows that teach, and what each row's log-odds start from, to the trees' log-odds of other rows."""


def place_offsets(
    label: npt.NDArray[np.integer], place: npt.NDArray[np.int64], half: npt.NDArray[np.bool_], fit: Fit
) -> Values:
    """Return the log-odds that each place adds to a click, 0 for the first place; `half` tells shoppers' halves."""
    offsets = np.zeros(int(place.max(initial=0)) + 1)
    for _ in range(TURNS):
        score = np.empty(len(label))
        for side in (half, ~half):
            score[~side] = fit(side, offsets[place])(~side)
        offsets = of_places(label, place, score, len(offsets))
        offsets -= offsets[0]
    return offsets


def of_places(label: npt.NDArray[np.integer], place: npt.NDArray[np.int64], score: Values, n_places: int) -> Values:
    """Return for each place the number that, added to the trees' log-odds, explains its clicks best."""
    shift = np.zeros(n_places)
    for _ in range(NEWTON_STEPS):
        p = expit(score + shift[place])
        gradient = np.bincount(place, p - label, minlength=n_places) + PRIOR * (shift - shift.mean())
        step = gradient / (np.bincount(place, p * (1 - p), minlength=n_places) + PRIOR)
        shift = shift - np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    return shift
