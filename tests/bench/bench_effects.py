"""What published shops say of the effects' tests: splits of RetailRocket's users, and CUPED on Online Retail.

    TOPSHELF_DATA=FOLDER python -m tests.bench effects

Splits: the share of 2,000 random halves whose buys a view differ significantly. CUPED: the share of the variance
of 90 days that the 90 days before explain, for customers who had bought.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobs.statistics import Values
from jobs.statistics.effects import UnitValues, arm_summaries, winsorised
from tests.bench.figures import Figure
from tests.jobs.statistics.published import online_retail_spend, retailrocket_rows, split_at_random

SEEDS = 20
"""One seed's 2,000 splits are right to half a percent only."""


def removed(after: Values, before: Values) -> float:
    """The percentage of the variance that CUPED removes, over both halves of a split."""
    is_new = np.random.default_rng(14).random(len(after)) < 0.5
    parts = {
        name: UnitValues(after[rows], total_before=before[rows]) for name, rows in (("a", is_new), ("b", ~is_new))
    }
    return 100 * float(np.mean([arm.removed_share for arm in arm_summaries(parts).values()]))


def capped(values: Values) -> Values:
    """Cut at the 99th percentile of those who spent."""
    return winsorised({"all": values})[0]["all"]


def main() -> list[Figure]:
    """Split, adjust, and count."""
    if not os.environ.get("TOPSHELF_DATA"):
        pytest.skip("TOPSHELF_DATA does not name the folder of published shop data")
    data = Path(os.environ["TOPSHELF_DATA"])
    rows = retailrocket_rows(data)
    one, many = split_at_random(*rows), [split_at_random(*rows, seed=seed) for seed in range(100, 100 + SEEDS)]
    by_seed = 100 * np.array([[wrong.events_test, wrong.delta_method] for wrong in many])
    spread = f"{by_seed[:, 1].min():.1f} to {by_seed[:, 1].max():.1f}"
    after, before = online_retail_spend(data)
    kinds: dict[str, Callable[[Values], Values]] = {
        "spend": np.asarray,
        "spend, winsorised at 99%": capped,
        "bought or not": lambda values: (values > 0).astype(float),
    }
    return [
        Figure("wrong of 2,000 splits of seed 0, z-test over events", 100 * one.events_test, "%"),
        Figure("wrong of 2,000 splits of seed 0, delta method", 100 * one.delta_method, "%", wanted="about 5"),
        Figure(f"wrong of {SEEDS} times 2,000 splits, z-test over events", by_seed[:, 0].mean(), "%"),
        Figure(f"the same, delta method (a seed: {spread})", by_seed[:, 1].mean(), "%", wanted="about 5"),
        Figure("customers", len(after), ""),
        *(
            Figure(f"variance removed by CUPED, {kind}", removed(of(after), of(before)), "%")
            for kind, of in kinds.items()
        ),
    ]
