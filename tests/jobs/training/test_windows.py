"""Which earlier days the ranker is trained on."""

from datetime import date, timedelta

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.config.calendar import window_days
from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import INTERACTIONS, USER, USER_ITEM
from jobs.ranking.heads import MIN_POSITIVES
from jobs.training import windows
from jobs.training.window_record import build_and_record, current_windows
from jobs.training.windows import choose_windows
from tests.jobs.small_shop import lay

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


def trained_and_calibrating(labels_each: int, **values: object) -> tuple[int, int]:
    """How many windows train and how many calibrate, if each window has this many labels."""
    limits = {"training.windows.max_count": 5, "training.windows.enough_labels": 50}
    parameters = CHOSEN.with_values(limits | values)
    days = window_days(FIRST, date(2026, 5, 3), parameters)
    built: list[date] = []

    def build_and_count(day: date) -> int:
        built.append(day)
        return labels_each

    windows = choose_windows(Lake("unused"), days, build_and_count, parameters)
    assert [window.ds for window in windows] == built == sorted(built, reverse=True)
    assert not any(window.calibrates for window in windows[:-1])
    return sum(not window.calibrates for window in windows), sum(window.calibrates for window in windows)


def test_one_window_more_than_hold_enough_labels_calibrates() -> None:
    assert trained_and_calibrating(60) == (2, 1)  # two, so that one can evaluate the other
    assert trained_and_calibrating(20) == (3, 1)


def test_with_few_labels_the_oldest_window_calibrates_if_three_are_left_to_train_on() -> None:
    assert trained_and_calibrating(1) == (4, 1)
    assert trained_and_calibrating(1, **{"training.windows.min_history_days": 65}) == (3, 1)
    assert trained_and_calibrating(1, **{"training.windows.min_history_days": 75}) == (3, 0)


def test_without_calibration_all_windows_train_and_none_is_built_for_it() -> None:
    assert trained_and_calibrating(60, **{"ranking.calibration": "none"}) == (2, 0)
    assert trained_and_calibrating(1, **{"ranking.calibration": "none"}) == (5, 0)


def test_windows_without_a_label_are_not_used() -> None:
    limits = CHOSEN.with_values({"training.windows.max_count": 5})
    assert choose_windows(Lake("unused"), [date(2026, 4, 19)], lambda _: 0, limits) == []
    assert choose_windows(Lake("unused"), [], lambda _: 1, limits) == []


def test_a_shop_that_nobody_can_be_learned_from_has_no_window_and_the_record_says_so(
    spark: SparkSession, lake: Lake
) -> None:
    ds = date(2026, 1, 31)
    for shop, n_pairs in (("guests", 0), ("few", MIN_POSITIVES - 1)):
        of = Lake(f"{lake.root}/{shop}")
        lay(of, INTERACTIONS, ds, pa.table({"user_id": ["anna"], "event_date": [ds]}))
        lay(of, USER, ds, pa.table({"user_id": ["anna"][:n_pairs]}))
        lay(of, USER_ITEM, ds, pa.table({"user_id": ["anna"] * n_pairs}))
        assert current_windows(of, ds, CHOSEN) is None
        assert build_and_record(of, ds, CHOSEN) == []
        assert current_windows(of, ds, CHOSEN) == []


@pytest.mark.parametrize(
    ("early", "late", "labels", "holds_out"),
    [
        (20, 20, 900, False),
        (1, 900, 900, True),  # more than three in four events are younger than the newest window
        (20, 20, 10, True),  # a window of 10 labels tells little of 2,000 pairs
    ],
)
def test_latest_pairs_are_held_out_where_windows_would_not_be_like_tonight(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, early: int, late: int, labels: int, holds_out: bool
) -> None:
    ds = FIRST + timedelta(days=69)
    newest = window_days(FIRST, ds, CHOSEN)[0]
    for day in (FIRST + timedelta(days=n) for n in range(70)):
        n_events = early if day <= newest else late
        lay(lake, INTERACTIONS, day, pa.table({"user_id": ["anna"] * n_events, "event_date": [day] * n_events}))
    lay(lake, USER, ds, pa.table({"user_id": ["anna"]}))
    lay(lake, USER_ITEM, ds, pa.table({"user_id": ["anna"] * 2_000}))
    built: list[date] = []

    def build_window(of: Lake, day: date, *_: object) -> Manifest:
        built.append(day)
        return Manifest("marts/labels", str(day), labels, {})

    apart = windows.Window(Lake("apart"), ds)
    monkeypatch.setattr(windows, "build_window", build_window)
    monkeypatch.setattr(windows, "_build_held_out", lambda *_: apart)
    found = windows.build(lake, ds, CHOSEN)
    assert (found == [apart]) == holds_out
    assert bool(built) == (late < 900)  # where events tell it, no window is built in vain
