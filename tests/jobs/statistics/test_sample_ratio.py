"""Sample-ratio mismatch: the test itself, its false alarms, and the sizes that it can notice."""

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from jobs.statistics import UnusableValuesError
from jobs.statistics.sample_ratio import ALPHA, noticeable_mismatch, sample_ratio, sample_ratios

HALVES = {"control": 0.5, "new": 0.5}
THREE = {"control": 8, "a": 1, "b": 1}


def test_many_units_are_tested_by_chi_square() -> None:
    counts = {"control": 80_300, "a": 9_600, "b": 10_100}

    found = sample_ratio(counts, THREE)

    assert found.p == pytest.approx(chisquare([80_300, 9_600, 10_100], [80_000, 10_000, 10_000]).pvalue)
    assert found.expected == {"control": 80_000, "a": 10_000, "b": 10_000}
    assert found.is_mismatch


@pytest.mark.parametrize(("n_units", "share"), [(60, 0.5), (400, 0.02), (5_000, 0.01), (4_000, 0.5)])
def test_two_arms_never_raise_more_false_alarms_than_one_in_a_thousand(n_units: int, share: float) -> None:
    """Summed over every count that could come; chi-square alone exceeds it fourfold."""
    shares = {"control": 1 - share, "new": share}
    spread = 6 * np.sqrt(n_units * share) + 20
    around = np.arange(max(0, int(n_units * share - spread)), int(n_units * share + 2 * spread))
    around = around[around <= n_units]
    alarms = [sample_ratio({"control": n_units - n, "new": n}, shares).is_mismatch for n in around.tolist()]

    assert binom.pmf(around, n_units, share)[alarms].sum() <= ALPHA


def test_segments_share_the_false_alarms() -> None:
    counts = {"control": 50_540, "new": 49_460}  # p = 0.0006
    alone = sample_ratios({"all": counts}, HALVES)
    among = sample_ratios({"all": counts, "mobile": counts}, HALVES)

    assert alone["all"].is_mismatch
    assert not among["all"].is_mismatch


@pytest.mark.parametrize("shares", [HALVES, THREE], ids=["halves", "three arms"])
def test_a_mismatch_of_the_named_size_is_noticed_99_times_of_100(shares: dict[str, float]) -> None:
    n_units, times = 20_000, 1_000
    draw = np.random.default_rng(14)
    for arm, lost in noticeable_mismatch(n_units, shares).items():
        weights = np.array([share * (1 - lost * (name == arm)) for name, share in shares.items()])
        seen = int(n_units * weights.sum() / sum(shares.values()))
        counts = draw.multinomial(seen, weights / weights.sum(), times).tolist()
        noticed = [sample_ratio(dict(zip(shares, row, strict=True)), shares).is_mismatch for row in counts]
        assert np.mean(noticed) == pytest.approx(0.99, abs=0.01)


def test_more_segments_and_fewer_units_notice_only_larger_mismatches() -> None:
    sizes = [noticeable_mismatch(n, HALVES, tests=tests)["new"] for n, tests in ((10**6, 1), (10**5, 1), (10**5, 20))]

    assert sizes == sorted(sizes)
    assert noticeable_mismatch(20, HALVES)["new"] == 1


def test_nobody_yet_is_no_mismatch() -> None:
    assert not sample_ratio({}, HALVES).is_mismatch


@pytest.mark.parametrize(
    ("counts", "shares"),
    [({"control": 1, "ghost": 1}, HALVES), ({}, {"control": 1.0}), ({}, {"control": 1.0, "new": 0.0})],
    ids=["an arm without a share", "one arm", "a share of 0"],
)
def test_shares_that_do_not_fit_are_refused(counts: dict[str, int], shares: dict[str, float]) -> None:
    with pytest.raises(UnusableValuesError):
        sample_ratio(counts, shares)
