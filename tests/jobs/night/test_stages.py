"""The registry of stages: every table has its stage, docs and DAG follow it, and unknown names are told."""

from datetime import date
from pathlib import Path

import pytest

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.lake.contracts import tables
from jobs.lake.tables import BUILT_BY, remedy, written_by
from jobs.night.console import print_stages, stages_as_markdown
from jobs.night.run import UnknownStageError, run_stages
from jobs.night.stages import STAGES

ROOT = Path(__file__).resolve().parents[3]
NAMES = [stage.name for stage in STAGES]
DS = date(2026, 1, 31)


def test_every_table_and_artifact_is_written_by_one_stage_of_the_night() -> None:
    assert set(tables()) <= set(BUILT_BY)
    assert {built.stage for built in BUILT_BY.values()} <= set(NAMES)
    assert sorted(name for stage in STAGES for name in written_by(stage.name)) == sorted(BUILT_BY)


def test_a_stage_reads_only_what_an_earlier_stage_or_the_shop_has_written() -> None:
    written: set[str] = set()
    for stage in STAGES:
        for name in stage.reads:
            if name.split("/")[0] in ("staging", "features", "artifacts", "marts"):
                assert any(table == name or table.startswith(f"{name}/") for table in written), (stage.name, name)
        written |= set(stage.writes)


def test_the_docs_have_the_stages_as_they_are_declared() -> None:
    assert stages_as_markdown() in (ROOT / "docs" / "data-flow.md").read_text()


def test_the_list_names_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    print_stages()
    printed = capsys.readouterr().out
    assert [name for name in NAMES if name not in printed] == []


def test_days_share_the_locks_of_what_they_share() -> None:
    locks = {stage.name: stage.lock_of(DS) for stage in STAGES}
    assert locks["ingest"] == "staging"
    assert locks["train_content"] == locks["label_windows"] == "features"
    assert locks["candidates"] == locks["publish"] == "ds=2026-01-31"


def test_a_stage_that_does_not_exist_is_refused_before_anything_starts(tmp_path: Path) -> None:
    settings = Settings.below(tmp_path)
    with pytest.raises(UnknownStageError, match=r"no stage is called rnak; the stages are ingest, features"):
        run_stages(settings, Parameters(), DS, ["candidates", "rnak"])
    assert not (tmp_path / "lake").exists()


def test_a_missing_table_names_the_command_that_builds_it() -> None:
    assert remedy("marts/top_n", DS) == "run topshelf stage rank --ds 2026-01-31"
