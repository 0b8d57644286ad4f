"""Which earlier days teach the ranker."""

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.config.calendar import window_days
from jobs.config.parameters import Parameters
from jobs.training import windows as label_windows
from jobs.training.windows import build

FIRST = date(2026, 1, 1)
CHOSEN = Parameters().with_values(
    {"training.horizon_days": 14, "training.windows.max_count": 3, "training.windows.min_history_days": 21}
)


def test_the_newest_window_stands_on_the_last_sunday_whose_horizon_is_over() -> None:
    assert window_days(FIRST, date(2026, 5, 3), CHOSEN)[0] == date(2026, 4, 19)  # both Sundays
    assert window_days(FIRST, date(2026, 5, 2), CHOSEN)[0] == date(2026, 4, 12)


def test_the_nights_of_a_week_share_their_windows() -> None:
    week = [window_days(FIRST, date(2026, 5, 3) + timedelta(days=n), CHOSEN) for n in range(8)]
    assert week[:7] == [week[0]] * 7
    assert week[7] == [day + timedelta(days=7) for day in week[0]]


def test_older_windows_follow_back_to_back_while_there_is_history_before_them() -> None:
    assert window_days(FIRST, date(2026, 5, 3), CHOSEN) == [date(2026, 4, 19), date(2026, 4, 5), date(2026, 3, 22)]
    young = date(2026, 3, 20)
    assert window_days(young, date(2026, 5, 3), CHOSEN) == [date(2026, 4, 19)]
    assert window_days(young, date(2026, 4, 20), CHOSEN) == []


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what builds the windows of a night when each holds so many labels: which train, and which calibrate."""

    def windows(labels_each: int, **more: object) -> tuple[int, int]:
        frame = SimpleNamespace(unpersist=lambda: None, persist=lambda _: frame)
        monkeypatch.setattr(label_windows, "visible", lambda *_: frame)
        monkeypatch.setattr(label_windows, "build_window", lambda *_: SimpleNamespace(row_count=labels_each))
        lake: Any = SimpleNamespace(manifest=lambda *_: None, days=lambda _: [FIRST])
        limits = {"training.windows.max_count": 5, "training.windows.enough_labels": 50}
        chosen = CHOSEN.with_values(limits | more)
        found = build(None, lake, date(2026, 5, 3), chosen)  # type: ignore[arg-type]
        assert [window.ds for window in found] == sorted({window.ds for window in found}, reverse=True)
        assert not any(window.calibrates for window in found[:-1])
        return sum(not window.calibrates for window in found), sum(window.calibrates for window in found)

    return windows


def test_one_window_more_than_hold_enough_labels_calibrates(built: Any) -> None:
    assert built(60) == (2, 1)  # two, so that one can judge
    assert built(20) == (3, 1)


def test_where_labels_are_few_the_oldest_window_calibrates_once_three_are_left_to_learn_from(built: Any) -> None:
    assert built(1) == (4, 1)
    assert built(1, **{"training.windows.min_history_days": 65}) == (3, 1)
    assert built(1, **{"training.windows.min_history_days": 75}) == (3, 0)


def test_without_calibration_all_windows_train_and_none_is_built_for_it(built: Any) -> None:
    assert built(60, **{"ranking.calibration": "none"}) == (2, 0)
    assert built(1, **{"ranking.calibration": "none"}) == (5, 0)
