"""Every check of a contract is made, reported with rows, and stops the run only where it says `fail`."""

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from jobs.checks.kinds import KINDS, UnknownCheckError, expectation_of, single_checks
from jobs.checks.report import page_path, report_path
from jobs.checks.validate import (
    ValidationFailedError,
    check_rows,
    table_remedy,
    validate,
)
from jobs.lake.contracts import Check, Contract, contract, spark_schema, tables
from jobs.lake.tables import BUILT_BY
from jobs.spark import engine
from jobs.spark.engine import OnSpark
from jobs.spark.in_process import InProcess

DAY = date(2026, 1, 1)
ITEMS, USERS = "staging/items", "staging/users"


@pytest.fixture
def frame(spark):
    """Rows of four columns, each check's fault somewhere in them."""
    rows = [
        ("a", 1, 0.5, "x/y"),
        ("b", 2, float("nan"), "x"),
        ("b", 2, 1e9, None),
        (None, -7, None, "UPPER"),
    ]
    return spark.createDataFrame(rows, "item_id string, rank int, score double, category string")


@pytest.fixture(params=["duckdb", "spark"])
def checked(request, frame, spark):
    """Return the results of checks, as if a contract had them, by each engine that finds what decides them."""

    def results_of(*checks: Check, rows=frame):
        table = Contract("marts/given", "", ("ds", "item_id"), (), checks, ())
        with OnSpark(spark) if request.param == "spark" else InProcess() as of:
            given = rows if request.param == "spark" else of.table(rows.toArrow())
            return check_rows(table, of, given)

    return results_of


def items(spark, *rows):
    schema = spark_schema(contract(ITEMS))
    given = ({"item_id": name, "price_minor": price, "stock": 1, "deleted": False} for name, price in rows)
    return spark.createDataFrame([tuple(row.get(name) for name in schema.names) for row in given], schema)


def users(spark):
    """No rows of users, under their day."""
    return spark.createDataFrame([], spark_schema(contract(USERS))).selectExpr("DATE'2026-01-01' AS ds", "*")


def test_each_kind_of_check_counts_the_rows_that_break_it(checked):
    expected = {
        "not_null": ({"columns": ["item_id", "category"]}, [1, 1]),
        "not_all_null": ({"column": "item_id"}, [None]),
        "unique": ({"columns": ["ds", "item_id", "rank"]}, [2]),
        "in_set": ({"column": "item_id", "values": ["a"]}, [2]),
        "between": ({"column": "rank", "min": 0, "max": 1}, [3]),
        "finite": ({"columns": ["score"]}, [1]),
        "matches": ({"column": "category", "pattern": "^[a-z/]+$"}, [1]),
        "length": ({"column": "category", "max": 3}, [1]),
    }
    results = checked(*(Check(kind, arguments, "fail") for kind, (arguments, _) in expected.items()))
    assert [result.bad_rows for result in results] == [count for _, counts in expected.values() for count in counts]
    assert set(expected) | {"row_count"} == set(KINDS), "a kind of check has no test"
    assert [result.passed for result in results] == [result.bad_rows is None for result in results]
    between = next(result for result in results if result.check.startswith("between"))
    assert between.examples == ["item_id=None, rank=-7", "item_id=b, rank=2", "item_id=b, rank=2"]


def test_a_table_that_meets_its_checks_passes_them_all(checked, frame):
    good = frame.where("item_id = 'a'")
    kinds = [
        Check("unique", {"columns": ["ds", "item_id"]}, "fail"),
        Check("row_count", {"min": 1, "max": 1}, "fail"),
        Check("between", {"column": "score", "max": 1}, "fail"),
    ]
    assert [result.passed for result in checked(*kinds, rows=good)] == [True] * 3


def test_an_empty_table_fails_only_a_count_of_rows(checked, frame):
    results = checked(
        Check("not_null", {"columns": ["item_id"]}, "fail"),
        Check("not_all_null", {"column": "item_id"}, "warn"),
        Check("unique", {"columns": ["ds", "item_id"]}, "fail"),
        Check("row_count", {"min": 1}, "fail"),
        rows=frame.where("false"),
    )
    assert [result.passed for result in results] == [True, True, True, False]
    assert results[-1].detail == "it has 0 rows"


def test_a_column_of_nothing_but_nulls_is_reported(checked, frame):
    (result,) = checked(Check("not_all_null", {"column": "score"}, "warn"), rows=frame.where("item_id IS NULL"))
    assert (result.passed, result.severity, result.bad_rows) == (False, "warn", 1)


def test_a_check_of_a_column_that_is_not_there_fails_and_says_so(checked):
    (result,) = checked(Check("not_null", {"columns": ["colour"]}, "fail"))
    assert not result.passed
    assert "colour" in result.detail


def test_a_failed_check_stops_the_run_with_the_table_the_check_the_count_and_rows(spark, lake):
    lake.write(items(spark, ("mug", -5), ("cup", 3)), ITEMS, DAY, inputs={})
    with pytest.raises(ValidationFailedError) as stopped:
        validate(lake, [ITEMS], DAY)
    message = str(stopped.value)
    assert "ds=2026-01-01: staging/items breaks between (column price_minor, min 0): 1 rows" in message
    assert "item_id=mug, price_minor=-5" in message
    assert "land the day again, then run topshelf stage ingest --ds 2026-01-01" in message
    stored = lake.get_json("marts/validation/ds=2026-01-01/by-hand.json")
    failed = [check for check in stored["results"] if not check["passed"]]
    assert [(check["check"], check["bad_rows"]) for check in failed] == [("between (column price_minor, min 0)", 1)]


def test_a_warning_is_reported_and_stops_nothing(spark, lake):
    rows = [("i", None, None, "s", "mug", "view", None, DAY, None, None, None, None, None, None, None, None, None)]
    frame = spark.createDataFrame(rows, spark_schema(contract("staging/interactions")))
    lake.write(
        frame.selectExpr("* EXCEPT (ts)", "TIMESTAMP'2026-01-01' AS ts"), "staging/interactions", DAY, inputs={}
    )
    report = validate(lake, ["staging/interactions"], DAY)
    assert [warning.check for warning in report.warnings] == ["not_all_null (column user_id)"]
    assert "warning: staging/interactions breaks not_all_null (column user_id): 1 rows" in str(report)


def test_a_day_of_no_rows_is_checked_like_any_other(spark, lake):
    lake.write_days(items(spark).selectExpr("DATE'2026-01-01' AS ds", "*"), ITEMS, [DAY], inputs={DAY: {}})
    assert validate(lake, [ITEMS], DAY).failures == []


@pytest.mark.parametrize("table", tables())
def test_every_contract_has_only_checks_that_exist(table):
    assert all(expectation_of(check) for check in single_checks(contract(table).checks))


@pytest.mark.parametrize("table", tables())
def test_the_remedy_for_a_table_names_the_stage_that_builds_it(table):
    assert table_remedy(table, DAY).endswith(f" run topshelf stage {BUILT_BY[table].stage} --ds 2026-01-01")


def test_the_remedy_for_a_feature_names_its_query_and_for_a_mart_its_module():
    assert "sql/features/user.sql" in table_remedy("features/user", DAY)
    assert "jobs.shelves.top_n" in table_remedy("marts/top_n", DAY)


def test_an_unknown_check_is_refused_with_those_that_exist():
    with pytest.raises(UnknownCheckError, match="there is no check roundish; there are between, finite, in_set"):
        expectation_of(Check("roundish", {}, "fail"))


def test_the_stored_results_keep_their_keys(spark, lake):
    lake.write_days(users(spark), USERS, [DAY], inputs={DAY: {}})
    validate(lake, [USERS], DAY)
    stored = json.loads(Path(lake.root, report_path(DAY, "by-hand")).read_text())
    assert (stored["ds"], stored["run"], stored["row_counts"]) == ("2026-01-01", "by-hand", {USERS: 0})
    assert set(stored) == {"ds", "run", "row_counts", "results"}
    assert stored["results"][0] == {
        "table": USERS,
        "check": "not_null (column user_id)",
        "severity": "fail",
        "passed": True,
        "bad_rows": None,
        "told": "",
        "examples": [],
    }


@pytest.mark.parametrize("limit", [0, 100_000_000])
def test_a_large_table_is_checked_on_spark_and_a_small_one_here_and_both_find_the_same(
    spark, lake, monkeypatch, limit
):
    monkeypatch.setattr(engine, "MOST_ROWS_HERE", limit)
    lake.write(items(spark, ("mug", -5), ("cup", 3), ("cup", 4), ("jar", None)), ITEMS, DAY, inputs={})
    with pytest.raises(ValidationFailedError):
        validate(lake, [ITEMS], DAY)
    results = lake.get_json(report_path(DAY, "by-hand"))["results"]
    assert {result["check"]: result["bad_rows"] for result in results if result["bad_rows"] is not None} == {
        "between (column price_minor, min 0)": 1,
        "unique (columns ['ds', 'item_id'])": 2,
    }


def test_a_small_table_needs_no_spark(spark, lake, monkeypatch):
    lake.write(items(spark, ("mug", 5), ("cup", -3)), ITEMS, DAY, inputs={})
    monkeypatch.setattr(engine, "session", lambda: pytest.fail("Spark was started"))
    with pytest.raises(ValidationFailedError, match="item_id=cup, price_minor=-3"):
        validate(lake, [ITEMS], DAY)


def test_each_runs_results_are_a_page_that_needs_nothing_else_and_shows_what_failed(spark, lake):
    lake.write(items(spark, ("<b>mug</b>", -5), ("cup", 3)), ITEMS, DAY, inputs={})
    lake.write_days(users(spark), USERS, [DAY], inputs={DAY: {}})
    with pytest.raises(ValidationFailedError, match=r"marts/validation/ds=2026-01-01/first\.html"):
        validate(lake, [ITEMS, USERS], DAY, "first")
    validate(lake, [USERS], DAY, "second")
    first, second = (Path(lake.root, page_path(DAY, run)).read_text() for run in ("first", "second"))
    assert "stopped the night" in first
    assert "&lt;b&gt;mug&lt;/b&gt;" in first
    assert first.index(ITEMS) < first.index(USERS)
    assert "let the night go on" in second
    assert ITEMS not in second
    for text in (first, second):
        assert not re.search(r"\b(src|href|url)\b", text), "it would load something"


def test_tables_can_be_judged_where_the_main_module_has_no_file() -> None:
    program = (
        "import pandas as pd\n"
        "from jobs.checks.expectations import judge\n"
        "from jobs.checks.kinds import single_checks\n"
        "from jobs.lake.contracts import Check\n"
        "checks = single_checks([Check('not_null', {'columns': ['rank']}, 'fail')])\n"
        "print(judge(pd.DataFrame({'rank': [1]}), 'marts/given', checks))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "passed=True" in done.stdout
