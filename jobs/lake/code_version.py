"""The version of the code that builds a table or an artifact: of the modules that its builder imports, and no others.

>>> code_of("jobs.models.content").parts["numpy"]
'2.2.6'

What counts is read from the sources: every module of `jobs` and `serving` that the builder imports, directly or not,
at its top or within a function; the queries that these modules run; and the versions of the libraries that compute.
Of a module its syntax tree counts, and of a query all but its lines of comment: a changed comment or docstring is no
new version.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jobs.lake import tables

SOURCE_ROOT = Path(__file__).resolve().parents[2]
SQL_ROOT = SOURCE_ROOT / "sql"
OURS = ("jobs", "serving")
COMPUTES = {
    "duckdb": "duckdb",
    "faiss": "faiss-cpu",
    "implicit": "implicit",
    "lightgbm": "lightgbm",
    "lleaves": "lleaves",
    "numpy": "numpy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "pyspark": "pyspark",
    "scipy": "scipy",
    "sqlglot": "sqlglot",
}
"""Libraries whose version may change a result, by import name: the distribution's name.

JAX is not among them: it is optional, and its version is a parameter of the towers where they are trained.
"""
VALUES_ARE_RECORDED = (
    "jobs.config.parameters",
    "jobs.config.settings",
    "jobs.config.fields",
    "jobs.config.configuration",
)
"""Modules that only hold values: a manifest records the values that shaped a table, so their code does not count."""
_QUERY = re.compile(r"(staging|features|marts)/[a-z_]+")
_RUN_QUERIES = {"jobs.spark.engine", "jobs.spark.queries"}


@dataclass(frozen=True)
class CodeVersion:
    """One digest over `parts`: SHA-256 of each module and query, and versions of libraries, by name."""

    digest: str
    parts: Mapping[str, str]


@dataclass(frozen=True)
class _Module:
    sha256: str
    imports: frozenset[str]
    """Modules of OURS, and top-level names of libraries."""
    queries: frozenset[str]


@cache
def code_of(*modules: str) -> CodeVersion:
    """Return the version of what these modules import, themselves included."""
    waiting, found = list(modules), dict[str, _Module]()
    while waiting:
        name = waiting.pop()
        if name not in found and not name.startswith(VALUES_ARE_RECORDED):
            found[name] = _read(name)
            waiting += [imported for imported in found[name].imports if imported.split(".")[0] in OURS]
    parts = {name: module.sha256 for name, module in found.items()}
    for query in {query for module in found.values() for query in module.queries}:
        parts[f"sql/{query}.sql"] = hashlib.sha256(_statement(SQL_ROOT / f"{query}.sql").encode()).hexdigest()
    for library in {name for module in found.values() for name in module.imports} & set(COMPUTES):
        parts |= _library(library)
    return CodeVersion(_digest(parts), dict(sorted(parts.items())))


@cache
def builder_version(name: str) -> CodeVersion:
    """Return the version of what builds a table or an artifact: its module as in BUILT_BY, and its contract."""
    code = code_of(tables.BUILT_BY[name].module)
    contract = SQL_ROOT / f"{name}.yml"
    if not contract.exists():
        return code
    parts = {**code.parts, f"sql/{name}.yml": hashlib.sha256(contract.read_bytes()).hexdigest()}
    return CodeVersion(_digest(parts), parts)


def _digest(parts: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{name}={parts[name]}" for name in sorted(parts)).encode()).hexdigest()


def _library(name: str) -> dict[str, str]:
    try:
        return {name: version(COMPUTES[name])}
    except PackageNotFoundError:
        return {}  # optional, and not installed


def _statement(query: Path) -> str:
    """Return a query without its lines of comment."""
    return "\n".join(line for line in query.read_text().splitlines() if not line.lstrip().startswith("--"))


def _path_of(module: str) -> Path | None:
    """Return a module's file, or None for a name that is no module."""
    base = SOURCE_ROOT / module.replace(".", "/")
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


@cache
def _read(module: str) -> _Module:
    path = _path_of(module)
    assert path is not None, module
    tree = ast.parse(path.read_bytes())
    imports, table_names = set(_imported(tree)), set(_tables_named(tree))
    queries = {name for name in table_names if (SQL_ROOT / f"{name}.sql").exists()} if imports & _RUN_QUERIES else {}
    _drop_docstrings(tree)
    return _Module(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), frozenset(imports), frozenset(queries))


def _imported(tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports: OURS whole, libraries by their top-level name, nothing for type checkers alone."""
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name if alias.name.split(".")[0] in OURS else alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] not in OURS:
                yield node.module.split(".")[0]
                continue
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [name for name in submodules if _path_of(name)]
            yield from known
            if len(known) < len(submodules):
                yield node.module


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from _nodes(child)


def _tables_named(tree: ast.AST) -> Iterator[str]:
    """Yield the table names that a module spells out or takes from `jobs.lake.tables`."""
    for node in _nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _QUERY.fullmatch(node.value):
            yield node.value
        elif isinstance(node, ast.ImportFrom) and node.module == tables.__name__:
            for alias in node.names:
                yield from _texts_in(getattr(tables, alias.name))


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for text in value.values() if isinstance(text, str))
    elif isinstance(value, tuple):
        yield from (text for text in value if isinstance(text, str))


def _drop_docstrings(tree: ast.AST) -> None:
    """Drop every bare string: docstrings, and those that stand below a constant or a field."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                body[:] = [line for line in body if not _is_bare_string(line)]


def _is_bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
