"""Prices: what is one, and what is refused without an error of another kind."""

from decimal import Decimal

import pytest

from serving import money

NO_PRICES = ["1e999999", "-1e999999", "1e400", "sNaN", "-sNaN", "NaN", "NaN123", "Infinity", "-1", "1.1e13"]


@pytest.mark.parametrize("text", NO_PRICES)
def test_a_number_that_is_no_price_is_refused_as_one(text: str) -> None:
    for price in (text, Decimal(text)):
        for convert in (money.to_minor, money.lowest_minor, money.highest_minor):
            with pytest.raises(money.PriceError):
                convert(price)


@pytest.mark.parametrize(
    ("text", "minor"),
    [("0", 0), ("12.50", 1250), ("12.345", 1234), ("1e-999999", 0), ("0e999999", 0), ("1e13", 10**15), ("-0", 0)],
)
def test_a_price_is_an_integer_of_hundredths(text: str, minor: int) -> None:
    assert money.to_minor(text) == minor
