"""Prices: decimals at the edges, `price_minor` inside: an integer count of hundredths of the currency.

Live feeds and the night round alike, here: half up from the digits as written. What costs something is never free.

>>> minor_units("12.345"), minor_units("0.0042"), minor_units("cheap")
(1235, 1, None)
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache

MINOR_DIGITS = 2
MAX_MINOR = 10**15  # ten thousand billion of the currency: more is a mistake, and int64 cannot overflow below it
_MAX = Decimal(MAX_MINOR).scaleb(-MINOR_DIGITS)
_MINOR_UNIT = Decimal(1).scaleb(-MINOR_DIGITS)


class PriceError(ValueError):
    """The text or number is no price."""


@lru_cache(8_192)  # a column of prices has few distinct ones
def minor_units(text: str) -> int | None:
    """Return an amount in minor units; None for text that is no decimal number, or beyond MAX_MINOR.

    An amount that is not zero stays at least one minor unit from it. One below zero comes back as such: whether it is
    allowed is the caller's to judge.
    """
    try:
        value = _number(text)
    except PriceError:
        return None
    return _half_up(value) if -_MAX <= value <= _MAX else None


def to_minor(price: str | int | Decimal) -> int:
    """Return the price in minor units, rounded as in `minor_units`.

    Raises:
        PriceError: it is no number, or negative, infinite or too large.
    """
    return _half_up(_checked(price))


def lowest_minor(price: str | int | Decimal) -> int:
    """Return the smallest price in minor units that is not below `price`. Raises PriceError."""
    return _rounded(_checked(price), ROUND_CEILING)


def highest_minor(price: str | int | Decimal) -> int:
    """Return the largest price in minor units that is not above `price`. Raises PriceError."""
    return _rounded(_checked(price), ROUND_FLOOR)


def to_decimal(price_minor: int) -> Decimal:
    """Return the amount in units of the currency, with two places."""
    return Decimal(price_minor).scaleb(-MINOR_DIGITS)


def to_text(price_minor: int) -> str:
    """Return a decimal such as `12.50`; empty for a negative, that is unknown, price."""
    if price_minor < 0:
        return ""
    return f"{price_minor // 10**MINOR_DIGITS}.{price_minor % 10**MINOR_DIGITS:0{MINOR_DIGITS}d}"


def to_number(price_minor: int) -> str:
    """Return a known price as a JSON number, exactly and as short as it is: `12.5`, `12.05`, `12`."""
    whole, rest = divmod(price_minor, 10**MINOR_DIGITS)
    return f"{whole}.{rest:0{MINOR_DIGITS}d}".rstrip("0") if rest else str(whole)


def _checked(price: str | int | Decimal) -> Decimal:
    value = _number(price)
    if not 0 <= value <= _MAX:  # compared first: 1e999999 cannot even be multiplied
        raise PriceError(f"{str(price)[:40]} is no price; write a number from 0, such as 12.50")
    return value


def _number(price: str | int | Decimal) -> Decimal:
    """Return the finite number. Raises PriceError."""
    # Decimal alone would read `1_000`, and digits of every script.
    is_foreign = isinstance(price, str) and ("_" in price or not price.strip().isascii())
    try:
        value = None if is_foreign else Decimal(price)
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite():
        raise PriceError(f"{str(price)[:40]!r} is no decimal number; write 12.50")
    return value


def _half_up(value: Decimal) -> int:
    return _rounded(value, ROUND_HALF_UP) or (value > 0) - (value < 0)


def _rounded(value: Decimal, rounding: str) -> int:
    # From all digits at once: a product would round to 28 of them first, and then again.
    return int(value.quantize(_MINOR_UNIT, rounding).scaleb(MINOR_DIGITS))
