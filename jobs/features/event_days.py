"""The days that count as a shop's history: those of staging/interactions from the first one with an event.

A catalogue may land long before the first event. Staging has a day for each of its folders, and none between them.
"""

from collections.abc import Sequence
from datetime import date, timedelta

from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from jobs.lake.tables import INTERACTIONS


def event_days(lake: Lake, ds: date) -> list[date]:
    """Return the days from the first one with an event up to `ds`, without a gap; `ds` alone where none has an event.

    Raises:
        MissingPartitionError: staging/interactions lacks `ds` or a day between the first and `ds`, with the remedy.
    """
    staged = [day for day in lake.days(INTERACTIONS) if day <= ds]
    first = next((day for day in staged if lake.manifest(INTERACTIONS, day).row_count), ds)
    days = [first + timedelta(days=number) for number in range((ds - first).days + 1)]
    if missing := sorted(set(days) - set(staged)):
        raise MissingPartitionError(f"{INTERACTIONS} has no ds={missing[0]}; run topshelf stage ingest --ds {ds}")
    return days


def most_came_later(lake: Lake, days: Sequence[date], day: date) -> bool:
    """Tell whether more than three in four events of `days` landed after a day: then the shop was another one."""
    before = lake.row_count(INTERACTIONS, [one for one in days if one <= day])
    return 4 * before < lake.row_count(INTERACTIONS, days)
