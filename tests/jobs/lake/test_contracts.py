"""Contracts: one place for columns, and a frame is held to them."""

import pyarrow as pa
import pytest
from pyspark.sql import types as T

from jobs.lake.contracts import (
    ContractMismatchError,
    UnknownTableError,
    arrow_type,
    check_columns,
    contract,
    spark_schema,
    spark_type,
    tables,
)
from jobs.lake.tables import STAGED_AS


@pytest.mark.parametrize("table", tables())
def test_a_contract_names_only_columns_that_it_has(table):
    of = contract(table)
    names = [column.name for column in of.columns]
    assert names[0] == "ds"
    assert len(names) == len(set(names))
    assert set(of.grain) <= set(names)
    for check in of.checks:
        asked = check.arguments.get("columns") or [check.arguments.get("column", "ds")]
        assert set(asked) <= set(names), check
        assert check.severity in ("fail", "warn")
    assert len(spark_schema(of)) == len(names) - 1


@pytest.mark.parametrize("table", STAGED_AS.values())
def test_what_may_land_requires_what_staging_cannot_be_without(table):
    of = contract(table)
    made_here = {"ds", "interaction_id", "event_date", "deleted"}
    needed = {column.name for column in of.columns if not column.nullable} - made_here
    assert needed == {column.name for column in of.landing if column.required}
    assert all(column.max_bytes for column in of.landing if column.type == "string")


def test_an_unknown_table_is_told_with_those_that_exist():
    with pytest.raises(UnknownTableError, match=r"no contract sql/staging/itms.yml; there are .*staging/items"):
        contract("staging/itms")


def test_types_are_read_without_a_session():
    assert spark_type("decimal(18,2)") == T.DecimalType(18, 2)
    assert spark_type("map<string,string>") == T.MapType(T.StringType(), T.StringType())
    assert spark_type("array<double>") == T.ArrayType(T.DoubleType())
    with pytest.raises(ValueError, match="type 'varchar' is none of string"):
        spark_type("varchar")


@pytest.mark.parametrize("table", tables())
def test_every_column_has_an_arrow_type_so_that_a_table_without_rows_can_be_read(table):
    for column in contract(table).columns:
        assert isinstance(arrow_type(column.type), pa.DataType), column.name


def test_times_are_of_utc_in_arrow():
    assert arrow_type("timestamp") == pa.timestamp("us", tz="UTC")


def test_a_frame_that_breaks_its_contract_is_told_column_by_column():
    of = contract("staging/users")
    wrong = [field for field in spark_schema(of) if field.name != "region"]
    wrong[0] = T.StructField("user_id", T.LongType())
    with pytest.raises(ContractMismatchError) as told:
        check_columns(of, T.StructType([*wrong, T.StructField("colour", T.StringType())]))
    for part in ("misses region string", "has user_id as bigint, not string", "has colour", "sql/staging/users.yml"):
        assert part in str(told.value)
