"""What the night says that a shop lacks."""

from datetime import date

import pyarrow as pa
import pytest

from jobs.features.missing import NO_CATALOGUE, NO_EVENT, NO_PRODUCT, NO_SHOPPER, NO_STOCK, what_is_missing
from jobs.lake.lake import Lake
from jobs.lake.tables import ITEM, ITEMS, USER
from tests.jobs.small_shop import lay

DS = date(2026, 1, 31)


@pytest.mark.parametrize(
    ("stock", "touched", "n_users", "landed", "lacks"),
    [
        ([3, None], True, 1, True, []),
        ([3, 0], False, 0, True, [NO_EVENT]),
        ([None, None], True, 0, True, [NO_SHOPPER]),
        ([0, 0], True, 1, True, [NO_STOCK]),
        ([0, 0], False, 0, True, [NO_STOCK, NO_EVENT]),
        ([None, None], True, 2, False, [NO_CATALOGUE]),
        ([], True, 2, True, [NO_PRODUCT]),
    ],
)
def test_the_night_says_what_a_shop_lacks_and_nothing_of_one_that_lacks_nothing(
    lake: Lake, stock: list[int | None], touched: bool, n_users: int, landed: bool, lacks: list[str]
) -> None:
    days_ago = pa.array([2 if touched else None] * len(stock), pa.int32())
    lay(lake, ITEM, DS, pa.table({"stock": pa.array(stock, pa.int32()), "days_since_last_event": days_ago}))
    lay(lake, USER, DS, pa.table({"user_id": pa.array([f"u{number}" for number in range(n_users)], pa.string())}))
    if landed:
        lay(lake, ITEMS, date(2026, 1, 3), pa.table({"item_id": ["mug"]}))
    lake.write_days(None, ITEMS, [DS], inputs={DS: {}})
    assert what_is_missing(lake, DS) == "; ".join(lacks)
