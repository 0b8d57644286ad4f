"""Sizes of experiments: against tea-tasting and statsmodels, and by simulating what they promise."""

import numpy as np
import pandas as pd
import pytest

from jobs.statistics import UnusableValuesError
from jobs.statistics.effects import linearised
from jobs.statistics.planning import days_needed, detectable_effect, needed_drift, units_needed
from tests.jobs.statistics.oracles import oracle

HALVES = {"control": 0.5, "new": 0.5}


def test_the_units_for_a_mean_are_those_of_statsmodels() -> None:
    power = oracle("statsmodels.stats.power")
    wanted = power.NormalIndPower().solve_power(0.05, alpha=0.01, power=0.9, ratio=1 / 3)

    found = units_needed(variance=4.0, smallest_effect=0.1, shares={"control": 3, "new": 1}, alpha=0.01, power=0.9)

    assert found.by_arm["control"] == pytest.approx(wanted, abs=1.5)
    assert found.by_arm["new"] == pytest.approx(wanted / 3, abs=1.5)


def test_the_units_for_a_ratio_with_cuped_are_those_of_tea_tasting() -> None:
    tea = oracle("tea_tasting")
    draw = np.random.default_rng(3)
    views, before = draw.poisson(9, 4_000) + 1.0, draw.poisson(9, 4_000) + 1.0
    taste = draw.beta(2, 30, 4_000)
    rows = pd.DataFrame({"v": views, "c": draw.binomial(views.astype(int), taste).astype(float), "vb": before,
                         "cb": draw.binomial(before.astype(int), taste).astype(float)})  # fmt: skip
    theirs = tea.RatioOfMeans("c", "v", "cb", "vb", effect_size=0.004, power=0.8, use_t=False, equal_var=False)
    wanted = theirs.solve_power(rows, "n_obs")[0].n_obs

    plain, covariate = linearised(rows["c"].to_numpy(), rows["v"].to_numpy()), linearised(
        rows["cb"].to_numpy(), rows["vb"].to_numpy()
    )  # fmt: skip
    found = units_needed(
        variance=float(plain.var(ddof=1)), smallest_effect=0.004, shares=HALVES,
        removed_share=float(np.corrcoef(plain, covariate)[0, 1] ** 2),
    )  # fmt: skip

    assert found.units == pytest.approx(wanted, abs=2)


@pytest.mark.parametrize("method", ["fixed_horizon", "group_sequential", "confidence_sequence"])
def test_what_the_needed_units_can_detect_is_what_was_asked_for(method: str) -> None:
    same = {"variance": 30.0, "shares": {"control": 2, "a": 1, "b": 1}, "method": method, "looks": 28}
    needed = units_needed(smallest_effect=0.2, removed_share=0.25, **same)

    assert detectable_effect(needed.units, removed_share=0.25, **same) == pytest.approx(0.2, rel=1e-3)


def test_looking_more_often_needs_more_units() -> None:
    fixed, group, sequence = (
        needed_drift(method, 28, 0.05, 0.8) for method in ("fixed_horizon", "group_sequential", "confidence_sequence")
    )

    assert fixed == pytest.approx(2.8016, abs=1e-3)
    assert 1.01 < (group / fixed) ** 2 < 1.10  # of units
    assert 1.4 < (sequence / fixed) ** 2 < 2.2


def test_days_follow_the_distinct_units_of_past_weeks() -> None:
    seen = np.array([100.0, 180, 240, 280, 300, 310, 315, 320])

    assert days_needed(100, seen) == 1
    assert days_needed(101, seen) == 2
    assert days_needed(160, seen, share=0.5) == 8
    assert days_needed(352, seen) == 8 + 2  # the last week brought 220, so 31.4 a day
    assert days_needed(1_000, np.full(9, 50.0)) == np.inf


@pytest.mark.parametrize("change", [{"variance": 0.0}, {"smallest_effect": 0.0}, {"power": 0.01},
                                    {"removed_share": 1.0}, {"shares": {"new": 1.0}}], ids=str)  # fmt: skip
def test_a_plan_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UnusableValuesError):
        units_needed(**({"variance": 1.0, "smallest_effect": 1.0, "shares": HALVES} | change))  # type: ignore[arg-type]


def test_days_from_nothing_are_refused() -> None:
    for counts, share in ((np.array([]), 1.0), (np.array([2.0, 1]), 1.0), (np.array([1.0]), 0.0)):
        with pytest.raises(UnusableValuesError):
            days_needed(5, counts, share=share)
