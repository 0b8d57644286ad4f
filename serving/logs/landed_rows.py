"""Turns lines of a host's logs into rows of landing, by the folder and hour that they belong to.

`exposures/ds=2026-01-31/10` has the rows of answers given in that hour, `events/…` events by when they were received.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable

import msgspec

from serving.logs.events import without_received
from serving.logs.exposure_rows import exposure_row
from serving.logs.exposures import Shown
from serving.logs.landing_record import Transaction, is_new_event
from serving.snapshot.manifest import NOT_JSON

_LOG = logging.getLogger(__name__)
_SHOWN = msgspec.json.Decoder(Shown)
RowsByHour = dict[str, list[bytes]]
Split = Callable[[bytes, Transaction], RowsByHour]


class _EventKey(msgspec.Struct, frozen=True):
    event_id: str
    received: float
    is_landed: bool = True


_EVENT_KEY = msgspec.json.Decoder(_EventKey)


def exposures_by_hour(block: bytes, _: Transaction) -> RowsByHour:
    """Rows of `landing/exposures` of a block of the spool. A line that cannot be read is logged and left out."""
    rows: RowsByHour = defaultdict(list)
    for line in block.splitlines():
        try:
            shown = _SHOWN.decode(line)
            hour = time.strftime("exposures/ds=%Y-%m-%d/%H", time.gmtime(shown.ts_ms // 1000))
            row = exposure_row(shown)
        except Exception:  # whatever is wrong with a line, it may not keep all others from being landed
            _LOG.exception("a line of the spool cannot be read and is left out: %.80s", line)
            continue
        rows[hour].append(row)
    return rows


def events_by_hour(block: bytes, txn: Transaction) -> RowsByHour:
    """Rows of `landing/events` of a block of the event log: not landed yet, and not left to something else."""
    rows: RowsByHour = defaultdict(list)
    for line in block.splitlines():
        try:
            event = _EVENT_KEY.decode(line)
            received, landed_line = time.gmtime(event.received), without_received(line) + b"\n"
        except (*NOT_JSON, OSError):
            continue  # a crash tore the line, which was never acknowledged
        if event.is_landed and is_new_event(event.event_id, time.strftime("%Y-%m-%d", received), txn):
            rows[time.strftime("events/ds=%Y-%m-%d/%H", received)].append(landed_line)
    return rows


def received_s(line: bytes) -> float | None:
    """When a line of the event log was received, in UTC seconds; None for a torn line."""
    try:
        return _EVENT_KEY.decode(line).received
    except NOT_JSON:
        return None


SPLITS: dict[str, Split] = {"exposures": exposures_by_hour, "events": events_by_hour}
