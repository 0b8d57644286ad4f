"""Tell how far predicted probabilities can be believed: reliability bins, and the error over them."""

from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 10
EDGE = 1e-12
"""The least probability that a log loss is told of."""


def reliability(
    predicted: npt.NDArray[np.float64], happened: npt.NDArray[np.integer[Any]], bins: int = BINS
) -> dict[str, Any]:
    """Return bins of examples by their prediction, each with its mean prediction and the share that happened.

    Each bin holds an equal share of the predicted events, not of the examples: most candidates are next to
    impossible, and would fill nine bins of ten. `calibration_error` is the mean gap between both, weighted by
    examples, `ratio` what was predicted in all over what happened (0 where nothing did), and `log_loss` the mean of
    -ln(probability of what happened).

    Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    order = np.argsort(predicted, kind="stable")
    p, y = predicted[order].astype(np.float64), happened[order].astype(np.float64)
    total = p.sum()
    if not total:
        none = dict.fromkeys(("ratio", "calibration_error", "log_loss"), 0.0)
        return {"examples": len(p), "positives": int(y.sum()), **none, "bins": []}
    number = np.minimum((np.cumsum(p) - p / 2) / total * bins, bins - 1).astype(np.int64)
    n = np.bincount(number, minlength=bins)
    filled = n > 0
    mean_p = np.bincount(number, p, minlength=bins)[filled] / n[filled]
    mean_y = np.bincount(number, y, minlength=bins)[filled] / n[filled]
    return {
        "examples": len(p),
        "positives": int(y.sum()),
        "ratio": float(total / y.sum()) if y.any() else 0.0,
        "calibration_error": float((n[filled] * np.abs(mean_p - mean_y)).sum() / len(p)),
        "log_loss": float(-np.log(np.clip(np.where(y > 0, p, 1 - p), EDGE, 1)).mean()),
        "bins": [
            {"examples": int(count), "predicted": float(said), "happened": float(was)}
            for count, said, was in zip(n[filled], mean_p, mean_y, strict=True)
        ],
    }
