"""Sample-ratio mismatch: false alarms, and how often a mismatch of the named size is noticed.

python -m tests.bench sample_ratio
"""

import numpy as np
from scipy.stats import binom

from jobs.statistics.sample_ratio import noticeable_mismatch, sample_ratio, sample_ratios
from tests.bench.figures import Figure

HALVES = {"control": 0.5, "new": 0.5}
UNEVEN = {"control": 0.9, "a": 0.05, "b": 0.05}
SEGMENTS, NIGHTS, TIMES = 10, 28, 100_000


def counts(draw: np.random.Generator, n_units: int, shares: dict[str, float], times: int) -> list[dict[str, int]]:
    """Units by arm of many experiments, assigned by these shares."""
    rows = draw.multinomial(n_units, np.array(list(shares.values())) / sum(shares.values()), times)
    return [dict(zip(shares, row, strict=True)) for row in rows.tolist()]


def alarms(draw: np.random.Generator, n_units: int, shares: dict[str, float]) -> float:
    """The percentage of experiments without a mismatch in which one is seen: exact for two arms."""
    if len(shares) > 2:
        rows = counts(draw, n_units, shares, TIMES)
        return 100 * float(np.mean([sample_ratio(row, shares).is_mismatch for row in rows]))
    (first, share), (second, _) = shares.items()
    around = np.arange(*(n_units * share + side * 7 * np.sqrt(n_units * share) for side in (-1, 1)), dtype=int)
    seen = [sample_ratio({first: n, second: n_units - n}, shares).is_mismatch for n in around.tolist()]
    return 100 * float(binom.pmf(around, n_units, share)[seen].sum())


def main() -> list[Figure]:
    """Simulate, and count."""
    draw = np.random.default_rng(20_260_101)
    figures = [
        Figure(f"false alarms, {n:,} units, {name}", alarms(draw, n, shares), "%", wanted="at most 0.1")
        for name, shares in (("halves", HALVES), ("90, 5 and 5%", UNEVEN))
        for n in (500, 20_000, 1_000_000)
    ]
    segments = [
        sample_ratios({str(number): row for number, row in enumerate(rows)}, HALVES)
        for rows in (counts(draw, 5_000, HALVES, SEGMENTS) for _ in range(3 * TIMES // SEGMENTS))
    ]
    share = 100 * float(np.mean([any(one.is_mismatch for one in found.values()) for found in segments]))
    what = f"experiments with a false alarm in any of {SEGMENTS} segments"
    figures.append(Figure(what, share, "%", wanted="at most 0.1"))
    seen = 500 * np.arange(1, NIGHTS + 1)
    nights = draw.binomial(500, 0.5, (TIMES, NIGHTS)).cumsum(axis=1)
    worst = np.argmax(np.abs(2 * nights - seen) / np.sqrt(seen), axis=1)  # the night of the smallest p
    rows = [
        {"control": int(seen[night]) - new, "new": new}
        for night, new in zip(worst.tolist(), nights[np.arange(TIMES), worst].tolist(), strict=True)
    ]
    for looks, wanted in ((1, ""), (NIGHTS, "at most 0.1")):
        share = 100 * float(np.mean([sample_ratios({"all": row}, HALVES, looks)["all"].is_mismatch for row in rows]))
        what = f"experiments with a false alarm in any of {NIGHTS} nights, looks={looks}"
        figures.append(Figure(what, share, "%", wanted=wanted))
    for name, shares in (("halves", HALVES), ("90, 5 and 5%", UNEVEN)):
        for n_units in (20_000, 1_000_000):
            for arm, lost in list(noticeable_mismatch(n_units, shares).items())[-1:]:
                left = {other: part * (1 - lost * (other == arm)) for other, part in shares.items()}
                rows = counts(draw, round(n_units * sum(left.values())), left, TIMES // 20)
                noticed = 100 * float(np.mean([sample_ratio(row, shares).is_mismatch for row in rows]))
                what = f"{n_units:,} units, {name}: {arm} loses {lost:.2%}, noticed"
                figures.append(Figure(what, noticed, "%", wanted="99"))
    return figures
