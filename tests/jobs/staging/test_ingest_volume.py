"""A day that was marked before all of it had landed is told, and stops the night where it is nearly empty."""

from datetime import date, timedelta

import pytest

from jobs.config.parameters import Parameters, StagingParameters
from jobs.landing.check import check_landing
from jobs.staging.ingest import TooFewEventsError, ingest

FIRST = date(2026, 1, 3)
LAST = FIRST + timedelta(weeks=2)


@pytest.fixture
def two_weeks(land):
    """Two weeks of empty days but for the weekday of FIRST, which has 1,000 events, and LAST, which is given."""

    def landed(kept_on_last: int):
        for day in range(15):
            ds = FIRST + timedelta(days=day)
            count = kept_on_last if ds == LAST else 1_000 if day % 7 == 0 else 0
            rows = [f"u{n},i1,view,{ds}T10:00:00Z" for n in range(count)]
            land("events", f"{ds}", "a.csv", "\n".join(["user_id,item_id,event_type,ts", *rows]) + "\n")

    return landed


def test_a_nearly_empty_day_stops_the_night_and_its_check_until_it_is_said_to_be_right(
    spark, lake, landing, two_weeks
):
    two_weeks(90)
    with pytest.raises(TooFewEventsError, match=r"ds=2026-01-17: 90 events, .* usually has 1,000, less than .* 10%"):
        ingest(lake, str(landing), LAST, Parameters())
    assert lake.find_manifest("staging/interactions", LAST) is None
    (why,) = check_landing(str(landing), None, StagingParameters()).stops
    assert "90 events, where this weekday usually has 1,000" in why

    as_it_is = Parameters().with_values({"staging.min_volume_share": 0})
    summary = ingest(lake, str(landing), LAST, as_it_is)
    assert summary.counts["events"].kept == 2_090
    assert "few events: ds=2026-01-17 has 90 events, where this weekday usually has 1,000" in summary.remarks()
    assert ingest(lake, str(landing), LAST, Parameters()).built == []  # it is staged, and stays


def test_a_day_of_less_than_half_is_told_also_against_days_of_earlier_runs(spark, lake, landing, two_weeks):
    two_weeks(499)
    ingest(lake, str(landing), LAST - timedelta(days=1), Parameters())
    summary = ingest(lake, str(landing), LAST, Parameters())
    assert summary.built == [LAST]
    assert "few events: ds=2026-01-17 has 499 events, where this weekday usually has 1,000" in summary.remarks()
    check = check_landing(str(landing), None, StagingParameters())
    assert (check.stops, check.few) == (
        [], "events/ds=2026-01-17: 499 events, where this weekday usually has 1,000"
    )  # fmt: skip
