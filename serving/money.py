"""Prices: decimals at the edges, `price_minor` inside: an integer count of hundredths of the currency."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation

MINOR_DIGITS = 2
MAX_MINOR = 10**15  # ten thousand billion of the currency: more is a mistake, and int64 cannot overflow below it
_MAX = Decimal(MAX_MINOR).scaleb(-MINOR_DIGITS)


class PriceError(ValueError):
    """The text or number is no price."""


def to_minor(price: str | int | Decimal, rounding: str = ROUND_HALF_EVEN) -> int:
    """Return the price in minor units. Raises PriceError for no number, or a negative, infinite or too large one."""
    try:
        value = Decimal(price)
    except InvalidOperation as error:
        raise PriceError(f"{str(price)[:40]!r} is no decimal number; write 12.50") from error
    if not value.is_finite() or not 0 <= value <= _MAX:  # compared first: 1e999999 cannot even be multiplied
        raise PriceError(f"{str(price)[:40]} is no price; write a number from 0, such as 12.50")
    return int((value * 10**MINOR_DIGITS).to_integral_value(rounding=rounding))


def lowest_minor(price: str | int | Decimal) -> int:
    """Return the smallest price in minor units that is not below `price`. Raises PriceError."""
    return to_minor(price, ROUND_CEILING)


def highest_minor(price: str | int | Decimal) -> int:
    """Return the largest price in minor units that is not above `price`. Raises PriceError."""
    return to_minor(price, ROUND_FLOOR)


def to_text(price_minor: int) -> str:
    """Return a decimal such as `12.50`; empty for a negative, that is unknown, price."""
    if price_minor < 0:
        return ""
    return f"{price_minor // 10**MINOR_DIGITS}.{price_minor % 10**MINOR_DIGITS:0{MINOR_DIGITS}d}"
