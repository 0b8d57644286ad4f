"""The kinds of checks that a contract may ask for. A new kind is one more entry of KINDS.

>>> expectation_of(Check("between", {"column": "price_minor", "min": 0}, "fail"))
('ExpectColumnValuesToBeBetween', {'column': 'price_minor', 'min_value': 0, 'max_value': None})
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jobs.lake.contracts import Check

LARGEST = 1.7976931348623157e308
"""The largest finite double."""
ANY_SHARE = 1e-12
"""Less than one row's share of any table, so that one row is enough."""


class UnknownCheckError(ValueError):
    """A contract asks for a kind of check that does not exist."""


@dataclass(frozen=True)
class CheckKind:
    """Both sides of one kind of check: how Great Expectations judges it, and which rows break it."""

    expectation: Callable[[Check], tuple[str, dict[str, object]]]
    """Returns the name of Great Expectations' class, and its arguments."""
    bad_rows: Callable[[Check], str] | None
    """Returns a SELECT of the rows of `given` that break a failed check; None: the check is not about rows."""
    per_column: bool = False
    """Such a check may name several columns; each is checked for itself."""


def kind_of(check: Check) -> CheckKind:
    """Return the kind of a check.

    Raises:
        UnknownCheckError: there is no such kind.
    """
    if check.kind not in KINDS:
        raise UnknownCheckError(f"there is no check {check.kind}; there are {', '.join(sorted(KINDS))}")
    return KINDS[check.kind]


def expectation_of(check: Check) -> tuple[str, dict[str, object]]:
    """Return the name of the Great Expectations class that judges a check, and its arguments.

    Raises:
        UnknownCheckError: there is no such kind.
    """
    return kind_of(check).expectation(check)


def single_checks(checks: Iterable[Check]) -> list[Check]:
    """Split each check that is made of every column for itself into one check a column.

    Raises:
        UnknownCheckError: there is no such kind.
    """
    return [
        single
        for check in checks
        for single in (
            [Check(check.kind, {"column": name}, check.severity) for name in columns_of(check)]
            if kind_of(check).per_column
            else [check]
        )
    ]


def columns_of(check: Check) -> list[str]:
    """Return the columns that a check looks at."""
    named = check.arguments.get("columns") or check.arguments.get("column") or []
    return [named] if isinstance(named, str) else list(named)


def _column(check: Check) -> str:
    return f"`{check.arguments['column']}`"


def _where(condition: str) -> str:
    return f"SELECT * FROM given WHERE {condition}"


def _null_rows(check: Check) -> str:
    return _where(f"{_column(check)} IS NULL")


def _rows_outside(value: str, low: object, high: object) -> str:
    sides = [f"{value} < {low}"] * (low is not None) + [f"{value} > {high}"] * (high is not None)
    return _where(" OR ".join(sides) or "FALSE")


def _text(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def grain_of(check: Check) -> list[str]:
    """Return the columns of a check of uniqueness, without `ds`: it is made of one day."""
    return [name for name in columns_of(check) if name != "ds"]  # a batch is one day


def _unique(check: Check) -> tuple[str, dict[str, object]]:
    grain = grain_of(check)
    if len(grain) > 1:
        return "ExpectCompoundColumnsToBeUnique", {"column_list": grain}
    return "ExpectColumnValuesToBeUnique", {"column": grain[0]}


def _repeated_rows(check: Check) -> str:
    grain = ", ".join(f"`{name}`" for name in grain_of(check))
    return _where(f"({grain}) IN (SELECT {grain} FROM given GROUP BY {grain} HAVING COUNT(*) > 1)")


def _limits(check: Check) -> dict[str, object]:
    return {"min_value": check.arguments.get("min"), "max_value": check.arguments.get("max")}


KINDS = {
    "not_null": CheckKind(
        lambda check: ("ExpectColumnValuesToNotBeNull", {"column": check.arguments["column"]}),
        _null_rows,
        per_column=True,
    ),
    "not_all_null": CheckKind(
        lambda check: (
            "ExpectColumnValuesToNotBeNull",
            {"column": check.arguments["column"], "mostly": ANY_SHARE},
        ),
        _null_rows,
    ),
    "in_set": CheckKind(
        lambda check: (
            "ExpectColumnValuesToBeInSet",
            {"column": check.arguments["column"], "value_set": check.arguments["values"]},
        ),
        lambda check: _where(f"{_column(check)} NOT IN ({', '.join(map(_text, check.arguments['values']))})"),
    ),
    "between": CheckKind(
        lambda check: ("ExpectColumnValuesToBeBetween", {"column": check.arguments["column"], **_limits(check)}),
        lambda check: _rows_outside(_column(check), check.arguments.get("min"), check.arguments.get("max")),
    ),
    "finite": CheckKind(
        lambda check: (
            "ExpectColumnValuesToBeBetween",
            {"column": check.arguments["column"], "min_value": -LARGEST, "max_value": LARGEST},
        ),
        lambda check: _rows_outside(_column(check), f"CAST({-LARGEST} AS DOUBLE)", f"CAST({LARGEST} AS DOUBLE)"),
        per_column=True,
    ),
    "matches": CheckKind(
        lambda check: (
            "ExpectColumnValuesToMatchRegex",
            {"column": check.arguments["column"], "regex": check.arguments["pattern"]},
        ),
        lambda check: _where(f"NOT {_column(check)} RLIKE {_text(check.arguments['pattern'])}"),
    ),
    "length": CheckKind(
        lambda check: (
            "ExpectColumnValueLengthsToBeBetween",
            {"column": check.arguments["column"], **_limits(check)},
        ),
        lambda check: _rows_outside(
            f"LENGTH({_column(check)})", check.arguments.get("min"), check.arguments.get("max")
        ),
    ),
    "row_count": CheckKind(lambda check: ("ExpectTableRowCountToBeBetween", _limits(check)), None),
    "unique": CheckKind(_unique, _repeated_rows),
}
"""By the name that contracts use."""
