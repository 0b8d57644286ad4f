"""Rows of `POST /items` and of a topic of items, the live feed: JSON objects that become changes of the item state.

{"item_id": "mug-1", "price": 12.50, "stock": 3, "moderated": false, "ts": "2026-01-31T10:00:00Z"}
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from serving import money
from serving.shelf.item_state import TAKEN_BACK, ItemChange
from serving.snapshot.manifest import NOT_JSON

MAX_ROWS = 10_000
MAX_BYTES = 8 << 20
MAX_AHEAD_S = 300  # the newest `ts` wins, so a clock that is further ahead would win over all rows to come
MAX_STOCK = 2**31 - 1


class FeedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row. A field that is left out stays as it was. A null takes the fed value back: the night's counts again.

    `moderated: true` takes an item off every shelf. Stock below zero counts as none. A price is rounded half up to
    two places; above zero it is at least 0.01.
    """

    item_id: str
    price: Decimal | UnsetType | None = UNSET
    stock: int | UnsetType | None = UNSET
    moderated: bool | UnsetType | None = UNSET
    ts: datetime | None = None


class Refusal(msgspec.Struct, frozen=True):
    """A row that was refused; `line` is its line, or its place in the array, from 1."""

    line: int
    reason: str


_ROW = msgspec.json.Decoder(FeedRow)
Value = TypeVar("Value", int, bool)


def read_changes(
    lines: list[bytes], now_s: float, first_line: int, newest_ms: Callable[[str], int]
) -> Iterator[ItemChange | Refusal]:
    """For each line that is not blank, the change, or why it is refused.

    `newest_ms` tells the newest `ts` of an item's rows until now. A row without `ts` counts after them, even if the
    clock was set back since, or if another host's clock is ahead.
    """
    for number, line in enumerate(lines, first_line):
        if line.strip():
            try:
                row = _ROW.decode(line)
                yield item_change(row, now_s, 0 if row.ts else max(int(now_s * 1000), newest_ms(row.item_id)))
            except NOT_JSON as error:
                yield Refusal(number, str(error))


def item_change(row: FeedRow, now_s: float, else_ms: int) -> ItemChange:
    """Return the change that a row makes; `else_ms` is the time of a row without `ts`, in UTC milliseconds.

    Raises ValueError with the reason why the row is refused.
    """
    if not 0 < len(row.item_id.encode()) <= 256:
        raise ValueError("item_id is empty or longer than 256 bytes")
    stock = max(0, row.stock) if isinstance(row.stock, int) else row.stock  # below zero: sold more than there is
    if isinstance(stock, int) and stock > MAX_STOCK:
        raise ValueError(f"stock {stock} is above {MAX_STOCK}")
    ts_ms = else_ms
    if row.ts is not None:
        ts_ms = int((row.ts if row.ts.tzinfo else row.ts.replace(tzinfo=UTC)).timestamp() * 1000)
        if ts_ms > (now_s + MAX_AHEAD_S) * 1000:
            raise ValueError(
                f"ts {row.ts} is more than {MAX_AHEAD_S} s ahead of this host's clock; set the sender's clock"
            )
    price_minor = money.to_minor(row.price) if isinstance(row.price, Decimal) else row.price
    return ItemChange(
        row.item_id,
        ts_ms,
        _changed(price_minor, TAKEN_BACK),
        _changed(stock, TAKEN_BACK),
        _changed(row.moderated, False),
    )


def _changed(value: Value | UnsetType | None, taken_back: Value) -> Value | None:
    """Return the change of a field: None for one that was left out, `taken_back` for a null."""
    if isinstance(value, UnsetType):
        return None
    return taken_back if value is None else value
