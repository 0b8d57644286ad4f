"""Calibration: curves from a head's predictions to probabilities, fitted on examples that no head was trained on.

>>> curve = fit_curve("platt", predicted, happened)
>>> curve(predicted_tonight)

A curve is increasing, so it keeps the order within a head. It also keeps the sum of the predictions: calibration
examples are older, from another season, and the level of sales is better known from the newer days that the head was
trained on (docs/quality.md has the figures).
"""

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, isotonic_regression, minimize
from scipy.special import expit, logit

from jobs.config.parameters import CalibrationMethod
from jobs.numeric.arrays import Column, Values

MIN_POSITIVES = 500
"""No curve is fitted to fewer positive (or negative) examples: it would follow chance (docs/quality.md)."""
MIN_PROBABILITY = 1e-7
"""Probabilities are clipped to this distance from 0 and 1, so that log-odds are finite."""
MIN_SLOPE = 0.01
"""Platt's line has at least this slope, so that the curve is increasing even for a head that predicts nothing."""


class Curve(msgspec.Struct, frozen=True):
    """A piecewise linear curve on log-odds; beyond its ends it continues with slope `slope`.

    `x` and `y` have one length and ascend. `slope` is 1 except for Platt's line. A single point with slope 1 is a
    shift of the log-odds.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    slope: float = 1.0

    def __call__(self, predicted: Values) -> Values:
        """Return the calibrated probability of each prediction."""
        return np.asarray(expit(self.odds(predicted)))

    def odds(self, predicted: Values) -> Values:
        """Return the calibrated log-odds of each prediction."""
        z = log_odds(predicted)
        inside = np.clip(z, self.x[0], self.x[-1])
        return np.asarray(np.interp(inside, self.x, self.y) + self.slope * (z - inside))


def log_odds(predicted: npt.NDArray[np.floating]) -> Values:
    """Return ln(p / (1 - p)), finite for 0 and 1 too."""
    return np.asarray(logit(np.clip(predicted.astype(np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY)))


def fit_curve(method: CalibrationMethod, predicted: Values, happened: Column) -> Curve | None:
    """Return the curve from predictions to outcomes; None for the method `none` or with too few examples.

    `happened` is 1 where it happened and 0 where it did not.
    """
    enough = min(int(happened.sum()), int(len(happened) - happened.sum())) >= MIN_POSITIVES
    if method == "none" or not enough:
        return None
    curve = platt_curve(predicted, happened) if method == "platt" else isotonic_curve(predicted, happened)
    return with_same_sum(curve, predicted)


def with_same_sum(curve: Curve, predicted: Values) -> Curve:
    """Return the curve shifted in log-odds until the calibrated predictions have the sum of `predicted`."""
    z = curve.odds(predicted)
    shift = brentq(lambda move: float(expit(z + move).mean() - predicted.mean()), -50, 50, xtol=1e-12)
    return msgspec.structs.replace(curve, y=tuple(y + shift for y in curve.y))


def platt_curve(predicted: Values, happened: Column) -> Curve:
    """Return the maximum-likelihood line on log-odds (Platt, Probabilistic outputs for SVMs, 1999)."""
    z, y = log_odds(predicted), happened.astype(np.float64)
    middle, spread = z.mean(), max(z.std(), 1e-9)
    unit = (z - middle) / spread  # brings slope and intercept to the same scale for the optimizer

    def loss(line: Values) -> tuple[float, Values]:
        score = line[0] * unit + line[1]
        miss = expit(score) - y
        return float((np.logaddexp(0, score) - y * score).mean()), np.array([(miss * unit).mean(), miss.mean()])

    slope, intercept = minimize(loss, np.array([spread, middle]), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return Curve((float(middle),), (float(intercept),), max(float(slope / spread), MIN_SLOPE))


def isotonic_curve(predicted: Values, happened: Column) -> Curve:
    """Return the increasing least-squares curve (Zadrozny and Elkan, KDD 2002), as lines through its steps' middles.

    Steps would tie items that the head distinguishes; lines between their middles keep its order.
    """
    order = np.argsort(predicted, kind="stable")
    level = isotonic_regression(happened[order].astype(np.float64)).x
    first = np.flatnonzero(np.diff(level, prepend=-1.0))
    count = np.diff(np.append(first, len(level)))
    x = log_odds(np.add.reduceat(predicted[order], first) / count)
    y = level[first]
    inner = (y > 0) & (y < 1)  # a step at 0 or 1 has no finite odds; the line from its neighbour continues there
    x, at = np.unique(x[inner], return_index=True)
    return Curve(tuple(x.tolist()), tuple(log_odds(y[inner][at]).tolist()))
