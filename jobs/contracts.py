"""Read a table's contract, `sql/<layer>/<table>.yml`: the one place where its columns, grain and checks stand.

>>> contract("staging/interactions").grain
('ds', 'interaction_id')
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from pyspark.sql.types import StructField, StructType, _parse_datatype_string

from jobs.manifest import SOURCE_ROOT

SQL_ROOT = SOURCE_ROOT / "sql"


@dataclass(frozen=True)
class Column:
    """One column: its Spark type in DDL (`bigint`, `array<string>`), and what it means with its unit."""

    name: str
    type: str
    description: str = ""
    nullable: bool = True
    required: bool = False
    """In landing only: a file without this column is refused."""
    max_bytes: int | None = None
    """In landing only: a row with a longer text is set aside."""


@dataclass(frozen=True)
class Check:
    """One expectation over the table: a kind, its arguments, and whether it fails or warns."""

    kind: str
    arguments: dict[str, Any]
    severity: str


@dataclass(frozen=True)
class Contract:
    """A table's columns (`ds` first, the partition), grain and checks; for staging, also what may land."""

    table: str
    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    checks: tuple[Check, ...]
    landing: tuple[Column, ...]

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        """The columns inside the files: all but `ds`, which is the folder's name."""
        return tuple(column for column in self.columns if column.name != "ds")


class UnknownTableError(LookupError):
    """No contract stands under that name."""


class ContractMismatchError(ValueError):
    """A frame's columns are not those of the table's contract."""


@cache
def contract(table: str) -> Contract:
    """Return the contract of `table` (`<layer>/<name>`).

    Raises:
        UnknownTableError: sql/ holds no such contract.
    """
    path = SQL_ROOT / f"{table}.yml"
    if not path.exists():
        known = sorted(str(found.relative_to(SQL_ROOT).with_suffix("")) for found in SQL_ROOT.glob("*/*.yml"))
        raise UnknownTableError(f"no contract sql/{table}.yml; there are {', '.join(known)}")
    raw = yaml.safe_load(path.read_text())
    return Contract(
        table=table,
        description=raw["description"],
        grain=tuple(raw["grain"]),
        columns=tuple(Column(**column) for column in raw["columns"]),
        checks=tuple(
            Check(kind, arguments if isinstance(arguments, dict) else {"column": arguments}, severity)
            for severity, checks in raw.get("checks", {}).items()
            for check in checks
            for kind, arguments in check.items()
        ),
        landing=tuple(Column(**column) for column in raw.get("landing", [])),
    )


def tables(layer: str = "*") -> list[str]:
    """Return the names of all tables under contract, sorted; of one layer if named."""
    return sorted(str(path.relative_to(SQL_ROOT).with_suffix("")) for path in SQL_ROOT.glob(f"{layer}/*.yml"))


def spark_schema(of: Contract) -> StructType:
    """Return the schema of the table's files, all columns nullable as parquet reads them."""
    return StructType(
        [StructField(column.name, _parse_datatype_string(column.type), True) for column in of.stored_columns]
    )


def check_columns(of: Contract, found: StructType) -> None:
    """Hold a frame's schema against the contract, `ds` left out.

    Raises:
        ContractMismatchError: naming each column that is missing, unknown, or of another type.
    """
    have = {column.name: column.dataType.simpleString() for column in found if column.name != "ds"}
    want = {column.name: column.dataType.simpleString() for column in spark_schema(of)}
    faults = [
        *(f"misses {name} {kind}" for name, kind in want.items() if name not in have),
        *(f"has {name}, which the contract does not name" for name in have if name not in want),
        *(
            f"has {name} as {have[name]}, not {want[name]}"
            for name in want
            if name in have and have[name] != want[name]
        ),
    ]
    if faults:
        raise ContractMismatchError(f"{of.table}: {'; '.join(faults)} (sql/{of.table}.yml)")
