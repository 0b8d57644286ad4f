"""Published implementations that ours are compared with. They are in no image and not in .venv."""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

BUILD = Path(__file__).parents[3] / "build"


def beside(name: str) -> Path:
    """The folder of what tests/requirements-NAME.lock installs; skip, or in CI fail, where it is missing."""
    folder = BUILD / name
    if not folder.is_dir():
        give_up = pytest.fail if os.environ.get("TOPSHELF_REQUIRE_ORACLES") else pytest.skip
        lock = f"tests/requirements-{name}.lock"
        give_up(f"{name} are missing: run uv pip install --no-deps --target build/{name} -r {lock}")
    return folder


def oracle(module: str) -> ModuleType:
    """Import a module of statsmodels or tea-tasting. What .venv has goes before what lies beside it."""
    folder = str(beside("oracles"))
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(module)
