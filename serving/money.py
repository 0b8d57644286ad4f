"""Prices: decimals at the edges, `price_minor` (an integer of the currency's hundredth) inside."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation

MINOR_DIGITS = 2
MAX_MINOR = 10**15  # ten thousand billion in the currency: beyond is a slip, and int64 stays safe


class PriceError(ValueError):
    """Text or a number that is no price."""


def to_minor(price: str | int | Decimal, rounding: str = ROUND_HALF_EVEN) -> int:
    """The price in minor units. Raises PriceError for what is negative, not finite, too large or no number."""
    try:
        value = Decimal(price)
    except InvalidOperation as error:
        raise PriceError(f"{str(price)[:40]!r} is no decimal number; write 12.50") from error
    if not value.is_finite() or value < 0 or value * 10**MINOR_DIGITS > MAX_MINOR:
        raise PriceError(f"{str(price)[:40]} is no price; write a number from 0, such as 12.50")
    return int((value * 10**MINOR_DIGITS).to_integral_value(rounding=rounding))


def lowest_minor(price: str | int | Decimal) -> int:
    """The smallest price in minor units that is not below `price`."""
    return to_minor(price, ROUND_CEILING)


def highest_minor(price: str | int | Decimal) -> int:
    """The largest price in minor units that is not above `price`."""
    return to_minor(price, ROUND_FLOOR)


def to_text(price_minor: int) -> str:
    """A decimal such as `12.50`; empty for an unknown price."""
    if price_minor < 0:
        return ""
    return f"{price_minor // 10**MINOR_DIGITS}.{price_minor % 10**MINOR_DIGITS:0{MINOR_DIGITS}d}"
