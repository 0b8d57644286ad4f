"""What `topshelf experiments` prints."""

from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.experiments.running import running_for
from tests.jobs.experiments.declared import VARIED_HEAD, declared

FILE = VARIED_HEAD + "    shares: {control: 0.5, varied: 0.5}\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "experiments.yaml"
    path.write_text(FILE)
    monkeypatch.setenv("TOPSHELF_EXPERIMENTS", str(path))
    monkeypatch.setenv("COLUMNS", "200")
    return path


def printed(*words: str) -> str:
    result = CliRunner().invoke(app, ["experiments", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("day", "told"),
    [
        (
            "2026-02-28",
            "varied-head not yet 2026-03-01 2026-03-28 ranking user ab control 0.00%, varied 0.00% conversion",
        ),
        (
            "2026-03-01",
            "varied-head runs 2026-03-01 2026-03-28 ranking user ab control 50.00%, varied 50.00% conversion",
        ),
        ("2026-03-29", "varied-head over"),
    ],
)
def test_the_list_says_what_runs_on_a_day(file: Path, day: str, told: str) -> None:
    assert told in " ".join(printed("list", "--on", day).split())


def test_the_arms_of_a_shopper_are_those_that_the_night_gives_them(file: Path) -> None:
    running = running_for(declared(file.parent, FILE), date(2026, 2, 28))
    arm = running.assigner.assigned("anna", b"").arms["varied-head"]
    assert printed("arms-of", "anna", "--on", "2026-03-01") == f"anna on 2026-03-01: varied-head {arm}\n"
    assert "in no experiment" in printed("arms-of", "anna", "--on", "2026-04-01")


def test_without_a_file_it_says_how_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOPSHELF_EXPERIMENTS", raising=False)
    assert "TOPSHELF_EXPERIMENTS" in printed("list")
