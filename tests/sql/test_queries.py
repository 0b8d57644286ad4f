"""Every query of `sql/`, on the cases of `tests/sql/<layer>.<table>.yml`: rows given, rows expected.

A case gives rows by view; what it does not give is empty, or is built from what it gives by the query that builds it
in a run (`events` from `interactions`, `item` from `events` and `items`). Columns left out are null. An event left
without `ds` or `ts` came in on its own day, at noon. Expected rows name the grain and
whatever columns the case is about.
"""

from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from jobs.config.parameters import Parameters
from jobs.features.catalogue import NEW_ITEM_DAYS
from jobs.lake.contracts import SQL_ROOT, check_columns, contract, spark_schema, tables
from jobs.shelves.fallback import SHELF_LENGTH
from jobs.spark.queries import QueryBindingError, QueryError, query, read_query

STAGED = {"interactions": "staging/interactions", "items": "staging/items", "users": "staging/users"}
MADE_BY_RULES = {"least_ages": "item_id string, least_age int", "band_ages": "age_band string, age int"}
LAYERS = {"features": ("events", "user_item_history", "item", "user", "user_item", "user_category", "session_item")}
WEIGHTS = Parameters().features.event_weight_milli.by_event_type()
DEFAULTS: dict[str, Any] = {
    **{f"weight_{kind}_milli": weight for kind, weight in WEIGHTS.items()},
    **{f"{kind}_weight": weight for kind, weight in WEIGHTS.items()},
    "shelf_length": SHELF_LENGTH,
    "new_item_days": NEW_ITEM_DAYS,
}
CASE_FILES = sorted(Path(__file__).parent.glob("*.*.yml"))
CASES = [(path.stem.replace(".", "/"), case) for path in CASE_FILES for case in yaml.safe_load(path.read_text())]
BOUND_HERE = ("features", "marts")


@pytest.fixture(scope="module")
def small(spark: SparkSession) -> Iterator[SparkSession]:
    """The session set for a handful of rows: one partition, one plan, nothing compiled."""
    chosen = {
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    before = {name: spark.conf.get(name) for name in chosen}
    for name, value in chosen.items():
        spark.conf.set(name, value)
    yield spark
    for name, old in before.items():
        spark.conf.set(name, old or "")


def rows_of(spark: SparkSession, table: str, rows: list[dict[str, Any]], ds: date) -> DataFrame:
    """Return the rows as a frame typed by the contract, `ds` first."""
    schema = T.StructType([T.StructField("ds", T.DateType()), *spark_schema(contract(table)).fields])
    unknown = {name for row in rows for name in row} - set(schema.names)
    assert not unknown, f"{table} has no column {', '.join(sorted(unknown))}"
    return spark.createDataFrame(
        [tuple(filled(table, row, ds).get(name) for name in schema.names) for row in rows], schema
    )


def filled(table: str, row: dict[str, Any], ds: date) -> dict[str, Any]:
    if table == "staging/interactions":
        day = row["event_date"]
        return {"ds": day, "ts": datetime.combine(day, time(12)), **row}
    defaults = {"deleted": False} if table in ("staging/items", "staging/users") else {"ds": ds}
    return defaults | row


def frame_of(spark: SparkSession, view: str, case: dict[str, Any], built: dict[str, DataFrame]) -> DataFrame:
    """Return a view of a case: its given rows, or what its query makes of the others."""
    ds = case["params"]["ds"]
    if view in MADE_BY_RULES:
        return spark.createDataFrame(
            [tuple(row.values()) for row in case["given"].get(view, [])], MADE_BY_RULES[view]
        )
    if view not in built:
        given = case["given"].get(view)
        table = STAGED.get(view) or f"features/{view}"
        if given is not None or view in STAGED:
            built[view] = rows_of(spark, table, given or [], ds)
        else:
            built[view] = run(spark, table, case, built)
    return built[view]


def run(spark: SparkSession, name: str, case: dict[str, Any], built: dict[str, DataFrame]) -> DataFrame:
    text = read_query(name)
    views = {view: frame_of(spark, view, case, built) for view in sorted(text.reads)}
    params = {param: (DEFAULTS | case["params"])[param] for param in text.parameters}
    frame = query(spark, name, views, params)
    if name.split("/")[1] in ("events", "user_item_history"):
        return frame
    check_columns(contract(name), frame.schema)
    return frame.selectExpr(f"DATE'{case['params']['ds']}' AS ds", *[f"`{column}`" for column in frame.columns])


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case['name']}" for name, case in CASES])
def test_case(small: SparkSession, name: str, case: dict[str, Any]) -> None:
    found = [row.asDict(recursive=True) for row in run(small, name, case, {}).collect()]
    wanted = case["expect"]
    grain = [column for column in contract(name).grain if column != "ds"]
    kept = [row for row in found if all(row[key] == value for key, value in case.get("where", {}).items())]

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[column] for column in grain)

    columns = sorted({column for row in wanted for column in row})
    assert [key(row) for row in sorted(kept, key=key)] == [key(row) for row in sorted(wanted, key=key)]
    for got, want in zip(sorted(kept, key=key), sorted(wanted, key=key), strict=True):
        named = {column: got[column] for column in columns if column in want}
        assert named == {
            column: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
            for column, value in want.items()
        }


def queries() -> list[str]:
    return sorted(str(path.relative_to(SQL_ROOT).with_suffix("")) for path in SQL_ROOT.glob("*/*.sql"))


@pytest.mark.parametrize("name", [name for name in queries() if name.startswith(BOUND_HERE)])
def test_a_query_is_one_select_that_binds_just_what_its_header_names(name: str) -> None:
    found = read_query(
        name
    )  # raises where the header's Params are not those of the statement, on Jinja and on SELECT *
    statement = "\n".join(line for line in found.text.splitlines() if not line.lstrip().startswith("--"))
    assert statement.lstrip().startswith(("SELECT", "WITH"))
    assert ";" not in statement
    assert found.reads, "the header has no Reads"
    assert all(f" {view}" in statement for view in found.reads)


@pytest.mark.parametrize("name", [*list(tables("features")), "marts/fallback"])
def test_every_table_built_by_a_query_has_cases(name: str) -> None:
    assert name in {table for table, _ in CASES}


@pytest.fixture
def sql_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "layer").mkdir()
    monkeypatch.setattr("jobs.spark.queries.SQL_ROOT", tmp_path)
    return tmp_path / "layer"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("-- Params: :ds DATE\n-- Reads: t\nSELECT * FROM t WHERE ds = :ds\n", "selects \\*"),
        ("-- Params: :ds DATE\n-- Reads: t\nSELECT t.* FROM t WHERE ds = :ds\n", "selects \\*"),
        ("-- Params: :ds DATE\n-- Reads: t\nSELECT a, t.* FROM t WHERE ds = :ds\n", "selects \\*"),
        ("-- Params: :ds DATE\n-- Reads: t\nSELECT a FROM {{ t }} WHERE ds = :ds\n", "Jinja"),
        ("-- Reads: t\nSELECT a FROM t WHERE ds = :ds\n", "uses ds and its header's Params names none"),
        ("-- Params: :ds DATE, :gone INT\n-- Reads: t\nSELECT a FROM t WHERE ds = :ds\n", "names ds, gone"),
    ],
)
def test_a_query_that_breaks_a_rule_is_refused(sql_folder: Path, text: str, fault: str) -> None:
    (sql_folder / "odd.sql").write_text(text)
    with pytest.raises(QueryError, match=fault):
        read_query("layer/odd")


def test_a_count_of_rows_a_cast_and_a_time_in_quotes_break_no_rule(sql_folder: Path) -> None:
    text = "-- Params: :ds DATE\n-- Reads: t\nSELECT COUNT(*), a * b, c::INT, '12:30' FROM t WHERE ds = :ds\n"
    (sql_folder / "fine.sql").write_text(text)
    assert read_query("layer/fine").parameters == {"ds"}


def test_a_missing_and_an_unknown_binding_are_refused_by_name(small: SparkSession) -> None:
    events = small.createDataFrame([], "user_id string")
    with pytest.raises(QueryBindingError, match="misses parameter ds and does not know parameter day"):
        query(small, "features/item", {}, {"day": date(2026, 1, 31)})
    with pytest.raises(QueryBindingError, match="misses view items, user_item_history and does not know view odd"):
        query(small, "features/item", {"events": events, "odd": events}, {"ds": date(2026, 1, 31)})
