"""Which staged days are a shop's history."""

from datetime import date

import pyarrow as pa
import pytest

from jobs.features.event_days import event_days
from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from jobs.lake.tables import INTERACTIONS
from tests.jobs.small_shop import lay

ROW = pa.table({"user_id": ["anna"], "item_id": ["mug"]})


def staged(lake: Lake, **rows_of: int) -> Lake:
    """Stage days of January by number, such as `d31=1`; ingest writes a day without rows as an empty partition."""
    for name, rows in rows_of.items():
        day = january(int(name[1:]))
        if rows:
            lay(lake, INTERACTIONS, day, ROW)
        else:
            lake.write_days(None, INTERACTIONS, [day], inputs={day: {}})
    return lake


def january(number: int) -> date:
    return date(2026, 1, number)


def test_history_begins_with_the_first_event_and_not_with_the_catalogue(lake: Lake) -> None:
    staged(lake, d5=0, d29=1, d30=0, d31=1)
    assert event_days(lake, january(31)) == [january(29), january(30), january(31)]


def test_a_shop_without_any_event_has_its_own_day(lake: Lake) -> None:
    staged(lake, d5=0, d31=0)
    assert event_days(lake, january(31)) == [january(31)]


@pytest.mark.parametrize(("days", "missing"), [({"d28": 1, "d31": 0}, "29"), ({"d30": 1}, "31"), ({}, "31")])
def test_a_day_that_lacks_after_the_first_event_is_named_with_the_remedy(
    lake: Lake, days: dict[str, int], missing: str
) -> None:
    staged(lake, **days)
    with pytest.raises(MissingPartitionError, match=f"ds=2026-01-{missing}; run topshelf stage ingest --ds 2026"):
        event_days(lake, january(31))
