"""Rows for `POST /items` and `POST /events`: cut into calls that the endpoint takes, and its answers put together."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from topshelf_client.answers import Taken
from topshelf_client.calls import Call
from topshelf_client.options import EventRow, ItemRow
from topshelf_client.problems import Refusal, RowsRefusedError

_MOST_ROWS, _MOST_BYTES = 10_000, 8 << 20
_LINES = {"content-type": "application/x-ndjson"}
Row = TypeVar("Row", ItemRow, EventRow)
_TAKEN = msgspec.json.Decoder(Taken)


class Tally:
    """What became of the rows of several calls, as if it had been one."""

    def __init__(self) -> None:
        self._rows = self._accepted = 0
        self._refused: list[Refusal] = []
        self._problem: RowsRefusedError | None = None

    def add(self, outcome: Taken | RowsRefusedError, rows: int) -> None:
        """Add a call of so many rows. One of which nothing was accepted counts like any other."""
        if isinstance(outcome, RowsRefusedError):
            self._problem = outcome
        else:
            self._accepted += outcome.accepted
        self._refused += [Refusal(self._rows + refusal.line, refusal.reason) for refusal in outcome.refused]
        self._rows += rows

    def taken(self) -> Taken:
        """Return the whole. Raises RowsRefusedError where no row was accepted and some were refused."""
        if self._problem is not None and not self._accepted:
            self._problem.refused = self._refused
            raise self._problem
        return Taken(self._accepted, self._refused)


def item_calls(rows: Iterable[ItemRow]) -> Iterator[tuple[Call[Taken], int]]:
    """Calls for rows of the live feed, and how many rows each has.

    Without `ts` a row counts from when it comes, so sending it twice could undo a newer one.
    """
    for part, lines in _parts(rows):
        yield _call("/items", lines, repeatable=all("ts" in row for row in part)), len(part)


def event_calls(rows: Iterable[EventRow]) -> Iterator[tuple[Call[Taken], int]]:
    """Calls for events, and how many each has. Each event has an id, so sending it twice does no harm."""
    for part, lines in _parts(rows):
        yield _call("/events", lines, repeatable=True), len(part)


def _call(path: str, lines: bytes, *, repeatable: bool) -> Call[Taken]:
    return Call("POST", path, _TAKEN.decode, content=lines, headers=_LINES, repeatable=repeatable)


def _parts(rows: Iterable[Row]) -> Iterator[tuple[list[Row], bytes]]:
    """Cut rows into parts that one call may have, each with its JSON lines."""
    part: list[Row] = []
    lines: list[bytes] = []
    size = 0
    for row in rows:
        line = msgspec.json.encode(row) + b"\n"
        if part and (len(part) == _MOST_ROWS or size + len(line) > _MOST_BYTES):
            yield part, b"".join(lines)
            part, lines, size = [], [], 0
        part.append(row)
        lines.append(line)
        size += len(line)
    if part:
        yield part, b"".join(lines)
