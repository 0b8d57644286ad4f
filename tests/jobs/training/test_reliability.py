"""Reliability bins: calibrated probabilities lie on the line, others are told by how much."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.reporting.facts import worst_gap
from jobs.reporting.plots import wilson
from jobs.training.holdout_measures import BINS, reliability

DRAWN = np.random.default_rng(7)


def test_each_bin_holds_a_tenth_of_what_was_predicted_and_calibrated_ones_lie_on_the_line():
    predicted = DRAWN.beta(0.3, 8, 200_000)
    told = reliability(predicted, (DRAWN.random(200_000) < predicted).astype(np.int32))

    assert len(told["bins"]) == BINS
    for row in told["bins"]:
        assert row["examples"] * row["predicted"] == pytest.approx(predicted.sum() / BINS, rel=0.01)
        assert row["happened"] == pytest.approx(row["predicted"], rel=0.1)
    assert told["ratio"] == pytest.approx(1, abs=0.03)
    assert told["calibration_error"] < 0.001
    assert worst_gap(told) < 1.1


def test_probabilities_that_are_twice_too_large_are_told_as_such():
    predicted = DRAWN.beta(0.3, 8, 200_000)
    told = reliability(predicted, (DRAWN.random(200_000) < predicted / 2).astype(np.int32))

    assert told["ratio"] == pytest.approx(2, abs=0.1)
    assert worst_gap(told) == pytest.approx(2, abs=0.3)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_bins_hold_every_example_and_every_event_once_in_order(drawn):
    predicted, happened = np.array([p for p, _ in drawn]), np.array([y for _, y in drawn])
    told = reliability(predicted, happened)

    if told["bins"]:
        assert sum(row["examples"] for row in told["bins"]) == len(drawn)
        events = sum(row["examples"] * row["happened"] for row in told["bins"])
        assert events == pytest.approx(happened.sum())
    means = [row["predicted"] for row in told["bins"]]
    assert means == sorted(means)


def test_a_head_that_predicts_nothing_has_no_bins():
    told = reliability(np.zeros(5), np.array([0, 0, 1, 0, 0]))

    assert (told["bins"], told["positives"], told["ratio"]) == ([], 1, 0.0)


def test_the_interval_of_a_share_is_wilson_s():
    low, high = wilson(np.array([0.5, 0.0]), np.array([10, 10]))

    np.testing.assert_allclose(low, [0.2366, 0.0], atol=1e-4)
    np.testing.assert_allclose(high, [0.7634, 0.2775], atol=1e-4)
