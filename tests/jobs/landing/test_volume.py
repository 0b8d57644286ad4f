"""What is usual for a weekday, and what is told or stopped below it."""

from datetime import date, timedelta

import pytest

from jobs.landing.volume import usual_events, volume_refusal, volume_remark

DAY = date(2026, 1, 31)


def on(*weeks_ago: int | None):
    """Events of the same weekday, by weeks before DAY."""
    return {DAY - timedelta(weeks=week): kept for week, kept in enumerate(weeks_ago, 1)}.get


def test_what_is_usual_is_the_median_of_the_same_weekday_and_needs_two_of_them():
    assert usual_events(DAY, on(100, 300, 200, 400)) == 250
    assert usual_events(DAY, on(100, None, 300)) == 200
    assert usual_events(DAY, on(100, None, None, None, 700)) is None
    assert usual_events(DAY, {DAY - timedelta(days=1): 5000, DAY - timedelta(days=2): 5000}.get) is None


@pytest.mark.parametrize(
    ("usual", "kept", "told", "stops"),
    [
        (None, 0, False, False),
        (1000, 500, False, False),
        (1000, 499, True, False),
        (1000, 100, True, False),
        (1000, 99, True, True),
        (1000, 0, True, True),
        (999, 0, True, False),
    ],
)
def test_half_of_what_is_usual_is_told_and_a_tenth_of_a_large_day_stops_the_night(usual, kept, told, stops):
    assert (volume_remark(usual, kept) is not None) is told
    why = volume_refusal("data/landing", DAY, usual, kept, 0.1)
    assert (why is not None) is stops
    if why:
        assert f"data/landing/events/ds=2026-01-31: {kept} events, where this weekday usually has 1,000" in why
        assert volume_refusal("data/landing", DAY, usual, kept, 0.0) is None
