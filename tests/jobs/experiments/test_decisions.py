"""An experiment that is ended by hand: what is kept, what the next nights do, and how it is taken back."""

from datetime import timedelta
from pathlib import Path

import pytest

from jobs.config.experiments import UnknownExperimentError
from jobs.experiments.analysis import analyse_all
from jobs.experiments.console import end_and_print, print_outcome, undo_and_print
from jobs.experiments.decisions import DecisionError, find_decision, without_ended
from jobs.experiments.running import running_for
from jobs.lake.lake import Lake
from tests.jobs.experiments.declared import VARIED_HEAD, declared
from tests.jobs.experiments.played import FIRST, play

DAY = FIRST + timedelta(days=4)
FILE = VARIED_HEAD + "    shares: {control: 0.5, varied: 0.5}\n"


@pytest.fixture
def judged(lake: Lake, tmp_path: Path) -> Lake:
    play(lake, 5, {"control": 0.05, "varied": 0.2})
    analyse_all(lake, declared(tmp_path, FILE), DAY).write(lake, DAY)
    return lake


def test_an_ended_experiment_is_kept_with_its_numbers_and_has_no_more_arms(
    judged: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = declared(tmp_path, FILE)
    end_and_print(judged, file, "varied-head", DAY, "sells more")
    told = capsys.readouterr().out
    assert "varied-head, varied: ship: conversion rose by" in told
    assert "varied-head was ended with 2026-03-05" in told
    assert "UTC: sells more" in told
    assert "set in [parameters] of topshelf.toml: shelves.blend.mmr_lambda = 0.5" in told
    decision = find_decision(judged, "varied-head")
    assert decision is not None
    assert decision.outcome.units["varied"] > 1_000
    assert decision.declared["varied-head"]["shares"] == {"2026-03-01": {"control": 0.5, "varied": 0.5}}
    ended = without_ended(judged, file)
    assert running_for(ended, DAY - timedelta(days=1)), "its last day of answers"
    assert not running_for(ended, DAY)
    assert running_for(file, DAY), "the file alone knows nothing of it"


def test_it_is_shown_after_its_units_are_gone_and_can_be_taken_back(
    judged: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = declared(tmp_path, FILE)
    end_and_print(judged, file, "varied-head", DAY, "")
    judged.put_json(f"marts/evaluation/ds={DAY}/experiments.json", None)
    capsys.readouterr()
    print_outcome(judged, "varied-head", DAY + timedelta(days=90))
    assert "varied-head, varied: ship" in capsys.readouterr().out
    undo_and_print(judged, "varied-head")
    assert "runs again as its file says" in capsys.readouterr().out
    assert running_for(without_ended(judged, file), DAY)


def test_what_cannot_be_ended_says_why(judged: Lake, tmp_path: Path) -> None:
    file = declared(tmp_path, FILE)
    with pytest.raises(UnknownExperimentError, match="no experiment gone is declared; declared are varied-head"):
        end_and_print(judged, file, "gone", DAY, "")
    with pytest.raises(DecisionError, match="the night of 2026-03-06 did not judge varied-head; run topshelf stage"):
        end_and_print(judged, file, "varied-head", DAY + timedelta(days=1), "")
    with pytest.raises(DecisionError, match="was not ended, so there is nothing to undo"):
        undo_and_print(judged, "varied-head")
    with pytest.raises(DecisionError, match="no night up to 2026-03-01 has judged varied-head"):
        print_outcome(judged, "varied-head", FIRST)
    end_and_print(judged, file, "varied-head", DAY, "")
    with pytest.raises(DecisionError, match="was ended with 2026-03-05"):
        end_and_print(judged, file, "varied-head", DAY, "")
