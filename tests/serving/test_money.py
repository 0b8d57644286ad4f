"""Prices: what is one, how it is rounded, and what is refused without an error of another kind."""

import json
from decimal import ROUND_HALF_UP, Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import money

NO_NUMBERS = ["sNaN", "-sNaN", "NaN", "NaN123", "Infinity", "", " ", "cheap", "12,50", "1_000", "١٢", "1e", "0x10"]
TOO_LARGE = ["1e999999", "-1e999999", "1e400", "1e99999999999999999999", "1.1e13", "-1.1e13"]
AMOUNTS = [
    ("0", 0),
    ("-0", 0),
    ("0.00", 0),
    ("0e999999", 0),
    ("12.50", 1250),
    (" 12.5\u00a0", 1250),
    ("007.50", 750),
    (".5", 50),
    ("5.", 500),
    ("+1e2", 10000),
    ("12.344", 1234),
    ("12.345", 1235),
    ("12.335", 1234),
    ("2.675", 268),
    ("12.3449999999999999999999999999999999", 1234),
    ("1e13", 10**15),
]
TINY = ["0.0042", "0.004", "0.005", "0.0149", "1e-999999", "0.000000000000000000000000000000000001"]


@pytest.mark.parametrize("text", [*NO_NUMBERS, *TOO_LARGE, "-1", "-0.001"])
def test_a_number_that_is_no_price_is_refused_as_one(text: str) -> None:
    for convert in (money.to_minor, money.lowest_minor, money.highest_minor):
        with pytest.raises(money.PriceError):
            convert(text)


@pytest.mark.parametrize("text", ["sNaN", "-sNaN", "NaN", "Infinity", "1e999999", "-1", "1.1e13"])
def test_a_decimal_that_is_no_price_is_refused_as_one(text: str) -> None:
    for convert in (money.to_minor, money.lowest_minor, money.highest_minor):
        with pytest.raises(money.PriceError):
            convert(Decimal(text))


@pytest.mark.parametrize(("text", "minor"), AMOUNTS)
def test_a_price_is_rounded_half_up_from_its_digits(text: str, minor: int) -> None:
    assert money.to_minor(text) == minor
    assert money.to_minor(Decimal(text.strip())) == minor
    assert money.minor_units(text) == minor


@pytest.mark.parametrize("text", TINY)
def test_what_costs_something_is_never_free(text: str) -> None:
    assert money.to_minor(text) == 1
    assert money.minor_units(text) == 1
    assert money.minor_units(f"-{text}") == -1


@pytest.mark.parametrize("text", [*NO_NUMBERS, *TOO_LARGE])
def test_an_amount_that_cannot_be_read_is_none(text: str) -> None:
    assert money.minor_units(text) is None


def test_an_amount_below_zero_stays_so() -> None:
    assert money.minor_units("-3.50") == -350
    assert money.minor_units("-12.345") == -1235


@given(st.decimals(min_value=0, max_value=10**13, allow_nan=False, allow_infinity=False, places=6))
def test_an_amount_is_the_same_as_text_and_as_a_number(value: Decimal) -> None:
    exact = value.quantize(Decimal("0.01"), ROUND_HALF_UP, Context(prec=60))
    assert money.minor_units(str(value)) == money.to_minor(value) == (int(exact * 100) or int(value > 0))


@given(st.text(max_size=12))
def test_no_text_raises(text: str) -> None:
    minor = money.minor_units(text)
    assert minor is None or abs(minor) <= money.MAX_MINOR


def test_a_limit_of_a_filter_takes_in_no_price_beyond_it() -> None:
    assert (money.lowest_minor("12.341"), money.highest_minor("12.349")) == (1235, 1234)
    assert (money.lowest_minor("0.001"), money.highest_minor("0.001")) == (1, 0)


@given(st.integers(0, money.MAX_MINOR))
def test_a_price_as_a_json_number_is_exact_and_has_two_decimals_at_most(minor: int) -> None:
    text = money.to_number(minor)
    assert Decimal(text) == money.to_decimal(minor)
    assert Decimal(repr(json.loads(text))) == money.to_decimal(minor)  # as callers with floating point read it
    assert len(text.partition(".")[2]) <= 2
    assert not text.endswith(("0", ".")) or "." not in text
