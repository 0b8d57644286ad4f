"""Calibration: curves undo what bends predictions, keep their order and their sum, and are not drawn by chance."""

from typing import get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from jobs.config.parameters import CalibrationMethod
from jobs.ranking.calibration import MIN_POSITIVES, Curve, fit_curve, log_odds, with_same_sum

DRAW = np.random.default_rng(11)
TRUTH = DRAW.beta(0.6, 9, 200_000)
HAPPENED = (DRAW.random(len(TRUTH)) < TRUTH).astype(np.int32)


def gap(predicted: np.ndarray) -> float:
    """Mean distance to the truth, in log-odds, moved to the same sum."""
    z = log_odds(predicted) - log_odds(TRUTH)
    return float(np.abs(z - np.median(z)).mean())


@pytest.mark.parametrize("method", ["platt", "isotonic"])
@pytest.mark.parametrize("slope", [0.5, 2.0])
def test_predictions_that_are_too_sure_or_not_sure_enough_are_set_right(method: str, slope: float) -> None:
    bent = expit(slope * log_odds(TRUTH) - 1)
    curve = fit_curve(method, bent, HAPPENED)
    assert curve is not None
    assert gap(curve(bent)) < 0.25 * gap(bent)


def test_isotonic_straightens_a_bend_that_no_line_can() -> None:
    z = log_odds(TRUTH)
    bent = expit(np.where(z > -3, 3 * (z + 3) - 3, 0.3 * (z + 3) - 3))
    by_line, by_steps = (fit_curve(method, bent, HAPPENED) for method in ("platt", "isotonic"))
    assert by_line is not None
    assert by_steps is not None
    assert gap(by_steps(bent)) < 0.5 * gap(by_line(bent))


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_curve_keeps_the_sum_of_the_predictions_whatever_the_days_were_like(method: str) -> None:
    bent = expit(1.5 * log_odds(TRUTH) + 0.7)  # far more than happened: another season
    curve = fit_curve(method, bent, HAPPENED)
    assert curve is not None
    assert curve(bent).mean() == pytest.approx(bent.mean(), rel=1e-9)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_curve_rises_inside_its_points_and_beyond_them(method: str) -> None:
    curve = fit_curve(method, TRUTH[:20_000], HAPPENED[:20_000])
    assert curve is not None
    grid = expit(np.linspace(-15, 15, 3_001))
    assert (np.diff(curve(grid)) > 0).all()


def test_without_a_method_or_with_too_few_events_there_is_no_curve() -> None:
    few = np.zeros(1_000, np.int32)
    few[: MIN_POSITIVES - 1] = 1
    assert [fit_curve(method, np.full(1_000, 0.1), few) for method in get_args(CalibrationMethod)] == [
        None,
        None,
        None,
    ]
    assert fit_curve("none", TRUTH, HAPPENED) is None
    assert fit_curve("platt", TRUTH[:1_000], np.ones(1_000, np.int32)) is None  # nothing failed to happen


@settings(max_examples=25)
@given(st.lists(st.floats(-8, 8), min_size=1, max_size=6, unique=True), st.floats(-1, 1), st.floats(0.1, 3))
def test_a_curve_is_the_same_after_it_was_written_down(points: list[float], shift: float, slope: float) -> None:
    x = tuple(sorted(points))
    curve = Curve(x, tuple(one + shift for one in x), slope)
    assert msgspec.json.decode(msgspec.json.encode(curve), type=Curve) == curve
    moved = with_same_sum(curve, TRUTH[:500])
    assert moved(TRUTH[:500]).mean() == pytest.approx(TRUTH[:500].mean(), rel=1e-9)
