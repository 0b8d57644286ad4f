"""Run a query of `sql/`: bind its views and named parameters, and hold both against its header comment.

    query(spark, "features/user", {"interaction_days": days, "users": users}, {"ds": date(2026, 1, 31)})

A query is one SELECT. Its header names what it takes: `-- Params: :ds DATE …`, and `-- Reads: interactions, users`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs.lake.code_version import SQL_ROOT

_PARAMETER = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")


class QueryError(ValueError):
    """A query's text breaks a rule of `sql/`."""


class QueryBindingError(ValueError):
    """A query was given other views or parameters than it names."""


@dataclass(frozen=True)
class Query:
    """A query's text, the parameters that its statement uses, and what its header names."""

    name: str
    text: str
    parameters: frozenset[str]
    header_parameters: frozenset[str]
    reads: frozenset[str]


def query(spark: SparkSession, name: str, views: Mapping[str, DataFrame], params: Mapping[str, Any]) -> DataFrame:
    """Return `sql/<name>.sql` over `views` with `params` bound; lazily, as Spark does.

    Raises:
        QueryError: the text has Jinja, `SELECT *`, or a header that does not name its parameters.
        QueryBindingError: a view or a parameter is missing, or is one that the query does not know.
    """
    found = read_query(name)
    _same(name, "parameter", found.parameters, params)
    _same(name, "view", found.reads, views)
    for view, frame in views.items():
        frame.createOrReplaceTempView(view)
    return spark.sql(found.text, args=dict(params))


def read_query(name: str) -> Query:
    """Return the query `<layer>/<table>`, its rules checked.

    Raises:
        QueryError: the text breaks one of them.
    """
    text = (SQL_ROOT / f"{name}.sql").read_text()
    header, statement = split_header(text)
    bare = re.sub(r"--[^\n]*|'[^']*'", " ", statement)
    if "{{" in text or "{%" in text:
        raise QueryError(f"sql/{name}.sql has Jinja; bind a named parameter (:name) instead")
    if re.search(r"\bSELECT\s+(DISTINCT\s+)?(\w+\.)?\*|,\s*(\w+\.)?\*", bare, re.IGNORECASE):
        raise QueryError(f"sql/{name}.sql selects *; name the columns")
    parameters = frozenset(_PARAMETER.findall(bare))
    named, reads = _header_sections(header)
    if parameters != named:
        raise QueryError(
            f"sql/{name}.sql uses {_list(parameters)} and its header's Params names {_list(named)}; align them"
        )
    return Query(name, text, parameters, named, reads)


def split_header(text: str) -> tuple[str, str]:
    """Return the leading comment without its dashes, and the rest."""
    match = re.match(r"(?:--[^\n]*\n)*", text)
    end = match.end() if match else 0
    return re.sub(r"^--", "  ", text[:end], flags=re.MULTILINE), text[end:]


def _header_sections(header: str) -> tuple[frozenset[str], frozenset[str]]:
    params = re.search(r"Params:(.*?)(?:Reads:|\Z)", header, re.DOTALL)
    reads = re.search(r"Reads:(.*)", header, re.DOTALL)
    return (
        frozenset(re.findall(r"(?:^|\s):(\w+)", params.group(1)) if params else []),
        frozenset(re.findall(r"\w+", reads.group(1)) if reads else []),
    )


def _same(name: str, kind: str, wanted: frozenset[str], given: Mapping[str, Any]) -> None:
    missing, extra = wanted - set(given), set(given) - wanted
    faults = [
        *([f"misses {kind} {_list(missing)}"] if missing else []),
        *([f"does not know {kind} {_list(extra)}"] if extra else []),
    ]
    if faults:
        raise QueryBindingError(f"sql/{name}.sql {' and '.join(faults)}; it takes {_list(wanted)}")


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
