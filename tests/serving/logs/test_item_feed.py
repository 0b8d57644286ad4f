"""Rows of the live feed: each becomes a change or is refused, and never takes the others with it."""

import time

import pytest

from serving.logs.item_feed import Refusal, read_changes
from serving.shelf.item_state import TAKEN_BACK, ItemChange


@pytest.mark.parametrize("price", ["1e999999", '"1e999999"', '"sNaN"', "1e99999999999999999999", "-1e999999"])
def test_a_number_that_is_no_price_is_refused_and_the_rows_around_it_are_taken(price: str) -> None:
    lines = [
        b'{"item_id":"a","price":1}',
        f'{{"item_id":"b","price":{price}}}'.encode(),
        b'{"item_id":"c","stock":1}',
    ]
    first, second, third = read_changes(lines, time.time())
    assert isinstance(second, Refusal)
    assert [row.item_id for row in (first, third) if isinstance(row, ItemChange)] == ["a", "c"]


def test_a_null_takes_a_fed_value_back_and_a_field_left_out_stays() -> None:
    lines = [b'{"item_id":"a","price":null}', b'{"item_id":"a","stock":null,"moderated":null}', b'{"item_id":"a"}']
    price, rest, nothing = read_changes(lines, 0.0)
    assert price == ItemChange("a", 0, price_minor=TAKEN_BACK)
    assert rest == ItemChange("a", 0, stock=TAKEN_BACK, hidden=False)
    assert nothing == ItemChange("a", 0)


def test_a_field_that_is_not_known_refuses_its_row() -> None:
    wrong, right = read_changes([b'{"item_id":"a","pricee":1}', b'{"item_id":"a","price":1}'], 0.0)
    assert isinstance(wrong, Refusal)
    assert "pricee" in wrong.reason
    assert right == ItemChange("a", 0, price_minor=100)


def test_stock_below_zero_is_none_and_refuses_nothing() -> None:
    (oversold,) = read_changes([b'{"item_id":"a","stock":-3}'], 0.0)
    assert oversold == ItemChange("a", 0, stock=0)
