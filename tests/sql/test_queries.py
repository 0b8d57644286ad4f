"""Every query of `sql/`, on the cases of `tests/sql/<layer>.<table>.yml`: rows given, rows expected.

A case gives rows by view. A view that it does not give is empty, or is built from the given ones by the query that
builds it in a run (`events` from `interactions`, `item` from `events` and `latest_item`). Columns left out are null.
An event without `ds` or `ts` came in on its own day, at noon. Landed rows stand in the order given.
Expected rows name the grain and whatever columns the case is about.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from jobs.config.parameters import Parameters
from jobs.features.counting import BEFORE_ALL, ITEM_LIMIT, SHOPPER_LIMIT
from jobs.lake.code_version import SQL_ROOT
from jobs.lake.contracts import check_columns, contract, spark_schema, spark_type, tables
from jobs.shelves.fallback import LENGTHS, PRICE_WINDOW_DAYS
from jobs.spark.in_process import InProcess, View
from jobs.spark.queries import QueryBindingError, QueryError, query, read_query

STAGED = {
    "interactions": "staging/interactions",
    "items": "staging/items",
    "users": "staging/users",
    "exposures": "staging/exposures",
}
BUILT = {
    "followed_exposures": "marts/followed_exposures",
    "acts": "features/counted_events",
    "labels": "marts/labels",
    "usual_price": "marts/usual_price",
    "held_out_pairs": "marts/held_out_pairs",
}
"""Views that a query of another layer, or of another name, builds."""
PLAIN_VIEWS = {
    "least_ages": "item_id string, least_age int",
    "band_ages": "age_band string, age int",
    "withheld": "user_id string, item_id string",
    "earlier": "event_id string, event_date date, ds date",
    "declared": "experiment string, unit string, kind string",
    "known_units": "experiment string, arm string, unit_id string",
    "shelves": "user_id string, item_id string, rank int",
    "logged_shelves": "snapshot string, user_id string, item_id string, rank int",
}
"""Views that come from neither a table nor a query."""
WEIGHTS = Parameters().features.event_weight_milli.by_event_type()
DEFAULTS: dict[str, Any] = {
    **{f"weight_{event_type}_milli": weight for event_type, weight in WEIGHTS.items()},
    **LENGTHS,
    "window_days": PRICE_WINDOW_DAYS,
    "list_length": Parameters().shelves.own_list_length,
    "after": BEFORE_ALL,
    "item_limit": ITEM_LIMIT,
    "shopper_limit": SHOPPER_LIMIT,
    "partial": True,
}
FAULT = T.StructType([T.StructField("reason", T.StringType()), T.StructField("column_name", T.StringType())])
CASE_FILES = sorted(Path(__file__).parent.glob("*.*.yml"))
CASES = [(path.stem.replace(".", "/"), case) for path in CASE_FILES for case in yaml.safe_load(path.read_text())]


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


def rows_of(spark: SparkSession, schema: T.StructType, rows: list[dict[str, Any]]) -> DataFrame:
    unknown = {name for row in rows for name in row} - set(schema.names)
    assert not unknown, f"no such column: {', '.join(sorted(unknown))}"
    return spark.createDataFrame(
        [tuple(typed(row.get(field.name), field.dataType) for field in schema.fields) for row in rows], schema
    )


def typed(value: Any, of_type: T.DataType) -> Any:
    """Return a value of a case as createDataFrame takes it: times are UTC, money and quantities are exact."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    return Decimal(str(value)) if isinstance(of_type, T.DecimalType) and value is not None else value


def table_schema(table: str) -> T.StructType:
    return T.StructType([T.StructField("ds", T.DateType()), *spark_schema(contract(table)).fields])


def landed_schema(table: str) -> T.StructType:
    """Return the columns of `jobs.landing.rows.landed_rows`."""
    landing = [T.StructField(column.name, spark_type(column.type)) for column in contract(table).landing]
    return (
        T.StructType([T.StructField("ds", T.DateType()), T.StructField("path", T.StringType()), *landing])
        .add("local_day", T.DateType())
        .add("fault", FAULT)
        .add("raw", T.StringType())
        .add("row_sha256", T.StringType())
        .add("unread", T.StructType().add("columns", T.StringType()).add("example", T.StringType()))
        .add("absent", T.ArrayType(T.StringType()))
        .add("line", T.LongType())
        .add("row_order", T.LongType())
    )


def filled(table: str, row: dict[str, Any], number: int, ds: date) -> dict[str, Any]:
    if table == "staging/interactions":
        day = row["event_date"]
        return {"ds": day, "ts": datetime.combine(day, time(12)), "interaction_id": str(number), **row}
    if table == "staging/exposures":
        return {"ds": row["ts"].date(), **row}
    defaults = {"deleted": False} if table in ("staging/items", "staging/users") else {"ds": ds}
    return defaults | row


def hash_of(row: dict[str, Any]) -> str:
    """Return what equal rows share, wherever they stand."""
    return repr(sorted((name, value) for name, value in row.items() if name not in ("ds", "path", "row_order")))


def frame_of(
    spark: SparkSession, view: str, query_name: str, case: dict[str, Any], built: dict[str, Any]
) -> DataFrame:
    """Return a view of a case: its given rows, or what its query makes of the others."""
    given = case["given"].get(view)
    if view == "landed":
        own = {"ds": case["params"]["ds"], "path": "a.csv"}
        rows = [{**own, "row_order": n, "row_sha256": hash_of(row), **row} for n, row in enumerate(given)]
        rows = [{"local_day": row["ts"].date(), **row} if "ts" in row else row for row in rows]
        return rows_of(spark, landed_schema(query_name), rows)
    if view in PLAIN_VIEWS:
        return spark.createDataFrame([tuple(row.values()) for row in given or []], PLAIN_VIEWS[view])
    if view not in built:
        table = STAGED.get(view) or BUILT.get(view) or f"features/{view}"
        if given is not None or view in STAGED:
            rows = [filled(table, row, n, case["params"]["ds"]) for n, row in enumerate(given or [])]
            built[view] = rows_of(spark, table_schema(table), rows)
        else:
            built[view] = run(spark, table, case, built)
    return built[view]


def run(spark: SparkSession, name: str, case: dict[str, Any], built: dict[str, DataFrame]) -> DataFrame:
    """Return what the query makes of a case, after its columns are checked against the table's contract, if any."""
    text = read_query(name)
    views = {view: frame_of(spark, view, name, case, built) for view in sorted(text.reads)}
    params = {param: (DEFAULTS | case["params"])[param] for param in text.parameters}
    frame = query(spark, name, views, params)
    if name not in tables():
        return frame
    stored = [column.name for column in contract(name).stored_columns]
    if name.startswith("staging"):
        check_columns(contract(name), frame.select(*stored).schema)
        return frame
    check_columns(contract(name), frame.schema)
    return frame.selectExpr(f"DATE'{case['params']['ds']}' AS ds", *[f"`{column}`" for column in frame.columns])


def sort_key(row: dict[str, Any], columns: list[str]) -> tuple[tuple[bool, Any], ...]:
    return tuple((row[column] is not None, row[column]) for column in columns)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case['name']}" for name, case in CASES])
def test_case(small: SparkSession, name: str, case: dict[str, Any]) -> None:
    found = [row.asDict(recursive=True) for row in run(small, name, case, {}).collect()]
    assert_duckdb_gives(found, small, name, case)
    expected = case["expect"]
    if name in tables() and not name.startswith("staging"):
        key = [column for column in contract(name).grain if column != "ds"]
    else:
        key = sorted(set.intersection(*map(set, expected))) if expected else []
    where = {column: value if isinstance(value, list) else [value] for column, value in case.get("where", {}).items()}
    kept = [row for row in found if all(row[column] in values for column, values in where.items())]
    kept.sort(key=lambda row: sort_key(row, key))
    expected = sorted(expected, key=lambda row: sort_key(row, key))
    assert [sort_key(row, key) for row in kept] == [sort_key(row, key) for row in expected]
    for got, want in zip(kept, expected, strict=True):
        assert {column: got[column] for column in want} == {
            column: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
            for column, value in want.items()
        }


class InDuckDb:
    """Runs the queries of one case in DuckDB; what a case gives goes through the same Spark frames."""

    def __init__(self, spark: SparkSession, engine: InProcess) -> None:
        self.spark, self.engine, self.built = spark, engine, {}  # type: ignore[var-annotated]

    def view(self, name: str, query_name: str, case: dict[str, Any]) -> View:
        if name not in self.built:
            if name in STAGED or name in PLAIN_VIEWS or name == "landed" or case["given"].get(name) is not None:
                self.built[name] = self.engine.table(frame_of(self.spark, name, query_name, case, {}).toArrow())
            else:
                self.built[name] = self.run(BUILT.get(name) or f"features/{name}", case)
        return self.built[name]

    def run(self, name: str, case: dict[str, Any]) -> View:
        text = read_query(name)
        views = {view: self.view(view, name, case) for view in sorted(text.reads)}
        found = self.engine.query(
            name, views, {param: (DEFAULTS | case["params"])[param] for param in text.parameters}
        )
        if name not in tables() or name.startswith("staging"):
            return found
        rows = self.engine.typed(found, contract(name))
        return self.engine.table(rows.append_column("ds", pa.array([case["params"]["ds"]] * len(rows), pa.date32())))


def comparable(value: Any) -> Any:
    """Return a value as both engines give it: a map of Arrow is a list of pairs, a time without a zone is UTC."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return dict(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return int(value) if isinstance(value, Decimal) and value == int(value) else value


def assert_duckdb_gives(rows: list[dict[str, Any]], spark: SparkSession, name: str, case: dict[str, Any]) -> None:
    """Assert that DuckDB gives the rows that Spark gave, in every column."""
    with InProcess() as engine:
        found = engine.arrow(InDuckDb(spark, engine).run(name, case)).to_pylist()
    here, there = (
        sorted(repr(sorted((column, comparable(value)) for column, value in row.items())) for row in of)
        for of in (found, rows)
    )
    assert here == there


def queries() -> list[str]:
    return sorted(str(path.relative_to(SQL_ROOT).with_suffix("")) for path in SQL_ROOT.glob("*/*.sql"))


@pytest.mark.parametrize("name", queries())
def test_a_query_is_one_select_that_uses_what_its_header_names(name: str) -> None:
    text = read_query(name).text
    statement = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    assert statement.lstrip().startswith(("SELECT", "WITH"))
    assert ";" not in statement
    assert "grain: (" in text.partition("SELECT")[0], "the header does not name its grain"


@pytest.mark.parametrize("name", queries())
def test_every_query_has_cases(name: str) -> None:
    assert name in {table for table, _ in CASES}


def test_every_file_of_cases_is_of_a_query() -> None:
    assert {name for name, _ in CASES} <= set(queries())


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
        ("-- Reads: t\nSELECT a FROM (SELECT DISTINCT * FROM t)\n", "selects \\*"),
        ("-- Params: :ds DATE\n-- Reads: t\nSELECT a FROM {{ t }} WHERE ds = :ds\n", "Jinja"),
        ("-- Reads: t\nSELECT a FROM t WHERE ds = :ds\n", "uses ds and its header's Params names none"),
        ("-- Params: :ds DATE, :gone INT\n-- Reads: t\nSELECT a FROM t WHERE ds = :ds\n", "names ds, gone"),
        ("-- Reads: t\nSELECT t.a FROM t JOIN u ON u.a = t.a\n", "uses t, u and its header's Reads names t"),
        ("-- Reads: t, u\nSELECT a FROM t\n", "uses t and its header's Reads names t, u"),
        ("-- Reads: t\nSELECT a FROM t; SELECT a FROM t\n", "not one SELECT"),
        ("-- Reads: t\nINSERT INTO u SELECT a FROM t\n", "not one SELECT"),
        ("-- Reads: t\nDROP TABLE t\n", "not one SELECT"),
        ("-- Reads: t\n", "not one SELECT"),
        ("-- Reads: t\nSELECT a FROM t WHERE (\n", "does not parse"),
    ],
)
def test_a_query_that_breaks_a_rule_is_refused(sql_folder: Path, text: str, fault: str) -> None:
    (sql_folder / "odd.sql").write_text(text)
    with pytest.raises(QueryError, match=fault):
        read_query("layer/odd")


def test_a_count_of_rows_a_cast_and_a_time_in_quotes_break_no_rule(sql_folder: Path) -> None:
    text = "-- Params: :ds DATE\n-- Reads: t\nSELECT COUNT(*), a * b, c::INT, '12:30 :no' FROM t WHERE ds = :ds\n"
    (sql_folder / "fine.sql").write_text(text)
    assert read_query("layer/fine").parameters == {"ds"}


def test_names_of_with_aliases_and_hints_are_not_read(sql_folder: Path) -> None:
    (sql_folder / "fine.sql").write_text(
        "-- Reads: t, u\nWITH t_days AS (SELECT a FROM t), u AS (SELECT a FROM u)\n"
        "SELECT /*+ BROADCAST(d) */ d.a FROM t_days AS d JOIN u ON u.a = d.a WHERE EXISTS (SELECT 1 FROM t)\n"
    )
    assert read_query("layer/fine").reads == {"t", "u"}


def test_a_changed_file_is_read_again(sql_folder: Path) -> None:
    (sql_folder / "odd.sql").write_text("-- Reads: t\nSELECT a FROM t\n")
    assert read_query("layer/odd").reads == {"t"}
    (sql_folder / "odd.sql").write_text("-- Reads: u\nSELECT a FROM u\n")
    assert read_query("layer/odd").reads == {"u"}


def test_a_missing_and_an_unknown_binding_are_refused_by_name(small: SparkSession) -> None:
    events = small.createDataFrame([], "user_id string")
    with pytest.raises(QueryBindingError, match="misses parameter ds and does not know parameter day"):
        query(small, "features/item", {}, {"day": date(2026, 1, 31)})
    with pytest.raises(
        QueryBindingError, match="misses view latest_item, user_item_history and does not know view odd"
    ):
        query(small, "features/item", {"events": events, "odd": events}, {"ds": date(2026, 1, 31)})
