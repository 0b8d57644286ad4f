"""What stages print as they go: one fact a line in a log, with a beginning, signs of life and an end."""

import io
import sys
import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from jobs.lake.stage_runs import stage_runs
from jobs.night import progress as progress_module
from jobs.night.console import run_and_print
from jobs.night.progress import StageProgress, place_in_jobs
from jobs.night.run import run_stages
from jobs.night.stages import Stage

DS = date(2026, 1, 27)
LONG = "marts/top_n has no ds=2026-01-27; run topshelf stage rank --ds 2026-01-27, and then this stage again"
WAIT_S = 60.0


class Log(io.StringIO):
    """A log that says when a line with a word has been written."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word, self.came = word, threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.word in text:
            self.came.set()
        return written


def logged(word: str = "") -> tuple[StageProgress, Log]:
    progress, log = StageProgress(), Log(word)
    progress.console.file = log
    return progress, log


def test_a_log_has_a_beginning_one_whole_fact_a_line_and_an_end() -> None:
    progress, log = logged()
    with progress.stage("rank", "scores candidates") as timing:
        timing.note, timing.remarks = "2,000 places", [LONG]
    *lines, end = log.getvalue().splitlines()
    assert lines == ["rank: begins; scores candidates", "rank: 2,000 places", f"rank: {LONG}"]
    assert end.startswith("rank: ended after ")
    assert end.endswith(" MiB")


def test_a_stage_that_fails_says_after_how_long_and_leaves_the_error_to_the_command() -> None:
    progress, log = logged()
    with pytest.raises(ValueError, match="no such"), progress.stage("rank"):
        raise ValueError("no such item")
    assert log.getvalue().splitlines()[-1].startswith("rank: failed after ")


def test_a_stage_that_runs_long_says_so_and_at_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "SILENCE_S", 0.0)
    progress, log = logged("so far")
    with progress.stage("ingest"):
        assert log.came.wait(WAIT_S)
    assert any(line.startswith("ingest: 0 s so far, ") and "MiB" in line for line in log.getvalue().splitlines())


def test_half_a_minute_is_the_longest_silence() -> None:
    assert progress_module.SILENCE_S <= 30


def test_what_a_stage_is_at_is_the_innermost_function_of_a_room_that_is_no_plumbing() -> None:
    namespace: dict[str, Any] = {"__name__": "jobs.staging.ingest"}
    exec("def count_rows(inner):\n    return inner()", namespace)
    plumbing: dict[str, Any] = {"__name__": "jobs.lake.lake", "place": lambda: place_in_jobs(sys._getframe())}
    exec("def write():\n    return place()", plumbing)
    assert namespace["count_rows"](plumbing["write"]) == "jobs.staging.ingest.count_rows"
    assert place_in_jobs(sys._getframe()) == ""


def test_the_first_line_names_the_day_and_the_stages(tmp_path: Path) -> None:
    progress, log = logged()
    with pytest.raises(MissingPartitionError):
        run_stages(Settings.below(tmp_path), Parameters(), DS, ["train_content"], progress)
    assert log.getvalue().splitlines()[0] == "night of 2026-01-27: stages train_content"


def test_a_job_s_last_line_is_its_result(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def one_stage(_settings: Settings, _parameters: Parameters, _ds: date, _names: Any, shown: Any, _: str) -> None:
        with shown.stage("ingest") as timing:
            timing.note = "1 of 1 days built"

    monkeypatch.setattr("jobs.night.console.run_stages", one_stage)
    assert run_and_print(Settings(), Parameters(), DS, ["ingest"])
    assert capsys.readouterr().out.splitlines() == ["2026-01-27: ingest: 1 of 1 days built"]


def test_what_each_stage_took_is_kept_in_the_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rank = Stage("rank", "scores", reads=(), run=lambda _: "2 places\na remark", spark="never")
    monkeypatch.setattr("jobs.night.run.STAGES", (rank,))
    progress, log = logged()
    run_stages(Settings.below(tmp_path), Parameters(), DS, ["rank"], progress)
    assert [(run.stage, run.note) for run in stage_runs(Lake(f"{tmp_path}/lake"), DS)] == [("rank", "2 places")]
    assert log.getvalue().splitlines()[1:4] == ["rank: begins; scores", "rank: 2 places", "rank: a remark"]
