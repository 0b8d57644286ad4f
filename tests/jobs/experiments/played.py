"""Days of an experiment as a lake holds them, written without Spark: units that come back, a planted difference."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from jobs.experiments.unit_sums import COUNTS
from jobs.lake.lake import Lake
from jobs.lake.tables import EXPERIMENT_UNITS, EXPOSURES, INTERACTIONS
from tests.jobs.evaluation.three_shoppers import put

FIRST = date(2026, 3, 1)
_NO_EVENTS = pa.table({"user_id": pa.array([], pa.string())})


def unit_rows(name: str, units: Sequence[str], arm: Sequence[str], **counts: object) -> pa.Table:
    """Return rows of marts/experiment_units; counts that are not given are 0."""
    empty = np.zeros(len(units))
    columns = {column: pa.array(np.asarray(counts.get(column, empty), np.float64)) for column in COUNTS}
    return pa.table(
        {
            "experiment": pa.repeat(name, len(units)),
            "unit_id": pa.array(units, pa.string()),
            "arm": pa.array(arm, pa.string()),
            "device": pa.array(counts.get("device", [None] * len(units)), pa.string()),
            **columns,
        }
    )


def write_day(lake: Lake, day: date, rows: pa.Table) -> None:
    """Write a day of units, as if its events and exposures had been ingested."""
    put(lake, EXPERIMENT_UNITS, day, rows)
    put(lake, EXPOSURES, day, _NO_EVENTS)
    put(lake, INTERACTIONS, day, _NO_EVENTS)


def play(
    lake: Lake,
    days: int,
    rates: Mapping[str, float],
    *,
    name: str = "varied-head",
    users: int = 4_000,
    seed: int = 1,
    first: date = FIRST,
    filled: Mapping[str, float] | None = None,
) -> None:
    """Write days on which a third of each arm's shoppers come, of whom a share given by arm buys for about 100."""
    draw = np.random.default_rng(seed)
    arms = np.repeat(list(rates), users // len(rates))
    ids = np.array([f"u{number}" for number in range(len(arms))])
    for number in range(days):
        comes = draw.random(len(ids)) < 1 / 3
        arm = arms[comes]
        bought = draw.random(len(arm)) < np.array([rates[of] for of in arm])
        spent = np.where(bought, np.round(100 * draw.lognormal(0, 0.5, len(arm))), 0)
        places = np.full(len(arm), 20.0)
        rows = unit_rows(
            name,
            ids[comes].tolist(),
            arm.tolist(),
            device=["phone" if code % 2 else "desktop" for code in np.flatnonzero(comes)],
            request_count=np.ones(len(arm)),
            place_count=places,
            exposure_count=places,
            filled_count=draw.binomial(20, [(filled or {}).get(of, 0.1) for of in arm]),
            click_count=draw.binomial(20, 0.05, len(arm)),
            order_count=bought,
            revenue_minor=spent,
        )
        write_day(lake, first + timedelta(days=number), rows)
