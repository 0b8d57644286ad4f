"""Find the few values of a table that decide its checks, in one pass over its rows; Great Expectations judges those.

>>> frames = witnesses(engine, rows, single_checks(contract("marts/top_n").checks))

A column whose values lie between limits, or in a set, or are never null, is one whose smallest and largest values do,
or each of its different ones, and that has no null. A grain is unique where no group of it has two rows. So a frame
of a handful of rows gets the verdict that the table of millions would get, and the same expectations give it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from jobs.checks.kinds import columns_of, grain_of
from jobs.lake.contracts import Check
from jobs.spark.engine import Engine, Rows

BY_LIMITS = ("between", "finite")
BY_VALUES = ("in_set", "matches", "length")
OF_THE_TABLE = ("row_count",)


@dataclass(frozen=True)
class Witnesses:
    """A frame, over pandas with Arrow's types, and the checks that are judged on it."""

    checks: Sequence[Check]
    frame: pd.DataFrame


def witnesses(engine: Engine, rows: Rows, checks: Sequence[Check]) -> list[Witnesses]:
    """Return frames for all `checks`, each of which is about one column, one grain, or the number of rows."""
    columns = set(engine.columns(rows))
    of_grains = [check for check in checks if check.kind == "unique"]
    of_table = [check for check in checks if check.kind in OF_THE_TABLE]
    of_values = [check for check in checks if check not in of_grains and check not in of_table]
    count, values = _values(engine, rows, [check for check in of_values if columns.issuperset(columns_of(check))])
    frames = [Witnesses(of_values, _frame(values))] if of_values else []
    frames += [Witnesses([check], _grain_frame(engine, rows, check)) for check in of_grains]
    if of_table:
        frames.append(Witnesses(of_table, pd.DataFrame(index=pd.RangeIndex(count))))
    return frames


def _values(engine: Engine, rows: Rows, checks: Iterable[Check]) -> tuple[int, dict[str, pa.Array]]:
    """Return how many rows there are, and the witnesses of each column that `checks` name."""
    kinds: dict[str, set[str]] = {}
    for check in checks:
        kinds.setdefault(columns_of(check)[0], set()).add(check.kind)
    parts = ["COUNT(*) AS row_count"]
    for number, (column, of_column) in enumerate(kinds.items()):
        parts.append(f"COUNT(`{column}`) AS present_{number}")
        if of_column & {*BY_LIMITS}:
            parts += [f"MIN(`{column}`) AS low_{number}", f"MAX(`{column}`) AS high_{number}"]
        if of_column & {*BY_VALUES}:
            parts.append(f"COLLECT_SET(`{column}`) AS values_{number}")
    found = engine.arrow(engine.select(f"SELECT {', '.join(parts)} FROM given", {"given": rows})).combine_chunks()
    count = found["row_count"][0].as_py()
    return count, {column: _witnesses_of(found, number, count) for number, column in enumerate(kinds)}


def _witnesses_of(found: pa.Table, number: int, count: int) -> pa.Array:
    """Return a column's smallest and largest value and its different ones, as far as they are asked, and a null."""
    values = []
    if f"values_{number}" in found.column_names:
        values.append(found[f"values_{number}"].combine_chunks().flatten())
    values += [
        found[name].combine_chunks() for name in (f"low_{number}", f"high_{number}") if name in found.column_names
    ]
    if not values:
        values = [pa.array([True])]
    present = found[f"present_{number}"][0].as_py()
    told = pa.concat_arrays([part.cast(values[0].type) for part in values]).drop_null() if present else None
    some = values[0].slice(0, 0) if told is None else told
    return pa.concat_arrays([some, pa.nulls(1, some.type)]) if present < count else some


def _frame(values: Mapping[str, pa.Array]) -> pd.DataFrame:
    """Return the columns side by side; the shorter ones repeat their first value."""
    length = max((len(column) for column in values.values()), default=0)
    columns = {
        name: column.take(
            pa.array([n if n < len(column) else 0 for n in range(length if len(column) else 0)], pa.int64())
        )
        for name, column in values.items()
    }
    return pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)


def _grain_frame(engine: Engine, rows: Rows, check: Check) -> pd.DataFrame:
    """Return two rows of a group that has more than one, else one row of any, else none."""
    grain = [f"`{name}`" for name in grain_of(check)]
    known = " OR ".join(f"{name} IS NOT NULL" for name in grain)
    listed = ", ".join(grain)
    repeated = f"SELECT {listed} FROM given WHERE {known} GROUP BY {listed} HAVING COUNT(*) > 1 LIMIT 1"
    found = engine.arrow(engine.select(repeated, {"given": rows}))
    if len(found):
        found = pa.concat_tables([found, found])
    else:
        found = engine.arrow(engine.select(f"SELECT {listed} FROM given LIMIT 1", {"given": rows}))
    return found.to_pandas(types_mapper=pd.ArrowDtype)
