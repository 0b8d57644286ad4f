"""Which earlier days teach the ranker."""

from datetime import date, timedelta

from jobs.label_windows import window_days
from jobs.settings import Parameters

FIRST = date(2026, 1, 1)
CHOSEN = Parameters(horizon_days=14, label_windows=3, min_history_days=21)


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
