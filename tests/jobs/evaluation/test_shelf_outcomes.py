"""The record of what shelves brought on a day: totals, the most shown products, and the shelves of pages."""

import pyarrow as pa

from jobs.evaluation.shelf_outcomes import MOST_SHOWN, shelf_outcomes

COUNTS = ("exposure_count", "request_count", "user_count", "click_count", "order_count", "unpriced_order_count")
MONEY = ("revenue_minor", "shop_order_count", "shop_revenue_minor")


SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("item_id", "page", "shelf")),
        *((name, pa.int64()) for name in ("row", *COUNTS, *MONEY)),
    ]
)


def row(item_id: str | None, **given: object) -> dict[str, object]:
    of_page = dict.fromkeys(("page", "shelf", "row"))
    return {"item_id": item_id, **of_page, **dict.fromkeys((*COUNTS, *MONEY), 0), **given}


def test_totals_are_those_of_the_row_without_an_item_and_items_stand_by_how_often_they_were_shown() -> None:
    items = [row(f"i{number:02d}", exposure_count=number // 2) for number in range(20)]
    total = row(None, exposure_count=90, request_count=9, user_count=7, click_count=5, shop_revenue_minor=99)
    record = shelf_outcomes(pa.Table.from_pylist([*items, total], SCHEMA))
    assert (record.exposures, record.requests, record.users, record.clicks) == (90, 9, 7, 5)
    assert record.shop_revenue_minor == 99
    assert [item.item_id for item in record.most_shown[:4]] == ["i18", "i19", "i16", "i17"]
    assert len(record.most_shown) == MOST_SHOWN


def test_a_day_without_exposures_has_a_record_that_shows_nothing() -> None:
    record = shelf_outcomes(pa.Table.from_pylist([row(None, shop_order_count=3)], SCHEMA))
    assert (record.exposures, record.shop_orders, record.most_shown, record.of_pages) == (0, 3, [], [])


def test_shelves_of_pages_stand_by_page_and_row_and_one_that_was_asked_for_alone_has_no_row() -> None:
    rows = [
        row(None, page="homepage", shelf="on_sale", row=1, exposure_count=4, click_count=1, revenue_minor=99),
        row(None, page="homepage", shelf="for_you", row=0, exposure_count=9),
        row(None, page="homepage", shelf="on_sale", exposure_count=2),
        row(None, exposure_count=15),
    ]
    record = shelf_outcomes(pa.Table.from_pylist(rows, SCHEMA))
    assert record.exposures == 15
    assert [(shelf.shelf, shelf.row, shelf.exposures) for shelf in record.of_pages] == [
        ("on_sale", -1, 2),
        ("for_you", 0, 9),
        ("on_sale", 1, 4),
    ]
    assert (record.of_pages[2].clicks, record.of_pages[2].revenue_minor) == (1, 99)
