"""The events of a shop up to a day: those of the newest folders, and the settled ones of all folders before.

An old shop has hundreds of folders, and which of their events count is decided anew for few shoppers. So each fourth
week the stage `features` settles what landed up to four weeks ago, into `features/settled_events`, from what was
settled before and the folders since. Nights and training windows then read that and the folders after it. They give
the same bytes as without it (`jobs.features.counting`). All folders are read where a shop is young, or where an older
folder changed since.
"""

from bisect import insort
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property

from jobs.features.counting import BEFORE_ALL, Settled, counted_events, judged_events
from jobs.lake.lake import Lake
from jobs.lake.manifest import digest_of
from jobs.lake.tables import INTERACTIONS, SETTLED_EVENTS
from jobs.spark.engine import Engine, Rows

EVERY_DAYS = 28
"""Days from one settling to the next."""
LEAST_AGE_DAYS = 28
"""Only what landed so many days ago is settled: by default, the newest training window finds it settled too."""
OLD_SHOP_DAYS = 182
"""A shop with fewer days reads them all: there is little to save."""


class EventHistory:
    """The events that an engine reads for one build or several; opened when they are first asked for."""

    def __init__(self, lake: Lake, engine: Engine, days: Sequence[date], *, keep: bool = False) -> None:
        """Read `days` of staging/interactions, without a gap between them; `keep` holds their rows for many reads."""
        self.engine = engine
        self._lake, self._days, self._keep = lake, days, keep
        self._open: dict[date, Rows] = {}

    def landed(self, after: date = BEFORE_ALL) -> Rows:
        """Return the rows of staging/interactions that landed after a day, or more of them."""
        return self._landed(self._newest(after))

    def counted(self, ds: date, after: date = BEFORE_ALL) -> Rows:
        """Return the events after `after` that count as of `ds`, as `jobs.features.counting.counted_events` does."""
        day = self._newest(ds if after == BEFORE_ALL else min(ds, after))
        return counted_events(self.engine, self._landed(day), ds, after, self._settled(day))

    def settle(self, ds: date) -> None:
        """Write what is to be settled for the nights from `ds` on, unless it stands already."""
        day = day_to_settle(self._days[0], ds)
        if day is None or not self._lake.is_stale(SETTLED_EVENTS, day, self._inputs(day), {}):
            return
        before = self._newest(day)
        judged = judged_events(self.engine, self._landed(before), day, self._settled(before))
        rows = self.engine.query(SETTLED_EVENTS, {"judged_events": judged}, {"ds": day})
        self.engine.write(self._lake, rows, SETTLED_EVENTS, day, inputs=self._inputs(day))
        insort(self._settled_days, day)

    @cached_property
    def _settled_days(self) -> list[date]:
        """The days that were settled of the folders as they are now, ascending."""
        stored = [day for day in self._lake.days(SETTLED_EVENTS) if self._days[0] <= day <= self._days[-1]]
        return [day for day in stored if not self._lake.why_stale(SETTLED_EVENTS, day, self._inputs(day), {})]

    def _inputs(self, until: date) -> Mapping[str, str]:
        read = (self._fingerprints[day] for day in self._days if day <= until)
        return {f"{INTERACTIONS}/ds<={until}": digest_of(read)}

    @cached_property
    def _fingerprints(self) -> dict[date, str]:
        return {day: self._lake.manifest(INTERACTIONS, day).fingerprint for day in self._days}

    def _newest(self, until: date) -> date | None:
        return next((day for day in reversed(self._settled_days) if day <= until), None)

    def _settled(self, day: date | None) -> Settled | None:
        return None if day is None else Settled(day, self.engine.stored(self._lake, SETTLED_EVENTS, [day]))

    def _landed(self, settled: date | None) -> Rows:
        after = settled or BEFORE_ALL
        if after not in self._open:
            rows = self.engine.stored(self._lake, INTERACTIONS, [day for day in self._days if day > after])
            self._open[after] = self.engine.keep(rows) if self._keep else rows
        return self._open[after]


def day_to_settle(first: date, ds: date) -> date | None:
    """Return the day up to which a night `ds` settles a shop whose events began on `first`; None if it is young.

    >>> day_to_settle(date(2025, 1, 1), date(2026, 1, 31))
    datetime.date(2025, 12, 21)
    """
    if (ds - first).days < OLD_SHOP_DAYS:
        return None
    newest = ds - timedelta(days=LEAST_AGE_DAYS)
    return newest - timedelta(days=newest.toordinal() % EVERY_DAYS)
