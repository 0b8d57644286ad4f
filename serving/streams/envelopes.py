"""Rows of a catalogue's change data capture: Debezium's envelope, as JSON, with or without its schema.

{"before": null, "after": {"id": "mug-1", "price": "12.50", "qty": 3}, "op": "u", "source": {"ts_ms": 1767225600000}}

What a database deletes is taken off every shelf; what it creates under the same id comes back.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from serving.logs.item_feed import FeedRow
from serving.streams.messages import Line, checked, line_of_row

MAX_ENVELOPE_BYTES = 1 << 20  # it may hold all of a row twice
FIELDS = ("item_id", "price", "stock", "moderated")


class _Source(msgspec.Struct, frozen=True):
    ts_ms: int = 0  # when the database committed it


class _Envelope(msgspec.Struct, frozen=True):
    op: Literal["c", "u", "d", "r", "t", "m"]
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    source: _Source = _Source()


class _Outer(msgspec.Struct, frozen=True):
    payload: msgspec.Raw = msgspec.Raw()  # where the schema stands beside it


_OUTER, _ENVELOPE = msgspec.json.Decoder(_Outer), msgspec.json.Decoder(_Envelope)


def line_of_change(columns: Mapping[str, str]) -> Line:
    """Return what reads a topic of changes; `columns` names the column of each of FIELDS that the table has.

    Raises ValueError: `columns` lacks item_id, or names another field.
    """
    unknown = sorted(columns.keys() - set(FIELDS))
    if unknown or "item_id" not in columns:
        wrong = f"{unknown[0]} is no field" if unknown else "item_id has no column"
        raise ValueError(f"{wrong}; name a column for item_id and for any of {', '.join(FIELDS[1:])}")

    def line(value: bytes, now_s: float, sent_s: float) -> bytes | None:
        outer = _OUTER.decode(checked(value, MAX_ENVELOPE_BYTES))
        envelope = _ENVELOPE.decode(outer.payload if bytes(outer.payload) else value)
        if envelope.op in "tm":
            if envelope.op == "m":
                return None  # a message of the database's own log; no row changed
            raise ValueError("the table was truncated, which names no item; send the items again, or moderate them")
        row = envelope.before if envelope.op == "d" else envelope.after
        if row is None:
            raise ValueError(f"the change of kind {envelope.op} has no {'before' if envelope.op == 'd' else 'after'}")
        at_s = envelope.source.ts_ms / 1000 or sent_s
        return line_of_row(_feed_row(row, columns, envelope.op, at_s), now_s, at_s)

    return line


def _feed_row(row: Mapping[str, Any], columns: Mapping[str, str], op: str, at_s: float) -> FeedRow:
    wanted = columns.values() if op != "d" else [columns["item_id"]]
    for column in wanted:
        if column not in row:
            raise ValueError(f"the row lacks the column {column}; it has {', '.join(sorted(row))}")
    item_id = row[columns["item_id"]]
    if not isinstance(item_id, str | int) or isinstance(item_id, bool):
        raise ValueError(f"{columns['item_id']} is {item_id!r:.64}; an item's id is a text or a whole number")
    fed: dict[str, Any] = {"item_id": str(item_id), "ts": datetime.fromtimestamp(at_s, UTC)}
    if op == "d":
        fed["moderated"] = True
    else:
        fed |= {field: row[columns[field]] for field in FIELDS[1:] if field in columns}
        if op == "c":
            fed.setdefault("moderated", False)
    try:
        return msgspec.convert(fed, FeedRow, strict=False)
    except msgspec.ValidationError as error:
        remedy = "; set Debezium's decimal.handling.mode to string" if "price" in str(error) else ""
        raise ValueError(f"{error}{remedy}") from error
