"""Plan an experiment before it starts: the shoppers that it needs, the days until they have come, what it would miss.

topshelf experiments plan varied-head

Mean, variance and traffic are those of the last weeks of staging/interactions. Nothing is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.experiments import Experiment, Looks, PrimaryMetric
from jobs.lake.lake import Lake
from jobs.lake.tables import INTERACTIONS
from jobs.numeric.arrays import Values
from jobs.statistics.planning import days_needed, detectable_effect, units_after, units_needed
from jobs.statistics.sample_ratio import noticeable_mismatch
from jobs.statistics.sequential import Method

MOST_DAYS = 56
"""Days of the past that a plan looks at, at most."""
METHODS: Mapping[Looks, Method] = {
    "every_night": "group_sequential",
    "any_time": "confidence_sequence",
    "at_the_end": "fixed_horizon",
}


class PlanError(ValueError):
    """An experiment that no plan can be made for: why, and what else to do."""


@dataclass(frozen=True)
class Traffic:
    """What shoppers did in some days, one after another."""

    days: Sequence[date]
    users_by_day: Values
    """[days] distinct shoppers with an event from the first day up to each."""
    values: Mapping[PrimaryMetric, Values]
    """[shoppers] by metric, over all the days: bought or not; revenue in minor units."""


@dataclass(frozen=True)
class Plan:
    """What an experiment needs, and what the shop's traffic gives it."""

    experiment: Experiment
    traffic: Traffic
    mean: float
    variance: float
    users_needed: int
    days_needed: float
    days_planned: int
    users_planned: float
    """Shoppers who will have come by its last day and are in it."""
    detectable: float
    """The smallest relative change that these show with the power that is asked for."""
    mismatch: Mapping[str, float]
    """By arm, the share of its shoppers whose loss would be noticed in 99 of 100."""

    def lines(self, name: str) -> list[str]:
        """Return the plan in words."""
        one, days = self.experiment, self.traffic.days
        metric = "of shoppers buy" if one.primary == "conversion" else "minor units a shopper"
        mean = f"{self.mean:.2%}" if one.primary == "conversion" else f"{self.mean:,.0f}"
        enough = self.users_planned >= self.users_needed
        time = "never, at this traffic" if np.isinf(self.days_needed) else f"{self.days_needed:,.0f} days"
        lost = ", ".join(f"{arm} {share:.1%}" for arm, share in self.mismatch.items())
        return [
            f"{name}: {one.primary}, from {days[0]} to {days[-1]}: {mean} {metric}, standard deviation "
            f"{np.sqrt(self.variance):,.4g}",
            f"to see a change of {one.effect:.1%} with power {one.power:.0%}: {self.users_needed:,} shoppers, {time}",
            f"planned: {self.days_planned} days, about {self.users_planned:,.0f} shoppers; they show a change of "
            f"{self.detectable:.1%}",
            f"a loss of shoppers is noticed, in 99 of 100, from: {lost}",
            "it is long enough" if enough else "it is too short: let it last, raise its shares, or ask for less",
        ]


def read_traffic(lake: Lake, ds: date, days: int) -> Traffic:
    """Return what shoppers did in the `days` days up to `ds`, or in as many as have been staged.

    Raises:
        PlanError: no day was staged.
    """
    wanted = {ds - timedelta(days=back) for back in range(days)}
    staged = sorted(day for day in lake.days(INTERACTIONS) if day in wanted)
    columns = ["user_id", "event_type", "quantity", "unit_price_minor"]
    parts = [
        rows.append_column("day", pa.array(np.full(len(rows), number), pa.int64()))
        for number, rows in enumerate(lake.arrow(INTERACTIONS, day, columns) for day in staged)
        if len(rows)
    ]
    if not parts:
        raise PlanError(f"no event up to {ds} is staged; run topshelf stage ingest --ds {ds} first")
    rows = pa.concat_tables(parts)
    rows = rows.filter(pc.is_valid(rows["user_id"]))
    bought = pc.equal(rows["event_type"], "purchase")
    pieces = pc.fill_null(pc.cast(rows["quantity"], pa.float64()), 1.0)
    amount = pc.multiply(pc.cast(pc.fill_null(rows["unit_price_minor"], 0), pa.float64()), pieces)
    by_user = (
        pa.table(
            {"user": rows["user_id"], "day": rows["day"], "bought": bought, "spent": pc.if_else(bought, amount, 0.0)}
        )
        .group_by("user")
        .aggregate([("day", "min"), ("bought", "max"), ("spent", "sum")])
    )
    first = np.bincount(by_user["day_min"].to_numpy(), minlength=len(staged))
    return Traffic(
        staged,
        np.cumsum(first).astype(np.float64),
        {
            "conversion": by_user["bought_max"].to_numpy(zero_copy_only=False).astype(np.float64),
            "revenue": by_user["spent_sum"].to_numpy().astype(np.float64),
        },
    )


def plan(experiment: Experiment, traffic: Traffic) -> Plan:
    """Return the plan of an A/B test of shoppers. With several arms, alpha is divided among them.

    Raises:
        PlanError: it interleaves, its units are requests, an arm has no share, or nobody bought anything.
    """
    if experiment.kind != "ab" or experiment.unit != "user":
        raise PlanError("a plan is for A/B tests of shoppers; others have no past to take their variance from")
    values = traffic.values[experiment.primary]
    mean, variance = float(values.mean()), float(values.var(ddof=1)) if len(values) > 1 else 0.0
    if not mean or not variance:
        raise PlanError(f"the last {len(traffic.days)} days have no {experiment.primary} to plan with")
    days = (experiment.last_day - experiment.first_day).days + 1
    shares = {arm: share for arm, share in experiment.shares_on(experiment.last_day).items() if share > 0}
    if experiment.control not in shares or len(shares) < 2:
        raise PlanError(f"on its last day, {experiment.control} and another arm need a share above 0")
    method = METHODS[experiment.looks]
    looks = 1 if method == "fixed_horizon" else days
    alpha = experiment.alpha / (len(shares) - 1)
    sample = units_needed(
        variance=variance,
        smallest_effect=experiment.effect * mean,
        shares=shares,
        control=experiment.control,
        alpha=alpha,
        power=experiment.power,
        method=method,
        looks=looks,
    )
    users = units_after(days, traffic.users_by_day) * sum(shares.values())
    detectable = detectable_effect(
        users,
        variance=variance,
        shares=shares,
        control=experiment.control,
        alpha=alpha,
        power=experiment.power,
        method=method,
        looks=looks,
    )
    return Plan(
        experiment,
        traffic,
        mean,
        variance,
        sample.units,
        days_needed(sample.units, traffic.users_by_day, share=sum(shares.values())),
        days,
        users,
        detectable / mean,
        noticeable_mismatch(users, shares, tests=days),
    )
