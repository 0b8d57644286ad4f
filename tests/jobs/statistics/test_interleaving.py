"""Interleaving's credit by hand, and its tests on simulated shelves of users who differ."""

import numpy as np
import pytest

from jobs.statistics import Codes, UnusableValuesError, Values
from jobs.statistics.interleaving import clicks_by_team, compare, credit_shares

PLACES = 8


def test_credit_is_shared_as_the_places_of_the_arms_were_clicked() -> None:
    team = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [-1, 0, 1, 1]])
    clicked = np.array([[1.0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]])

    clicks = clicks_by_team(team, clicked, 2)

    assert clicks.tolist() == [[1, 2], [0, 0], [0, 1]]
    assert credit_shares(clicks).tolist() == [[1 / 3, 2 / 3], [0, 0], [0, 1]]


def test_shares_and_their_error_are_as_computed_by_hand() -> None:
    credit = np.array([[1.0, 0], [0, 1], [1, 0], [0, 0], [1, 0]])
    found = compare(credit, np.array([7, 7, 8, 8, 9]), ["control", "new"])
    preference = found.preferences["new", "control"]

    assert (found.units, found.shelves) == (3, 4)
    assert found.shares == {"control": 0.75, "new": 0.25}
    assert preference.difference == -0.5
    # By unit: credit of new minus control 0, -1, -1, over 2, 1, 1 shelves; residuals 1, -0.5, -0.5.
    assert preference.standard_error == pytest.approx(np.sqrt(1.5 * 3 / 2) / 4)
    assert preference.p == pytest.approx(found.p)


def shelves(draw: np.random.Generator, arms: int, better: float = 0.0) -> tuple[Values, Codes]:
    """Shelves of 300 users: some look often, and one favourite arm a user, whoever is better; the last is better."""
    n_users = 300
    unit = np.repeat(np.arange(n_users), draw.geometric(0.2, n_users))
    rounds = np.argsort(draw.random((len(unit), PLACES // arms + 1, arms)), axis=2)
    team = rounds.reshape(len(unit), -1)[:, :PLACES]
    taste = draw.gamma(1, 0.05, n_users)[unit][:, None] * (1 + better * (team == arms - 1))
    taste = taste * (1 + (team == draw.integers(0, arms, n_users)[unit][:, None]))
    clicked = draw.random(team.shape) < np.minimum(taste, 1)
    return credit_shares(clicks_by_team(team, clicked.astype(float), arms)), unit


@pytest.mark.parametrize("arms", [2, 3])
def test_arms_that_are_equally_good_differ_significantly_in_one_of_twenty_experiments(arms: int) -> None:
    draw = np.random.default_rng(14)
    names = ["control", "new", "newer"][:arms]

    p_values = np.array([compare(*shelves(draw, arms), names).p for _ in range(500)])

    assert 0.02 < (p_values < 0.05).mean() < 0.08


def test_a_better_arm_wins_its_pairs_and_the_others_stay_equal() -> None:
    found = compare(*shelves(np.random.default_rng(2), 3, better=1.0), ["control", "new", "best"])

    assert list(found.preferences) == [("new", "control"), ("best", "control"), ("best", "new")]
    assert found.p < 1e-6
    assert found.preferences["best", "control"].low > 0
    assert found.preferences["best", "new"].low > 0
    assert found.preferences["new", "control"].p > 0.05
    assert sum(found.shares.values()) == pytest.approx(1)


def test_wrong_shapes_and_shelves_without_clicks_are_refused() -> None:
    with pytest.raises(UnusableValuesError, match="a row a shelf"):
        compare(np.ones((3, 2)), np.arange(2), ["control", "new"])
    with pytest.raises(UnusableValuesError, match="fewer than two"):
        compare(np.zeros((3, 2)), np.arange(3), ["control", "new"])
