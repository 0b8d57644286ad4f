"""The units of one experiment while its days are added up, as arrays.

>>> units = read_units(lake, "varied-head", experiment, days)
>>> for day in units.days:
...     units.add(day)
...     units.sums["order_count"]
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.experiments import Experiment
from jobs.lake.lake import Lake
from jobs.lake.tables import EXPERIMENT_UNITS, INTERACTIONS
from jobs.numeric.arrays import Flags, Values, Whole

COUNTS = (
    "request_count",
    "short_count",
    "place_count",
    "filled_count",
    "exposure_count",
    "click_count",
    "credit",
    "order_count",
    "revenue_minor",
    "session_count",
    "session_seconds",
    "session_item_count",
)
NO_DEVICE = "unknown device"
BEFORE_DAYS = 28
"""Days before the start whose purchases explain a part of those after it."""


@dataclass
class UnitSums:
    """Units of an experiment, and what they did up to a day. [units, arms] unless said otherwise."""

    arms: Sequence[str]
    days: Sequence[date]
    ids: pa.Array
    """[units]"""
    device: pa.Array
    """[units], as at their first answer."""
    crossed: int
    """Units that were seen in two arms of a test, and are left out."""
    _rows: list[tuple[Whole, Whole, dict[str, Values]]]
    """By day: unit and arm of each row, and its counts."""
    sums: dict[str, Values] = field(default_factory=dict)
    seen: Flags = field(default_factory=lambda: np.empty((0, 0), np.bool_))
    unit_days: float = 0.0
    """Rows so far: one for each unit and day on which it came."""

    def __post_init__(self) -> None:
        shape = (len(self.ids), len(self.arms))
        self.sums = {name: np.zeros(shape) for name in COUNTS}
        self.seen = np.zeros(shape, np.bool_)

    def add(self, day: date) -> None:
        """Add one of `days`; days come in their order."""
        unit, arm, counts = self._rows[self.days.index(day)]
        for name, values in counts.items():
            self.sums[name][unit, arm] += values  # a unit and an arm stand in one row of a day
        self.seen[unit, arm] = True
        self.unit_days += len(np.unique(unit))


def read_units(lake: Lake, name: str, one: Experiment, arms: Sequence[str], days: Sequence[date]) -> UnitSums:
    """Return the units of an experiment over some days, none of them added yet.

    Raises:
        MissingPartitionError: a day was not built.
    """
    columns = ["experiment", "unit_id", "arm", "device", *COUNTS]
    tables = []
    for number, day in enumerate(days):
        rows = lake.arrow(EXPERIMENT_UNITS, day, columns)
        rows = rows.filter(pc.and_(pc.equal(rows["experiment"], name), pc.is_in(rows["arm"], pa.array(list(arms)))))
        tables.append(rows.append_column("day", pa.array(np.full(len(rows), number), pa.int64())))
    rows = pa.concat_tables(tables)
    ids = pc.unique(rows["unit_id"])
    unit = _code(rows["unit_id"], ids)
    arm = _code(rows["arm"], pa.array(list(arms)))
    crossed = 0
    if one.kind == "ab":
        first, last = np.full(len(ids), len(arms)), np.full(len(ids), -1)
        np.minimum.at(first, unit, arm)
        np.maximum.at(last, unit, arm)
        is_crossed = first != last
        crossed = int(is_crossed.sum())
        if crossed:
            rows = rows.filter(pa.array(~is_crossed[unit]))
            ids = pc.unique(rows["unit_id"])
            unit, arm = _code(rows["unit_id"], ids), _code(rows["arm"], pa.array(list(arms)))
    day = rows["day"].to_numpy()
    counts = {column: rows[column].to_numpy().astype(np.float64) for column in COUNTS}
    by_day = []
    for number in range(len(days)):
        of_day = np.flatnonzero(day == number)
        by_day.append((unit[of_day], arm[of_day], {column: values[of_day] for column, values in counts.items()}))
    return UnitSums(arms, days, ids, _devices(rows, ids), crossed, by_day)


def _code(values: pa.ChunkedArray, known: pa.Array) -> Whole:
    return np.asarray(pc.index_in(values, value_set=known).to_numpy(), np.int64)


def _devices(rows: pa.Table, ids: pa.Array) -> pa.Array:
    """Return each unit's first known device, in the order of `ids`; rows stand in the order of days."""
    known = rows.filter(pc.is_valid(rows["device"]))
    first = known.group_by("unit_id", use_threads=False).aggregate([("device", "first")])
    found = first["device_first"].combine_chunks().take(pc.index_in(ids, value_set=first["unit_id"].combine_chunks()))
    return pc.fill_null(found, NO_DEVICE)


@dataclass(frozen=True)
class Before:
    """What units did before an experiment began, [units]."""

    revenue_minor: Values
    order_count: Values


def read_before(lake: Lake, first_day: date, ids: pa.Array) -> Before | None:
    """Return what shoppers bought in the BEFORE_DAYS before a day; None where none of those days is staged."""
    wanted = {first_day - timedelta(days=back) for back in range(1, BEFORE_DAYS + 1)}
    staged = [day for day in lake.days(INTERACTIONS) if day in wanted]
    if not staged:
        return None
    revenue, orders = np.zeros(len(ids)), np.zeros(len(ids))
    for day in staged:
        rows = lake.arrow_where(
            INTERACTIONS, day, "event_type", ["purchase"], ["user_id", "quantity", "unit_price_minor"]
        )
        unit = pc.index_in(rows["user_id"], value_set=ids)
        rows = rows.append_column("unit", unit).filter(pc.is_valid(unit))
        codes = rows["unit"].to_numpy().astype(np.int64)
        pieces = pc.fill_null(pc.cast(rows["quantity"], pa.float64()), 1.0)
        price = pc.fill_null(pc.cast(rows["unit_price_minor"], pa.float64()), 0.0)
        revenue += np.bincount(codes, np.rint(pc.multiply(pieces, price).to_numpy()), len(ids))
        orders += np.bincount(codes, minlength=len(ids))
    return Before(revenue, orders)
