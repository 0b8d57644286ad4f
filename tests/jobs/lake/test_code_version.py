"""The version of a builder's code: what it imports counts, and nothing else."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs.lake import code_version
from jobs.lake.code_version import CodeVersion, builder_version, code_of
from jobs.lake.tables import BUILT_BY, CANDIDATES, CF, CONTENT, EXPLORATION, INTERACTIONS, ITEM, RANKER, TOP_N
from jobs.night.identity import CODE

Change = Callable[[str, str, str], None]


def forget() -> None:
    for cached in (code_version.code_of, code_version.builder_version, code_version._read):
        cached.cache_clear()


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Change]:
    """Replace a text in one file of a copy of the sources, which is what counts until the test ends."""
    for folder in ("jobs", "serving", "sql"):
        shutil.copytree(code_version.SOURCE_ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pyc*"))
    monkeypatch.setattr(code_version, "SOURCE_ROOT", tmp_path)
    monkeypatch.setattr(code_version, "SQL_ROOT", tmp_path / "sql")
    forget()

    def replace(path: str, old: str, new: str) -> None:
        text = (tmp_path / path).read_text()
        assert old in text
        (tmp_path / path).write_text(text.replace(old, new))
        forget()

    yield replace
    forget()


def versions() -> dict[str, str]:
    return {name: builder_version(name).digest for name in BUILT_BY} | {"run id": code_of(*CODE).digest}


@pytest.mark.parametrize(
    "module", ["jobs.reporting.plots", "jobs.evaluation.baselines", "jobs.cli", "jobs.night.run"]
)
def test_no_table_and_no_snapshot_depends_on_reports_evaluations_or_commands(module: str) -> None:
    assert [name for name in BUILT_BY if module in builder_version(name).parts] == []
    assert module not in code_of(*CODE).parts


def test_every_builder_is_a_module_whose_version_can_be_told() -> None:
    assert all(built.module in builder_version(name).parts for name, built in BUILT_BY.items())


def test_imports_within_functions_queries_contracts_and_libraries_count() -> None:
    assert "jobs.models.als_spark" in builder_version(CF).parts
    assert "serving.snapshot.contents" in builder_version(EXPLORATION).parts
    assert {"sql/staging/interactions.sql", "sql/staging/interactions.yml"} <= builder_version(
        INTERACTIONS
    ).parts.keys()
    assert "sql/features/item.sql" in builder_version(ITEM).parts
    assert builder_version(CONTENT).parts["numpy"] == np.__version__


def test_a_changed_comment_or_docstring_is_no_new_version(change: Change) -> None:
    before = versions()
    change("jobs/reporting/plots.py", "\ndef ", "\n# another comment\ndef ")
    change("jobs/candidates/lists.py", '"""The list that', '"""In other words: the list that')
    change("jobs/models/als.py", "\ndef ", "\n# another comment\ndef ")
    change("sql/staging/items.sql", "-- Params:", "-- Another comment.\n-- Params:")
    assert versions() == before


def test_a_changed_constant_is_a_new_version_of_what_uses_it_and_named(change: Change) -> None:
    before, parts = versions(), builder_version(CANDIDATES).parts
    change("jobs/candidates/lists.py", '"bought_before": 200', '"bought_before": 201')
    after = versions()
    changed = {name for name in before if after[name] != before[name]}
    assert {CANDIDATES, TOP_N, RANKER, "run id"} <= changed
    assert changed.isdisjoint({CF, CONTENT, ITEM, INTERACTIONS, EXPLORATION})
    now = builder_version(CANDIDATES).parts
    assert [name for name in now if now[name] != parts[name]] == ["jobs.candidates.lists"]


def test_a_changed_query_is_a_new_version_of_its_table(change: Change) -> None:
    before = versions()
    change("sql/staging/items.sql", "SELECT", "SELECT /* another */")
    changed = {name for name, version in versions().items() if version != before[name]}
    assert "staging/items" in changed
    assert CONTENT not in changed


def test_a_changed_filter_of_labels_is_a_new_version_of_the_labels(change: Change) -> None:
    before = versions()
    change("jobs/training/windows.py", "HELD_OUT_SHARE = 5", "HELD_OUT_SHARE = 6")
    changed = {name for name, version in versions().items() if version != before[name]}
    assert {"marts/labels", "marts/shown", "run id"} <= changed
    assert changed.isdisjoint({ITEM, CF, CANDIDATES})


def test_an_installed_jax_is_no_part_as_the_towers_record_its_version_where_they_use_it() -> None:
    assert "jobs.models.towers_jax" in builder_version("artifacts/towers").parts
    assert "jax" not in code_of(*CODE).parts


def test_a_missing_optional_library_is_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise code_version.PackageNotFoundError(name)

    forget()
    monkeypatch.setattr(code_version, "version", absent)
    try:
        assert isinstance(code_of("jobs.models.content"), CodeVersion)
        assert "numpy" not in code_of("jobs.models.content").parts
    finally:
        forget()
