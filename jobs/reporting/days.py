"""Compare the night's day with the day before: rows that landed, and what shelves brought.

>>> landed_rows(lake, date(2026, 1, 31))[0].today.landed
"""

from dataclasses import dataclass
from datetime import date, timedelta

import msgspec

from jobs.lake.evaluations import ShelfOutcomes
from jobs.lake.lake import Lake
from jobs.lake.tables import STAGED_AS
from jobs.landing.row_counts import RowCounts

WEEK = 7


@dataclass(frozen=True)
class LandedRows:
    """What became of one landing table's rows on the day and on the day before; None for a day that was not read."""

    table: str
    today: RowCounts | None
    before: RowCounts | None

    @property
    def change(self) -> str:
        """The change of the rows that landed, such as `-12%`; empty where there is nothing to compare."""
        if self.today is None or self.before is None or not self.before.landed:
            return ""
        return f"{self.today.landed / self.before.landed - 1:+.0%}"

    @property
    def reasons(self) -> str:
        """Why rows of the day were set aside, with their number."""
        set_aside = self.today.set_aside if self.today else {}
        return ", ".join(f"{count:,} {reason}" for reason, count in sorted(set_aside.items()))


def landed_rows(lake: Lake, ds: date) -> list[LandedRows]:
    """Return the rows of each landing table, as ingest counted them."""
    return [
        LandedRows(name, _counts(lake, table, ds), _counts(lake, table, ds - timedelta(days=1)))
        for name, table in STAGED_AS.items()
    ]


def _counts(lake: Lake, table: str, ds: date) -> RowCounts | None:
    manifest = lake.find_manifest(table, ds)
    try:
        return manifest.metrics_as(RowCounts) if manifest else None
    except msgspec.ValidationError:
        return None  # an earlier version counted otherwise


@dataclass(frozen=True)
class OutcomeSums:
    """What shelves brought on one day, or on several."""

    days: str
    exposures: int
    clicks: int
    orders: int
    revenue_minor: int
    shop_revenue_minor: int

    @property
    def click_rate(self) -> float | None:
        """The share of shown products that were clicked."""
        return self.clicks / self.exposures if self.exposures else None

    @property
    def revenue_share(self) -> float | None:
        """The share of the shop's revenue."""
        return self.revenue_minor / self.shop_revenue_minor if self.shop_revenue_minor else None


def outcome_sums(lake: Lake, ds: date, today: ShelfOutcomes) -> list[OutcomeSums]:
    """Return the day's sums, those of the day before, and those of the week's days that are known."""
    records = {0: today}
    for back in range(1, WEEK):
        if record := ShelfOutcomes.read(lake, ds - timedelta(days=back)):
            records[back] = record
    week = "the week" if len(records) == WEEK else f"{len(records)} days of the week"
    sums = [_summed(f"{ds}", [today])]
    if 1 in records:
        sums.append(_summed("the day before", [records[1]]))
    return [*sums, _summed(week, list(records.values()))] if len(records) > 1 else sums


def _summed(days: str, records: list[ShelfOutcomes]) -> OutcomeSums:
    names = ("exposures", "clicks", "orders", "revenue_minor", "shop_revenue_minor")
    return OutcomeSums(days, **{name: sum(getattr(record, name) for record in records) for name in names})
