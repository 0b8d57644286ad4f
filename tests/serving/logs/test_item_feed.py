"""Rows of the live feed: each becomes a change or is refused, and never takes the others with it."""

import time

import pytest

from serving.logs.item_feed import Refusal, read_changes
from serving.shelf.item_state import ItemChange


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
