"""Read a table's contract, `sql/<layer>/<table>.yml`: where its columns, grain and checks stand.

>>> contract("staging/interactions").grain
('ds', 'interaction_id')
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from pyspark.sql import types as T

from jobs.lake.code_version import SQL_ROOT


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
    """In landing only: a longer text is not read; a longer id sets its row aside."""
    image_address: bool = False
    """In landing only: a text that is no address of a picture, as `jobs.landing.image_address` says, is not read."""
    max_length: int | None = None
    """In landing only, of a list of numbers: a longer one is not read."""
    min: int | None = None
    """In landing only: a number below is not read; in a required column it sets its row aside."""
    values: tuple[str, ...] = ()
    """In landing only: a row with another text is set aside."""
    listed_as: str | None = None
    """In landing only: the list that holds this column's values in a row that stands for several."""


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
    landing_needs: tuple[str, ...] = ()
    """Of these landing columns a row must have one."""

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
        landing=tuple(
            Column(**column | {"values": tuple(column.get("values", ()))}) for column in raw.get("landing", [])
        ),
        landing_needs=tuple(raw.get("landing_needs", ())),
    )


def tables(layer: str = "*") -> list[str]:
    """Return the names of all tables under contract, sorted; of one layer if named."""
    return sorted(str(path.relative_to(SQL_ROOT).with_suffix("")) for path in SQL_ROOT.glob(f"{layer}/*.yml"))


_SIMPLE_TYPES: dict[str, T.DataType] = {
    "string": T.StringType(),
    "int": T.IntegerType(),
    "bigint": T.LongType(),
    "float": T.FloatType(),
    "double": T.DoubleType(),
    "boolean": T.BooleanType(),
    "date": T.DateType(),
    "timestamp": T.TimestampType(),
}


def spark_type(ddl: str) -> T.DataType:
    """Return the Spark type of a DDL word; PySpark's own parser wants a running session.

    Raises:
        ValueError: the contract names a type that tables here do not use.
    """
    if ddl in _SIMPLE_TYPES:
        return _SIMPLE_TYPES[ddl]
    match = re.fullmatch(r"array<(.+)>|map<string,(.+)>|decimal\((\d+),(\d+)\)", ddl)
    if match is None:
        raise ValueError(f"type {ddl!r} is none of {', '.join(_SIMPLE_TYPES)}, array<…>, map<string,…>, decimal(p,s)")
    element, value, precision, scale = match.groups()
    if element:
        return T.ArrayType(spark_type(element))
    return T.MapType(T.StringType(), spark_type(value)) if value else T.DecimalType(int(precision), int(scale))


def arrow_type(ddl: str) -> Any:
    """Return the Arrow type of a DDL word."""
    from pyspark.sql.pandas.types import to_arrow_type

    return to_arrow_type(spark_type(ddl), timezone="UTC")


def arrow_schema(of: Contract) -> Any:
    """Return the Arrow schema of the table's files."""
    import pyarrow as pa

    return pa.schema([(column.name, arrow_type(column.type)) for column in of.stored_columns])


def spark_schema(of: Contract) -> T.StructType:
    """Return the schema of the table's files, all columns nullable as parquet reads them."""
    return T.StructType([T.StructField(column.name, spark_type(column.type), True) for column in of.stored_columns])


def check_names(of: Contract, found: Iterable[str]) -> None:
    """Hold the names of columns against the contract, `ds` left out.

    Raises:
        ContractMismatchError: naming each column that is missing or unknown.
    """
    have, want = [name for name in found if name != "ds"], [column.name for column in of.stored_columns]
    faults = [f"misses {name}" for name in want if name not in have]
    faults += [f"has {name}, which the contract does not name" for name in have if name not in want]
    if faults:
        raise ContractMismatchError(f"{of.table}: {'; '.join(faults)} (sql/{of.table}.yml)")


def check_columns(of: Contract, found: T.StructType) -> None:
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
