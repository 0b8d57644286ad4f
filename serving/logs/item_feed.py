"""Rows of `POST /items`, the live feed: JSON lines that become changes of the item state.

{"item_id": "mug-1", "price": 12.50, "stock": 3, "moderated": false, "ts": "2026-01-31T10:00:00Z"}
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from serving import money
from serving.problems import ProblemError
from serving.shelf.item_state import ItemChange

MAX_ROWS = 10_000
MAX_BYTES = 8 << 20
MAX_AHEAD_S = 300  # the newest `ts` wins, so a clock that is further ahead would win over all rows to come
MAX_STOCK = 2**31 - 1


class FeedRow(msgspec.Struct, frozen=True):
    """One row. Fields that are left out stay as they were. `moderated: true` takes an item off every shelf."""

    item_id: str
    price: Decimal | None = None
    stock: int | None = None
    moderated: bool | None = None
    ts: datetime | None = None


class Refusal(msgspec.Struct, frozen=True):
    """A row that was refused; `line` counts from 1."""

    line: int
    reason: str


_ROW = msgspec.json.Decoder(FeedRow)


def split_rows(body: bytes) -> list[bytes]:
    """The lines of a body. Raises ProblemError (413) for too many."""
    lines = body.splitlines()
    if len(lines) > MAX_ROWS or len(body) > MAX_BYTES:
        raise ProblemError(
            413, f"{len(lines)} rows, {len(body)} bytes", f"send at most {MAX_ROWS} rows in {MAX_BYTES} bytes"
        )
    return lines


def read_changes(lines: list[bytes], now_s: float, first_line: int = 1) -> Iterator[ItemChange | Refusal]:
    """For each line that is not blank, the change, or why it is refused."""
    for number, line in enumerate(lines, first_line):
        if line.strip():
            try:
                yield _change(_ROW.decode(line), now_s)
            except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
                yield Refusal(number, str(error))


def _change(row: FeedRow, now_s: float) -> ItemChange:
    if not 0 < len(row.item_id.encode()) <= 256:
        raise ValueError("item_id is empty or longer than 256 bytes")
    if row.stock is not None and not 0 <= row.stock <= MAX_STOCK:
        raise ValueError(f"stock {row.stock} is not between 0 and {MAX_STOCK}")
    ts_s = now_s
    if row.ts is not None:
        ts_s = (row.ts if row.ts.tzinfo else row.ts.replace(tzinfo=UTC)).timestamp()
    if ts_s > now_s + MAX_AHEAD_S:
        raise ValueError(
            f"ts {row.ts} is more than {MAX_AHEAD_S} s ahead of this host's clock; set the sender's clock"
        )
    price_minor = None if row.price is None else money.to_minor(row.price)
    return ItemChange(row.item_id, int(ts_s * 1000), price_minor, row.stock, row.moderated)
