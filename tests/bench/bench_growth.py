"""How each stage of a first night grows with the shoppers: an exponent a stage, and what 100 million would take.

Synthetic shops of SHOPPERS, each doing as much as in the others, over one catalogue. A stage's processor time is
fitted as a power of the shoppers, by least squares of the logarithms, with a 95% interval of Student's t. A stage
that mostly starts up has an exponent near 0; the larger shops tell what counts. What 100 million shoppers would take
is the largest shop's time, carried on with the exponent, or with 1 where that is smaller: nothing is cheaper by the
dozen.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t

from tests.bench.bench_night import LAST, night, topshelf
from tests.bench.figures import Figure

SHOPPERS = (1_250, 2_500, 5_000, 10_000, 20_000)
PRODUCTS, EVENTS_A_SHOPPER, FIRST_DAY = 4_000, 56, "2026-01-01"
LEAST_S = 2.0
"""A stage that takes less in the largest shop is left out."""
ON_PAPER = 100_000_000


def costs(shoppers: int) -> dict[str, float]:
    """Return each stage's seconds of processor in the first night of a shop."""
    with tempfile.TemporaryDirectory() as name:
        size = ("--users", str(shoppers), "--items", str(PRODUCTS), "--events", str(shoppers * EVENTS_A_SHOPPER))
        topshelf("synthetic-shop", *size, "--from", FIRST_DAY, "--to", str(LAST), "--landing", f"{name}/landing")
        return {run.stage: run.processor_s for run in night(LAST, Path(name))[1]}


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Return the exponent of the power that fits, and half the width of its 95% interval.

    >>> exponent([1, 2, 4], [3, 6, 12])
    (1.0, 0.0)
    """
    x, y = np.log(sizes), np.log(np.maximum(seconds, 1e-3))
    x = x - x.mean()
    slope = float((x * y).sum() / (x * x).sum())
    left = y - y.mean() - slope * x
    error = np.sqrt((left * left).sum() / (len(x) - 2) / (x * x).sum())
    return round(slope, 3), round(float(t.ppf(0.975, len(x) - 2) * error), 3)


def main() -> list[Figure]:
    of_sizes = [costs(shoppers) for shoppers in SHOPPERS]
    figures, hours = [], 0.0
    for stage in of_sizes[-1]:
        seconds = [costs_of[stage] for costs_of in of_sizes]
        if seconds[-1] < LEAST_S:
            continue
        power, half = exponent(SHOPPERS, seconds)
        carried = seconds[-1] * (ON_PAPER / SHOPPERS[-1]) ** max(power, 1.0) / 3600
        hours += carried
        figures.append(Figure(f"{stage}, {SHOPPERS[-1]:,} shoppers", seconds[-1], "s of processor"))
        figures.append(Figure(f"{stage}, exponent (±{half:.2f})", power, ""))
        figures.append(Figure(f"{stage}, {ON_PAPER:,} shoppers, on paper", carried, "core-hours"))
    return [*figures, Figure(f"a first night of {ON_PAPER:,} shoppers, on paper", hours, "core-hours")]
