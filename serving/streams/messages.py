"""Turns one message of a topic into a line of a log, or says why it is refused.

The value is JSON, one row as `POST /events` or `POST /items` takes it. A row without `ts` has the time of its
message, so that reading a topic again gives the same rows.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from serving.logs.events import event_line
from serving.logs.item_feed import FeedRow, item_change
from serving.shelf.item_state import encode_changes

MAX_VALUE_BYTES = 64 << 10
"""A longer value is refused unread: no row needs so much."""

Line = Callable[[bytes, float, float], bytes | None]
"""Takes a message's value, now, and when it was sent, both in UTC seconds; None where there is nothing to log.

Raises one of NOT_JSON with the reason why the message is refused.
"""
_FEED_ROW = msgspec.json.Decoder(FeedRow)


def line_of_event(value: bytes, now_s: float, sent_s: float, *, is_landed: bool = True) -> bytes:
    """Return the line of the event log; with `is_landed` False this host's lander passes it over."""
    return event_line(checked(value), now_s, sent_s, is_landed=is_landed)


def line_of_item(value: bytes, now_s: float, sent_s: float) -> bytes:
    """Return the line of the log of item changes."""
    return line_of_row(_FEED_ROW.decode(checked(value)), now_s, sent_s)


def line_of_row(row: FeedRow, now_s: float, sent_s: float) -> bytes:
    """Return the line of the log of item changes that a row makes."""
    return encode_changes([item_change(row, now_s, int(min(sent_s, now_s) * 1000))])


def events(*, are_landed: bool) -> Line:
    """Return what reads a topic of events."""
    return partial(line_of_event, is_landed=are_landed)


def checked(value: bytes, most: int = MAX_VALUE_BYTES) -> bytes:
    """Return a value that may be JSON of at most so many bytes. Raises ValueError."""
    if len(value) > most:
        raise ValueError(f"the value has {len(value)} bytes; at most {most} are read")
    if value[:1] == b"\0":
        raise ValueError("the value begins with a zero byte, as Avro and Protobuf of a schema registry do; send JSON")
    return value
