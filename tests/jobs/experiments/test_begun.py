"""A running experiment is held to what it began with."""

from datetime import date
from pathlib import Path

import pytest

from jobs.config.experiments import Experiments
from jobs.experiments.begun import ExperimentChangedError, hold_to_begun
from jobs.lake.lake import Lake
from tests.jobs.experiments.declared import declared
from tests.jobs.experiments.test_buckets import ONE

FIRST, LATER = date(2026, 2, 28), date(2026, 3, 9)


@pytest.fixture
def begun(lake: Lake, tmp_path: Path) -> Lake:
    hold_to_begun(lake, declared(tmp_path, ONE), FIRST)
    hold_to_begun(lake, declared(tmp_path, ONE), LATER)
    return lake


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("to: 2026-03-28", "to: 2026-03-31"),
        ("2026-03-22:", "2026-03-24:"),
        ("2026-03-22: {control: 0.20, varied: 0.20}", "2026-03-22: {control: 0.5, varied: 0.5}"),
    ],
)
def test_the_last_day_and_later_steps_may_change(begun: Lake, tmp_path: Path, before: str, after: str) -> None:
    assert before in ONE
    hold_to_begun(begun, declared(tmp_path, ONE.replace(before, after)), LATER)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("mmr_lambda: 0.5", "mmr_lambda: 0.6", "changed: arms;"),
        ("layer: ranking", "layer: other", "changed: layer;"),
        ("2026-03-08: {control: 0.20", "2026-03-08: {control: 0.30", "changed: shares of days up to 2026-03-10;"),
        ("2026-03-08:", "2026-03-09:", "changed: shares of days up to 2026-03-10;"),
    ],
)
def test_anything_else_is_refused_with_the_remedy(
    begun: Lake, tmp_path: Path, before: str, after: str, told: str
) -> None:
    assert before in ONE
    with pytest.raises(ExperimentChangedError, match=told) as caught:
        hold_to_begun(begun, declared(tmp_path, ONE.replace(before, after)), LATER)
    assert "varied-head runs since 2026-03-01" in str(caught.value)
    assert "shares may get steps from 2026-03-10 on" in str(caught.value)
    hold_to_begun(begun, declared(tmp_path, ONE), LATER)


def test_an_older_night_that_is_run_again_agrees(begun: Lake, tmp_path: Path) -> None:
    hold_to_begun(begun, declared(tmp_path, ONE), FIRST)


def test_the_order_of_arms_says_which_is_the_control(begun: Lake, tmp_path: Path) -> None:
    turned = ONE.replace("      control: {}\n", "").replace(
        "mmr_lambda: 0.5}}\n", "mmr_lambda: 0.5}}\n      control: {}\n"
    )
    with pytest.raises(ExperimentChangedError, match="changed: the order of its arms"):
        hold_to_begun(begun, declared(tmp_path, turned), LATER)


def test_without_experiments_nothing_is_written(lake: Lake, tmp_path: Path) -> None:
    hold_to_begun(lake, Experiments(), FIRST)
    assert not (tmp_path / "lake").exists()
