"""DAG files import Airflow and each other alone; jobs and serving are held by the contracts of import-linter."""

import ast
import sys
from pathlib import Path

import pytest

DAGS = sorted((Path(__file__).resolve().parents[2] / "dags").rglob("*.py"))
OURS = {path.stem for path in DAGS}


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.name)
def test_dags_import_airflow_and_none_of_the_jobs(path: Path) -> None:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    assert roots - set(sys.stdlib_module_names) - OURS <= {"airflow"}
