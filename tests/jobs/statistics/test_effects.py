"""Effects: by hand, against published implementations, and on a real shop's users split at random."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs.statistics import UnusableValuesError
from jobs.statistics.effects import UnitValues, arm_summaries, effect, linearised, winsorised
from tests.jobs.statistics.oracles import oracle
from tests.jobs.statistics.published import online_retail_spend, retailrocket_rows, split_at_random


def shoppers(seed: int, n: int, uplift: float = 0.0) -> pd.DataFrame:
    """Shoppers with clicks of impressions and spend, in two periods that resemble each other."""
    draw = np.random.default_rng(seed)
    taste = draw.gamma(2.0, 0.02, n)
    seen, seen_before = draw.poisson(20, n) + 1.0, draw.poisson(20, n) + 1.0
    return pd.DataFrame(
        {
            "views": seen,
            "clicks": draw.binomial(seen.astype(int), np.minimum(taste * (1 + uplift), 1)).astype(float),
            "spend": draw.lognormal(1, 1, n) * taste * 20 * (1 + uplift),
            "views_before": seen_before,
            "clicks_before": draw.binomial(seen_before.astype(int), np.minimum(taste, 1)).astype(float),
            "spend_before": draw.lognormal(1, 1, n) * taste * 20,
        }
    )


CONTROL, NEW = shoppers(1, 900), shoppers(2, 1_100, 0.08)


def mean(rows: pd.DataFrame) -> UnitValues:
    return UnitValues(rows["spend"].to_numpy())


def mean_with_before(rows: pd.DataFrame) -> UnitValues:
    return UnitValues(rows["spend"].to_numpy(), total_before=rows["spend_before"].to_numpy())


def ratio(rows: pd.DataFrame) -> UnitValues:
    return UnitValues(rows["clicks"].to_numpy(), rows["views"].to_numpy())


def ratio_with_before(rows: pd.DataFrame) -> UnitValues:
    return UnitValues(*(rows[name].to_numpy() for name in ("clicks", "views", "clicks_before", "views_before")))


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        pytest.param(mean, ("spend",), id="mean"),
        pytest.param(mean_with_before, ("spend", None, "spend_before"), id="mean with CUPED"),
        pytest.param(ratio, ("clicks", "views"), id="ratio"),
        pytest.param(ratio_with_before, ("clicks", "views", "clicks_before", "views_before"), id="ratio with CUPED"),
    ],
)
def test_an_effect_equals_tea_tastings(
    values: Callable[[pd.DataFrame], UnitValues], columns: tuple[str | None, ...]
) -> None:
    tea = oracle("tea_tasting")
    rows = pd.concat([CONTROL.assign(variant="control"), NEW.assign(variant="new")])
    metric = tea.RatioOfMeans(*columns, use_t=False, equal_var=False)
    theirs = tea.Experiment(m=metric).analyze(rows, control="control")["m"]

    arms = arm_summaries({"control": values(CONTROL), "new": values(NEW)})
    ours = effect(arms["new"], arms["control"])

    assert [ours.control.value, ours.treatment.value, ours.difference, ours.low, ours.high] == pytest.approx(
        [theirs.control, theirs.treatment, theirs.effect_size, theirs.effect_size_ci_lower,
         theirs.effect_size_ci_upper], rel=1e-10
    )  # fmt: skip
    assert [ours.lift, ours.lift_low, ours.lift_high, ours.p, ours.z] == pytest.approx(
        [theirs.rel_effect_size, theirs.rel_effect_size_ci_lower, theirs.rel_effect_size_ci_upper, theirs.pvalue,
         theirs.statistic], rel=1e-9
    )  # fmt: skip


def test_a_difference_of_means_equals_statsmodels_z_test() -> None:
    weightstats = oracle("statsmodels.stats.weightstats")
    new, control = (weightstats.DescrStatsW(rows["spend"].to_numpy()) for rows in (NEW, CONTROL))
    theirs = weightstats.CompareMeans(new, control)
    arms = arm_summaries({"control": mean(CONTROL), "new": mean(NEW)})

    found = effect(arms["new"], arms["control"])

    assert [found.z, found.p] == pytest.approx(theirs.ztest_ind(usevar="unequal"), rel=1e-10)
    assert [found.low, found.high] == pytest.approx(theirs.zconfint_diff(usevar="unequal"), rel=1e-10)


def test_a_z_test_over_events_is_wrong_in_most_splits_of_retailrocket_and_the_delta_method_is_not(
    shop_data: Path,
) -> None:
    wrong = split_at_random(*retailrocket_rows(shop_data))

    assert wrong.events_test > 0.5
    # One seed of many: over 40,000 splits it is 5.8%, and 2,000 splits are right to half a percent only.
    assert 0.035 < wrong.delta_method < 0.075


def test_cuped_narrows_the_interval_of_spend_in_online_retail(shop_data: Path) -> None:
    after, before = online_retail_spend(shop_data)
    is_new = np.random.default_rng(14).random(len(after)) < 0.5
    arms = arm_summaries(
        {
            "new": UnitValues(after[is_new], total_before=before[is_new]),
            "control": UnitValues(after[~is_new], total_before=before[~is_new]),
        }
    )

    assert min(arms["new"].removed_share, arms["control"].removed_share) > 0.2


def test_the_mean_of_what_is_linearised_is_the_ratio() -> None:
    assert linearised(np.array([1.0, 2, 0]), np.array([2.0, 5, 1])).mean() == pytest.approx(3 / 8)


def test_winsorised_money_is_cut_at_one_limit_for_all_arms_taken_from_those_who_spent() -> None:
    arms, limit = winsorised({"control": np.array([0.0, 0, 0, 10, 20]), "new": np.array([0.0, 30, 1_000])}, 2 / 3)

    assert limit == 30
    assert arms["new"].tolist() == [0, 30, 30]
    assert arms["control"].tolist() == [0, 0, 0, 10, 20]


def test_where_nobody_spent_the_limit_is_zero() -> None:
    assert winsorised({"control": np.zeros(3)})[1] == 0


def test_arms_without_any_difference_or_spread_have_no_effect() -> None:
    arms = arm_summaries({"control": UnitValues(np.ones(5)), "new": UnitValues(np.ones(5))})
    found = effect(arms["new"], arms["control"])

    assert (found.difference, found.z, found.p, found.low, found.high) == (0, 0, 1, 0, 0)


def test_before_the_first_look_every_difference_is_possible() -> None:
    arms = arm_summaries({"control": UnitValues(np.ones(5)), "new": UnitValues(np.ones(5))})
    found = effect(arms["new"], arms["control"], np.inf)

    assert (found.low, found.high, found.lift_low, found.lift_high) == (-np.inf, np.inf, -1, np.inf)


def test_a_lift_over_a_mean_that_is_not_above_zero_is_unknown() -> None:
    arms = arm_summaries({"control": UnitValues(np.zeros(5)), "new": UnitValues(np.arange(5.0))})

    assert np.isnan(effect(arms["new"], arms["control"]).lift)


def test_values_of_the_time_before_that_never_vary_remove_nothing() -> None:
    plain, adjusted = (
        arm_summaries(
            {"control": UnitValues(np.arange(9.0), None, b), "new": UnitValues(np.arange(9.0) * 2, None, b)}
        )
        for b in (None, np.zeros(9))
    )

    assert plain == adjusted


@pytest.mark.parametrize(
    ("arms", "says"),
    [
        ({"a": UnitValues(np.ones(1)), "b": UnitValues(np.ones(3))}, "at least 2"),
        ({"a": UnitValues(np.array([1, np.nan])), "b": UnitValues(np.ones(3))}, "finite"),
        ({"a": UnitValues(np.ones(2), np.ones(3)), "b": UnitValues(np.ones(3))}, "finite number a unit"),
        ({"a": UnitValues(np.ones(2), np.zeros(2)), "b": UnitValues(np.ones(3))}, "denominators"),
        ({"a": UnitValues(np.ones(2), None, np.ones(2)), "b": UnitValues(np.ones(3))}, "for all arms or for none"),
        ({"a": UnitValues(np.ones(2), np.ones(2), np.ones(2)), "b": UnitValues(np.ones(3))}, "count_before"),
    ],
    ids=["one unit", "not finite", "lengths", "no denominator", "covariate in one arm", "half a covariate"],
)
def test_numbers_that_cannot_be_judged_are_refused(arms: dict[str, UnitValues], says: str) -> None:
    with pytest.raises(UnusableValuesError, match=says):
        arm_summaries(arms)
