"""Who may import whom: read off the sources, so that a wall cannot move unnoticed."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"pyspark", "pandas", "airflow", "pyarrow", "lightgbm", "implicit", "faiss", "great_expectations", "scipy"}
SERVING_MAY = {"litestar", "uvicorn", "msgspec", "click", "limits", "prometheus_client"}
SERVING_MAY |= {"numpy", "lmdb", "redis", "boto3", "botocore", "serving"}


def imported(path: Path) -> set[str]:
    """Return the dotted names that a module imports, at its top or within a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", modules("serving"), ids=lambda path: str(path.relative_to(ROOT)))
def test_serving_imports_the_standard_library_its_framework_store_drivers_and_numpy_alone(path: Path) -> None:
    import sys

    roots = {name.split(".")[0] for name in imported(path)}
    assert roots - sys.stdlib_module_names - SERVING_MAY == set()


@pytest.mark.parametrize("path", modules("jobs"), ids=lambda path: str(path.relative_to(ROOT)))
def test_jobs_reach_into_serving_for_the_record_and_the_stores_alone(path: Path) -> None:
    into_serving = {name for name in imported(path) if name.startswith("serving.")}
    allowed = ("serving.record", "serving.stores")
    assert {name for name in into_serving if not name.startswith(allowed)} == set()
    assert not {name.split(".")[0] for name in imported(path)} & {"airflow", "dags"}


@pytest.mark.parametrize("path", modules("dags"), ids=lambda path: str(path.relative_to(ROOT)))
def test_dags_import_airflow_and_none_of_the_jobs(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & (HEAVY - {"airflow"} | {"jobs", "serving"})


def test_the_rules_are_held_against_real_modules() -> None:
    assert len(modules("serving")) > 5
    assert len(modules("jobs")) > 10
    assert modules("dags")
