"""What stages took stands in the lake, a file a stage, whichever process ran it."""

from datetime import date

from jobs.lake.lake import Lake
from jobs.lake.stage_runs import StageRun, stage_runs

DAY = date(2026, 1, 31)


def test_runs_stand_in_the_order_in_which_they_began_and_a_later_run_replaces_one_before(
    lake: Lake,
) -> None:
    assert stage_runs(lake, DAY) == []
    first = StageRun("ingest", "2026-02-01T00:10:00+00:00", 90.0, 1_500, "31 of 31 days built")
    rank = StageRun("rank", "2026-02-01T00:20:00+00:00", 12.0, 900, "2,000 places")
    again = StageRun("ingest", "2026-02-01T00:30:00+00:00", 2.0, 400, "0 of 31 days built")
    for run in (first, rank):
        run.write(lake, DAY)
    assert stage_runs(lake, DAY) == [first, rank]
    again.write(lake, DAY)
    assert stage_runs(lake, DAY) == [rank, again]
