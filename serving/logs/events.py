"""Rows of `POST /events` and of a topic of events: what shoppers do, for the shelf at once and for the next night.

{"event_id": "e-1", "user_id": "17850", "item_id": "mug-1", "event_type": "view", "ts": "2026-01-31T10:00:00Z"}

The columns are those of `landing/events` (`sql/staging/interactions.yml`). `event_id` is required, so that an event
that is sent again is landed once.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from serving import money
from serving.logs.item_feed import MAX_AHEAD_S, Refusal
from serving.shelf.recent_actions import ACTION_KINDS
from serving.snapshot.manifest import NOT_JSON

MAX_ID_BYTES = 256
_MAX_INT = 2**31 - 1
_IDS = ("event_id", "user_id", "session_id", "request_id", "page", "device", "location", "region")


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row as it is sent; `ts` is when it happened, by default now."""

    event_id: str
    item_id: str
    event_type: str
    user_id: str | None = None
    session_id: str | None = None
    ts: datetime | None = None
    value: float | None = None
    quantity: int | None = None
    unit_price: Decimal | None = None
    request_id: str | None = None
    position: int | None = None
    page: str | None = None
    device: str | None = None
    location: str | None = None
    region: str | None = None


class LoggedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the event log: when it was received, in UTC seconds, then the line of `landing/events`."""

    received: float
    event_id: str
    item_id: str
    event_type: str
    ts: str
    user_id: str | None = None
    session_id: str | None = None
    value: float | None = None
    quantity: int | None = None
    unit_price: str | None = None
    request_id: str | None = None
    position: int | None = None
    page: str | None = None
    device: str | None = None
    location: str | None = None
    region: str | None = None
    is_landed: bool = True  # False for events that something else lands


_ROW, _ENCODER = msgspec.json.Decoder(Event), msgspec.json.Encoder()


def read_events(lines: list[bytes], now_s: float, first_line: int = 1) -> Iterator[bytes | Refusal]:
    """For each line that is not blank, its line of the event log, or why it is refused."""
    for number, line in enumerate(lines, first_line):
        if line.strip():
            try:
                yield event_line(line, now_s)
            except NOT_JSON as error:
                yield Refusal(number, str(error))


def event_line(row: bytes, now_s: float, sent_s: float | None = None, *, is_landed: bool = True) -> bytes:
    """Return the line of the event log of one row that is received now.

    `sent_s` is when a row without `ts` happened, by default now; both are UTC seconds. Raises one of NOT_JSON with
    the reason why the row is refused.
    """
    return _ENCODER.encode(_logged(_ROW.decode(row), now_s, sent_s, is_landed)) + b"\n"


def _logged(event: Event, now_s: float, sent_s: float | None, is_landed: bool) -> LoggedEvent:
    for name in (*_IDS, "item_id"):
        value = getattr(event, name)
        if value is not None and not 0 < len(value.encode()) <= MAX_ID_BYTES:
            raise ValueError(f"{name} is empty or longer than {MAX_ID_BYTES} bytes")
    if event.event_type not in ACTION_KINDS:
        raise ValueError(f"event_type {event.event_type[:64]!r} is none of {', '.join(ACTION_KINDS)}")
    if event.user_id is None and event.session_id is None:
        raise ValueError("neither user_id nor session_id is given; an event needs one of them")
    for name, value, lowest in (("quantity", event.quantity, 1), ("position", event.position, 0)):
        if value is not None and not lowest <= value <= _MAX_INT:
            raise ValueError(f"{name} {value} is not between {lowest} and {_MAX_INT}")
    happened = event.ts or datetime.fromtimestamp(now_s if sent_s is None else sent_s, UTC)
    happened = (happened if happened.tzinfo else happened.replace(tzinfo=UTC)).astimezone(UTC)
    if happened.timestamp() > now_s + MAX_AHEAD_S:
        raise ValueError(
            f"ts {happened} is more than {MAX_AHEAD_S} s ahead of this host's clock; set the sender's clock"
        )
    if happened.year < 1970:
        raise ValueError(f"ts {happened} is before 1970")
    price = None if event.unit_price is None else money.to_text(money.to_minor(event.unit_price))
    fields = {
        name: getattr(event, name) for name in (*_IDS, "item_id", "event_type", "value", "quantity", "position")
    }
    ts = happened.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return LoggedEvent(received=now_s, ts=ts, unit_price=price, is_landed=is_landed, **fields)


def without_received(line: bytes) -> bytes:
    """The line of `landing/events` in a line of the event log: the same without `received`, its first field."""
    return b"{" + line[line.index(b",") + 1 :]
