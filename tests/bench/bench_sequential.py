"""Mistakes and power of nightly looks, over 2,000 simulated experiments of 28 nights.

    python -m tests.bench sequential

The experiments are those of `tests/jobs/statistics/nightly_experiments.py`: users come back, clicks of one user hang
together, revenue is heavy-tailed. Power is of 1,000 experiments with an effect that one look at the end finds in
about 78%.
"""

import numpy as np

from jobs.statistics.planning import needed_drift
from jobs.statistics.sequential import Method
from tests.bench.figures import Figure
from tests.jobs.statistics.nightly_experiments import METRICS, NIGHTS, found_by, naive, simulate

EXPERIMENTS, WITH_EFFECT = 2_000, 1_000
UPLIFTS = dict(zip(METRICS, (0.13, 1.4, 1.0), strict=True))
METHODS: tuple[Method, ...] = ("group_sequential", "confidence_sequence", "fixed_horizon")


def main() -> list[Figure]:
    """Simulate, and count."""
    figures = []
    looks = simulate(EXPERIMENTS, seed=20_260_101)
    wrong = {method: found_by(method, looks) for method in METHODS}
    for metric in METRICS:
        figures.append(
            Figure(f"{metric}: false positives, 1.96 every night", 100 * naive(looks.z[metric]).mean(), "%")
        )
        for method in METHODS:
            share = 100 * np.abs(wrong[method][metric]).mean()
            figures.append(Figure(f"{metric}: false positives, {method}", share, "%", wanted="at most 5.7"))
    for metric, uplift in UPLIFTS.items():
        looks = simulate(WITH_EFFECT, seed=20_260_102, uplift=uplift)
        power = {method: 100 * (found_by(method, looks)[metric] > 0).mean() for method in METHODS}
        for method in METHODS:
            wanted = f"at least {power['fixed_horizon'] - 5:.1f}" if method == "group_sequential" else ""
            figures.append(Figure(f"{metric}: power, {method}", power[method], "%", wanted=wanted))
    fixed = needed_drift("fixed_horizon", NIGHTS, 0.05, 0.8)
    for method in METHODS[:2]:
        units = (needed_drift(method, NIGHTS, 0.05, 0.8) / fixed) ** 2
        figures.append(Figure(f"units for 80% power, {method} to fixed_horizon", units, "times"))
    return figures
