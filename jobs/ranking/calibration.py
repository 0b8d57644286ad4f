"""Turn a head's predictions into what happens: a curve fitted on days that train nothing.

>>> curve = fitted("platt", predicted, happened)
>>> curve(predicted_tonight)

A curve rises, so within a head it changes no order. It bends predictions and leaves their sum as it was: days that
can be spared are old ones, of another season, and how much is bought in all is better known from the newer days that
the head learned from (docs/quality.md has the figures).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, isotonic_regression, minimize
from scipy.special import expit, logit

from jobs.config.parameters import CalibrationMethod

MIN_POSITIVES = 500
"""Of fewer positive examples no curve is fitted: chance would bend it (docs/quality.md)."""
EDGE = 1e-7
"""Probabilities are kept so far from 0 and 1: their odds are finite."""
LEAST_SLOPE = 0.01
"""A head that tells nothing stays a head: its curve still rises."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Straight lines through points on log-odds; beyond its ends it goes on beside the diagonal.

    Two lists of one length, both ascending. A single point is a shift; `slope` 1 but for Platt's line.
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

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"x": list(self.x), "y": list(self.y), "slope": self.slope}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Curve":
        """Return the curve that `told` tells."""
        return cls(tuple(told["x"]), tuple(told["y"]), float(told["slope"]))


def log_odds(predicted: npt.NDArray[np.floating[Any]]) -> Values:
    """Return ln(p / (1 - p)), finite for 0 and 1 too."""
    return np.asarray(logit(np.clip(predicted.astype(np.float64), EDGE, 1 - EDGE)))


def fitted(method: CalibrationMethod, predicted: Values, happened: npt.NDArray[Any]) -> Curve | None:
    """Return the curve from predictions to what happened; None for `none`, or where too little did."""
    enough = min(int(happened.sum()), int(len(happened) - happened.sum())) >= MIN_POSITIVES
    if method == "none" or not enough:
        return None
    return level(platt(predicted, happened) if method == "platt" else isotonic(predicted, happened), predicted)


def level(curve: Curve, predicted: Values) -> Curve:
    """Move a curve up or down, in log-odds, until it leaves the sum of the predictions as it was."""
    z = curve.odds(predicted)
    shift = brentq(lambda move: float(expit(z + move).mean() - predicted.mean()), -50, 50, xtol=1e-12)
    return replace(curve, y=tuple(y + shift for y in curve.y))


def platt(predicted: Values, happened: npt.NDArray[Any]) -> Curve:
    """Return the line on log-odds of greatest likelihood (Platt, Probabilistic outputs for SVMs, 1999)."""
    z, y = log_odds(predicted), happened.astype(np.float64)
    middle, spread = z.mean(), max(z.std(), 1e-9)
    unit = (z - middle) / spread  # so that both numbers are of one size to the search

    def loss(line: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        score = line[0] * unit + line[1]
        miss = expit(score) - y
        return float((np.logaddexp(0, score) - y * score).mean()), np.array([(miss * unit).mean(), miss.mean()])

    found = minimize(loss, np.array([spread, middle]), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    slope = max(float(found[0] / spread), LEAST_SLOPE)
    return Curve((float(middle),), (float(found[1]),), slope)


def isotonic(predicted: Values, happened: npt.NDArray[Any]) -> Curve:
    """Return the rising curve of least squares (Zadrozny and Elkan, KDD 2002), drawn through its steps' middles.

    Steps would make ties of what the head tells apart; lines between them keep its order.
    """
    order = np.argsort(predicted, kind="stable")
    level = isotonic_regression(happened[order].astype(np.float64)).x
    first = np.flatnonzero(np.diff(level, prepend=-1.0))
    count = np.diff(np.append(first, len(level)))
    x = log_odds(np.add.reduceat(predicted[order], first) / count)
    y = level[first]
    inner = (y > 0) & (y < 1)  # a step of nothing, or of nothing else, has no odds; its neighbour's line goes on
    x, at = np.unique(x[inner], return_index=True)
    return Curve(tuple(x.tolist()), tuple(log_odds(y[inner][at]).tolist()))
