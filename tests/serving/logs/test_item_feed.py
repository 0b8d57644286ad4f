"""Rows of the live feed: each becomes a change or is refused, and never takes the others with it."""

import time
from collections.abc import Sequence

import pytest

from serving.logs.item_feed import Refusal, read_changes
from serving.shelf.item_state import TAKEN_BACK, ItemChange, ItemState, encode_changes


def read(lines: Sequence[bytes], now_s: float, state: ItemState | None = None) -> list[ItemChange | Refusal]:
    """Read rows on a host that has taken in this state, by default none."""
    state = state or ItemState()
    return list(read_changes(list(lines), now_s, 1, state.newest_ms))


@pytest.mark.parametrize("price", ["1e999999", '"1e999999"', '"sNaN"', "1e99999999999999999999", "-1e999999"])
def test_a_number_that_is_no_price_is_refused_and_the_rows_around_it_are_taken(price: str) -> None:
    lines = [
        b'{"item_id":"a","price":1}',
        f'{{"item_id":"b","price":{price}}}'.encode(),
        b'{"item_id":"c","stock":1}',
    ]
    first, second, third = read(lines, time.time())
    assert isinstance(second, Refusal)
    assert [row.item_id for row in (first, third) if isinstance(row, ItemChange)] == ["a", "c"]


@pytest.mark.parametrize("written", ["{}", '"{}"'], ids=["number", "string"])
@pytest.mark.parametrize(("price", "minor"), [("12.345", 1235), ("2.675", 268), ("0.0042", 1), ("0", 0)])
def test_a_price_is_rounded_as_at_night(price: str, minor: int, written: str) -> None:
    (change,) = read([f'{{"item_id":"a","price":{written.format(price)}}}'.encode()], 0.0)
    assert change == ItemChange("a", 0, price_minor=minor)


def test_a_null_takes_a_fed_value_back_and_a_field_left_out_stays() -> None:
    lines = [b'{"item_id":"a","price":null}', b'{"item_id":"a","stock":null,"moderated":null}', b'{"item_id":"a"}']
    price, rest, nothing = read(lines, 0.0)
    assert price == ItemChange("a", 0, price_minor=TAKEN_BACK)
    assert rest == ItemChange("a", 0, stock=TAKEN_BACK, hidden=False)
    assert nothing == ItemChange("a", 0)


def test_a_field_that_is_not_known_refuses_its_row() -> None:
    wrong, right = read([b'{"item_id":"a","pricee":1}', b'{"item_id":"a","price":1}'], 0.0)
    assert isinstance(wrong, Refusal)
    assert "pricee" in wrong.reason
    assert right == ItemChange("a", 0, price_minor=100)


def test_stock_below_zero_is_none_and_refuses_nothing() -> None:
    (oversold,) = read([b'{"item_id":"a","stock":-3}'], 0.0)
    assert oversold == ItemChange("a", 0, stock=0)


def test_a_row_without_a_time_counts_after_those_before_it_though_the_clock_was_set_back() -> None:
    state = ItemState()
    state.take([b'{"item_id":"a","ts":7200000,"stock":5}'])  # written while a clock was an hour ahead
    (sold_out,) = read([b'{"item_id":"a","stock":0}'], 3600.0, state)
    assert isinstance(sold_out, ItemChange)
    state.take(encode_changes([sold_out]).splitlines())
    (other,) = read([b'{"item_id":"b","stock":0}'], 3600.0, state)
    assert other == ItemChange("b", 3_600_000, stock=0)  # no other item's time is touched
    kept = ItemState()
    kept.take(state.lines().splitlines())
    assert b'"stock":0' in kept.lines()
    assert b'"stock":5' not in kept.lines()
