"""Quantiles of events whose users differ."""

import numpy as np
import pytest

from jobs.statistics import Codes, UnusableValuesError, Values
from jobs.statistics.effects import effect
from jobs.statistics.quantiles import quantile_summary


def latencies(draw: np.random.Generator, n_users: int = 1_500) -> tuple[Values, Codes]:
    """Milliseconds of requests; some users are always slow."""
    user = np.repeat(np.arange(n_users), draw.geometric(0.15, n_users))
    return draw.lognormal(2.0 + 0.4 * draw.normal(size=n_users)[user], 0.4), user


def test_two_arms_of_equal_latency_differ_significantly_at_p95_in_one_of_twenty_experiments() -> None:
    draw = np.random.default_rng(14)
    arms = [[quantile_summary(*latencies(draw), 0.95) for _ in range(2)] for _ in range(400)]

    assert 0.02 < np.mean([effect(*pair).p < 0.05 for pair in arms]) < 0.085


def test_events_of_one_user_count_together() -> None:
    values, users = np.random.default_rng(1).normal(size=2_000), np.arange(2_000)
    alone = quantile_summary(values, users, 0.9)
    tenfold = quantile_summary(np.repeat(values, 10), np.repeat(users, 10), 0.9)

    assert tenfold.standard_error == pytest.approx(alone.standard_error, rel=0.05)
    # The normal quantile's own error: sqrt(p (1 - p) / n) / density.
    assert alone.standard_error == pytest.approx(np.sqrt(0.09 / 2_000) / 0.17550, rel=0.2)
    assert alone.value == pytest.approx(np.quantile(values, 0.9))


@pytest.mark.parametrize(
    ("values", "units", "quantile"),
    [
        (np.ones(3), np.arange(2), 0.5),
        (np.array([np.nan] * 40), np.arange(40), 0.5),
        (np.ones(900), np.arange(900), 0.99),
        (np.ones(40), np.zeros(40, int), 0.5),
        (np.ones(40), np.arange(40), 1.0),
    ],
    ids=["lengths", "not finite", "too few beyond", "one unit", "no quantile"],
)
def test_events_that_have_no_quantile_are_refused(values: Values, units: Codes, quantile: float) -> None:
    with pytest.raises(UnusableValuesError):
        quantile_summary(values, units, quantile)
