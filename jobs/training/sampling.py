"""Which examples the heads are trained on, and which are kept apart to calibrate them.

>>> training, calibration = calibration_split(windows, parameters)
>>> rows = sample_rows(training, sampled_share(training, parameters))
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from jobs.config.parameters import Parameters
from jobs.numeric.arrays import Column, Flags, Floats, Whole
from jobs.ranking import calibration
from jobs.training.examples import Examples

SAMPLED_A_POSITIVE, FEWEST_SAMPLED = 4, 200_000
"""Heads learn from a sample of so many examples for each positive one, or of FEWEST_SAMPLED. Half as many do as well
on two shops (docs/quality.md)."""
RESERVED_SHARE = 10
"""Without a window for calibration, one shopper in this many is reserved for it."""


def calibration_split(
    windows: Sequence[Examples], parameters: Parameters, calibration_window: Examples | None = None
) -> tuple[Sequence[Examples], Sequence[Examples]]:
    """Return the examples that heads are trained on, and those that they are calibrated on (may be none).

    Heads are calibrated on shoppers whose candidates are all there. Without a calibration window, one shopper in
    RESERVED_SHARE is reserved, unless that leaves too few positives.
    """
    if parameters.ranking.calibration == "none":
        return windows, []
    if calibration_window is not None:
        return windows, [examples_of_users(calibration_window, calibration_window.is_whole)]
    positives = sum(int(window.labels["interaction"].sum()) for window in windows)
    if positives < RESERVED_SHARE * calibration.MIN_POSITIVES:
        return windows, []
    reserved = [is_reserved(window.user_id) for window in windows]
    return (
        [examples_of_users(window, ~users) for window, users in zip(windows, reserved, strict=True)],
        [examples_of_users(window, users & window.is_whole) for window, users in zip(windows, reserved, strict=True)],
    )


def is_reserved(user_id: pa.Array) -> Flags:
    """Tell which shoppers are reserved for calibration, by a hash of their id: the same ones in every window."""
    return np.array([zlib.crc32(f"apart {one}".encode()) % RESERVED_SHARE == 0 for one in user_id.to_pylist()], bool)


def examples_of_users(examples: Examples, users: Flags) -> Examples:
    """Return the examples of the users that are true in `users`, one flag a user; users keep their numbers."""
    if users.all():
        return examples  # millions of rows are not copied for nothing
    rows = users[examples.user]
    return replace(
        examples,
        user=examples.user[rows],
        item=examples.item[rows],
        sources=examples.sources[rows],
        features=examples.features[rows],
        labels={name: label[rows] for name, label in examples.labels.items()},
        draw=examples.draw[rows],
    )


@dataclass(frozen=True)
class SampledRows:
    """What heads are trained on, window after window: every positive example, and a sample of the others."""

    features: Floats
    labels: dict[str, Column]
    in_sample: Flags
    """Belongs to the sample of all examples. A probability takes its negatives from the sample alone."""
    user: Whole
    """Number of the user within all windows, ascending; a user of two windows has two numbers."""


def sampled_share(windows: Sequence[Examples], parameters: Parameters) -> float:
    """Return the share of all examples that the heads learn from: `negative_share`, or less where that is many."""
    share = float(parameters.training.negative_share)
    sampled = sum(int((window.draw < share).sum()) for window in windows)
    most = max(SAMPLED_A_POSITIVE * sum(int(window.is_positive.sum()) for window in windows), FEWEST_SAMPLED)
    return share * min(1.0, most / max(sampled, 1))


def sample_rows(windows: Sequence[Examples], share: float) -> SampledRows:
    """Return all positive examples of the windows and a `share` of all examples, which their draws choose.

    Most examples are negatives outside the sample, which are never copied.
    """
    in_sample = [window.draw < share for window in windows]
    rows = [np.flatnonzero(sampled | window.is_positive) for sampled, window in zip(in_sample, windows, strict=True)]
    users_before = np.cumsum([0, *(len(window.user_id) for window in windows)])
    chosen = list(zip(windows, rows, strict=True))
    return SampledRows(
        features=np.concatenate([window.features[at] for window, at in chosen]),
        labels={
            name: np.concatenate([window.labels[name][at] for window, at in chosen]) for name in windows[0].labels
        },
        in_sample=np.concatenate([sampled[at] for sampled, at in zip(in_sample, rows, strict=True)]),
        user=np.concatenate([window.user[at] + n for (window, at), n in zip(chosen, users_before, strict=False)]),
    )
