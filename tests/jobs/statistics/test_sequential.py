"""Bounds of repeated looks: published ones, their errors by integration, and simulated experiments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.statistics import UnusableValuesError
from jobs.statistics.sequential import (
    Method,
    bounds,
    confidence_sequence_bounds,
    crossing_probabilities,
    repeated_p,
    spent_alpha,
)
from tests.jobs.statistics.nightly_experiments import METRICS, NIGHTS, found_by, naive, simulate

FIVE = np.arange(1, 6) / 5
NIGHTLY = np.arange(1, NIGHTS + 1) / NIGHTS


def test_five_looks_have_the_bounds_published_for_lan_and_demets() -> None:
    """ldbounds and gsDesign print these for two-sided 5%."""
    assert bounds("group_sequential", FIVE, planned=1) == pytest.approx(
        [4.8769, 3.3570, 2.6803, 2.2898, 2.0310], abs=2e-4
    )
    assert bounds("group_sequential", FIVE, planned=1, spending="pocock") == pytest.approx(
        [2.4380, 2.4268, 2.4101, 2.3966, 2.3859], abs=2e-4
    )


def test_looking_every_night_at_a_fixed_bound_is_wrong_five_times_as_often() -> None:
    above, below = crossing_probabilities(NIGHTLY, np.full(NIGHTS, 1.959964))

    assert (above + below).sum() == pytest.approx(0.2747, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.001, 1), min_size=1, max_size=12),
    st.floats(0.001, 0.3),
    st.sampled_from(["obrien_fleming", "pocock"]),
)
def test_all_of_alpha_is_spent_however_unequal_the_looks(steps: list[float], alpha: float, spending: str) -> None:
    information = np.cumsum(steps)
    found = bounds("group_sequential", information, planned=information[-1], alpha=alpha, spending=spending)

    above, below = crossing_probabilities(information, found)

    assert (above + below).sum() == pytest.approx(alpha, abs=1e-7)
    assert above == pytest.approx(below)


@pytest.mark.parametrize("method", ["group_sequential", "confidence_sequence", "fixed_horizon"])
def test_bounds_of_past_looks_stay_as_looks_are_added(method: Method) -> None:
    information = np.array([3.0, 4, 9, 11, 20])
    whole = bounds(method, information, planned=15)

    for n_looks in range(1, 6):
        assert bounds(method, information[:n_looks], planned=15).tolist() == whole[:n_looks].tolist()


def test_looks_after_all_is_spent_may_not_decide() -> None:
    assert np.isfinite(bounds("group_sequential", np.array([5.0, 11, 12]), planned=10)).tolist() == [
        True,
        True,
        False,
    ]
    assert np.isfinite(bounds("fixed_horizon", np.array([5.0, 11, 12]), planned=10)).tolist() == [False, True, False]


def test_the_last_look_spends_what_is_left_though_fewer_came_than_planned() -> None:
    information = np.array([2.0, 6.0])
    found = bounds("group_sequential", information, planned=10, is_last=True)

    assert np.concatenate(crossing_probabilities(information, found)).sum() == pytest.approx(0.05)
    assert bounds("fixed_horizon", information, planned=10, is_last=True)[-1] == pytest.approx(1.959964)


def test_a_night_that_adds_nothing_is_the_look_before_it() -> None:
    found = bounds("group_sequential", np.array([5.0, 5.0, 10.0]), planned=10)

    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(bounds("group_sequential", np.array([5.0, 10.0]), planned=10)[-1])


def test_a_last_night_that_adds_nothing_still_spends_what_is_left() -> None:
    information = np.array([2.0, 6.0, 6.0])
    found = bounds("group_sequential", information, planned=10, is_last=True)

    assert found[2] == pytest.approx(bounds("group_sequential", information[:2], planned=10, is_last=True)[1])
    assert np.concatenate(crossing_probabilities(information, found)).sum() == pytest.approx(0.05)


def test_a_confidence_sequence_is_narrowest_at_the_planned_sample_and_never_decides_too_often() -> None:
    information = np.arange(1.0, 40)
    width = confidence_sequence_bounds(information, planned=20) / np.sqrt(information)
    for other in (10, 40):
        assert width[19] < confidence_sequence_bounds(information, planned=other)[19] / np.sqrt(20)
    above, below = crossing_probabilities(np.geomspace(0.001, 1_000, 200), confidence_sequence_bounds(
        np.geomspace(0.001, 1_000, 200), planned=1
    ))  # fmt: skip

    assert 0.02 < (above + below).sum() < 0.05


def test_crossing_probabilities_with_a_drift_are_those_of_simulated_walks() -> None:
    information, drift = np.array([1.0, 3.0, 4.0]), 1.2
    limits = bounds("group_sequential", information, planned=4)
    draw = np.random.default_rng(1)
    steps = np.diff(information, prepend=0)
    walks = np.cumsum(draw.normal(drift * steps, np.sqrt(steps), (200_000, 3)), axis=1) / np.sqrt(information)
    first = np.where((np.abs(walks) >= limits).any(axis=1), (np.abs(walks) >= limits).argmax(axis=1), -1)
    chosen = walks[np.arange(len(walks)), first]

    above, below = crossing_probabilities(information, limits, drift)

    assert above == pytest.approx([((first == look) & (chosen > 0)).mean() for look in range(3)], abs=0.004)
    assert below == pytest.approx([((first == look) & (chosen < 0)).mean() for look in range(3)], abs=0.004)


@pytest.mark.parametrize("method", ["group_sequential", "confidence_sequence", "fixed_horizon"])
def test_a_repeated_p_is_the_alpha_whose_bound_is_just_reached(method: Method) -> None:
    limits = bounds(method, FIVE, planned=1, alpha=0.02)
    touches = np.where(np.arange(5) == 4, limits, 0.0)

    assert repeated_p(method, touches, FIVE, planned=1) == pytest.approx(0.02, rel=1e-3)
    assert repeated_p(method, np.zeros(5), FIVE, planned=1) == 1.0
    assert repeated_p(method, np.full(5, 40.0), FIVE, planned=1) == 1e-12


def test_half_of_alpha_is_spent_on_either_side() -> None:
    assert spent_alpha(np.array([0.0, 1.0]), 0.05) == pytest.approx([0.0, 0.05])
    assert spent_alpha(np.array([0.0, 1.0]), 0.05, "pocock") == pytest.approx([0.0, 0.05])


@pytest.mark.parametrize(
    ("information", "planned", "alpha"),
    [([], 1, 0.05), ([0.0, 1], 1, 0.05), ([2.0, 1], 1, 0.05), ([1.0], 0, 0.05), ([1.0], 1, 1.0)],
    ids=["no look", "nothing known", "falling", "nothing planned", "alpha"],
)
def test_looks_out_of_range_are_refused(information: list[float], planned: float, alpha: float) -> None:
    with pytest.raises(UnusableValuesError):
        bounds("group_sequential", np.array(information), planned=planned, alpha=alpha)


def test_experiments_without_an_effect_are_found_significant_no_more_often_than_alpha() -> None:
    """120 of the 2,000 that `python -m tests.bench sequential` looks at: 5%, and three standard errors."""
    looks = simulate(120, seed=14)
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120)

    for metric in METRICS:
        assert naive(looks.z[metric]).mean() > most
    for method in ("group_sequential", "confidence_sequence"):
        assert all(np.abs(found).mean() < most for found in found_by(method, looks).values())
