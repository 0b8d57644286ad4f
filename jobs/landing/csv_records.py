"""Split a csv into records, whatever a shop's tools did to it, so that no line is lost.

Quotes within quotes may be doubled, or stand behind a backslash. A quote that is never closed, or closed in the wrong
place, costs its own line: the lines after it are read again, each for itself. Line ends may be mixed.

>>> block = next(csv_blocks(text, CsvForm(("item_id", "title"))))
>>> block.rows, block.malformed
([['p-01', 'Mug']], [(3, 'p-02,Pan,more')])
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

BLOCK_CHARACTERS = 1 << 20
LONGEST_CONTINUATION = 1 << 20
"""Characters of a record's lines after its first; a cell that goes on for longer has a quote that nobody closed."""
LONGEST_CELL = 1 << 30
"""Characters in one cell; Python's own limit is 131,072."""
FEWEST_CELLS = 3
"""In a file of fewer columns a cell of several lines cannot be told from lines that a quote has swallowed."""


@dataclass(frozen=True)
class CsvForm:
    """How a csv is written; `lines_before` is where its rows begin, behind the header."""

    header: tuple[str, ...]
    encoding: str = "utf-8-sig"
    separator: str = ","
    quote: str = '"'
    escape: str | None = None
    line_end: str = "\n"
    is_windows: bool = False
    """The header ends in CRLF: line breaks within cells become plain ones."""
    lines_before: int = 1


@dataclass
class RowBlock:
    """Some rows of a file, with the number of the line on which each begins."""

    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    malformed: list[tuple[int, str]] = field(default_factory=list)
    """Line and text of what is no row."""


class _TooLongError(Exception):
    """A record goes on for too long."""


class _Lines:
    """The lines of a text, of which some are kept so that they can be read again."""

    def __init__(self, text: TextIO, number: int) -> None:
        self._text = text
        self.kept: list[str] = []
        self.at = 0
        self.number = number
        """The number of the line `kept[0]`."""
        self._continued = 0

    def fill(self) -> bool:
        """Drop the lines that were read, and read more; return whether there are any."""
        self.number += self.at
        self.kept, self.at = self.kept[self.at :], 0
        if not self.kept:
            self.kept = self._text.readlines(BLOCK_CHARACTERS)
        return bool(self.kept)

    def begin(self) -> None:
        """A record begins with the next line."""
        self._continued = -1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._continued > LONGEST_CONTINUATION:
            raise _TooLongError
        if self.at == len(self.kept):
            more = self._text.readlines(BLOCK_CHARACTERS)
            if not more:
                raise StopIteration
            self.kept += more
        line = self.kept[self.at]
        self.at += 1
        self._continued = 0 if self._continued < 0 else self._continued + len(line)
        return line


def csv_blocks(text: TextIO, form: CsvForm) -> Iterator[RowBlock]:
    """Yield the rows of a csv behind its header, each with as many cells as the header has; blank lines are no rows.

    `text` must not translate line ends. It is read from its beginning.

    Raises:
        UnicodeDecodeError: the text is not of its encoding.
    """
    csv.field_size_limit(LONGEST_CELL)
    for _ in range(form.lines_before):
        text.readline()
    lines = _Lines(text, form.lines_before + 1)
    while lines.fill():
        block = RowBlock()
        if form.quote in "".join(lines.kept):
            _read_quoted(lines, form, block)
        else:
            _read_plain(lines, form, block)
        yield block


def fitted(cells: list[str], width: int) -> list[str] | None:
    """Return a row's cells, without blank ones behind the last column; None if their number is wrong."""
    if len(cells) == width:
        return cells
    return cells[:width] if len(cells) > width and not "".join(cells[width:]).strip() else None


def _read_plain(lines: _Lines, form: CsvForm, block: RowBlock) -> None:
    width, separator = len(form.header), form.separator
    for number, line in enumerate(lines.kept, lines.number):
        cells = line.rstrip("\r\n").split(separator)
        if len(cells) == width and (cells[0][:1] > " " or "".join(cells).strip()):
            block.rows.append(cells)
            block.lines.append(number)
        else:
            _take_line(line, number, form, block)
    lines.at = len(lines.kept)


def _take_line(line: str, number: int, form: CsvForm, block: RowBlock) -> None:
    """Take a line that is no row as it stands: it may be blank, or hold several rows that end in carriage returns."""
    parts = line.strip("\r\n").split("\r")
    if not "".join(parts).replace(form.separator, "").strip():
        return
    width = len(form.header)
    rows = [fitted(part.split(form.separator), width) for part in parts]
    whole = [row for row in rows if row is not None]
    if len(whole) < len(rows):
        block.malformed.append((number, line.rstrip("\r\n")))
        return
    block.rows += whole
    block.lines += [number] * len(whole)


def _read_quoted(lines: _Lines, form: CsvForm, block: RowBlock) -> None:
    """Read the records that begin in the lines at hand; the last one may go on behind them."""
    width, end = len(form.header), len(lines.kept)
    reader = _reader(lines, form)
    while lines.at < end:
        begin = lines.at
        number = lines.number + begin
        lines.begin()
        try:
            cells = next(reader)
            is_whole = True
        except (csv.Error, _TooLongError, StopIteration):
            cells, is_whole = [], False
        taken = lines.kept[begin : lines.at]
        if is_whole and not "".join(cells).strip():
            continue  # a blank line, or one of separators alone
        row = fitted(cells, width) if is_whole else None
        if row is not None and not _swallows(taken, form):
            block.rows.append(_plain_breaks(row, form))
            block.lines.append(number)
            continue
        row = _with_backslashes(lines, begin, form)
        if row is not None:
            block.rows.append(row)
            block.lines.append(number)
        elif is_whole and len(taken) > 1 and not any(_looks_whole(line, form) for line in taken):
            block.malformed.append((number, "".join(taken).rstrip("\r\n")))
        else:
            lines.at = begin + 1
            if form.quote in taken[0]:
                block.malformed.append((number, taken[0].rstrip("\r\n")))
            else:
                _take_line(taken[0], number, form, block)
        reader = _reader(lines, form)


def _reader(lines: _Lines, form: CsvForm, escape: str | None = None) -> "Iterator[list[str]]":
    escape = escape or form.escape
    return csv.reader(
        _without_returns(lines),
        delimiter=form.separator,
        quotechar=form.quote,
        doublequote=escape is None,
        escapechar=escape,
        strict=True,
    )


def _without_returns(lines: _Lines) -> Iterator[str]:
    """Yield lines in which a carriage return outside quotes stands for a blank; Python's csv refuses them there."""
    for line in lines:
        end = len(line.rstrip("\r\n"))
        yield line if "\r" not in line[:end] else line[:end].replace("\r", " ") + line[end:]


def _with_backslashes(lines: _Lines, begin: int, form: CsvForm) -> list[str] | None:
    """Read a record again with its quotes escaped by backslashes; None, and nothing is read, if that makes no row."""
    after = lines.at
    lines.at = begin
    if form.escape is None and "\\" in lines.kept[begin]:
        lines.begin()
        try:
            cells = next(_reader(lines, form, "\\"))
        except (csv.Error, _TooLongError, StopIteration):
            cells = []
        row = fitted(cells, len(form.header))
        if row is not None and not _swallows(lines.kept[begin : lines.at], form):
            return _plain_breaks(row, form)
    lines.at = after
    return None


def _swallows(taken: list[str], form: CsvForm) -> bool:
    """Return whether each line of a record looks like a row of its own, so that a stray quote made one of them."""
    return len(taken) > 1 and len(form.header) >= FEWEST_CELLS and all(_looks_whole(line, form) for line in taken)


def _looks_whole(line: str, form: CsvForm) -> bool:
    # In prose a blank follows a comma.
    return line.count(form.separator) - line.count(form.separator + " ") == len(form.header) - 1


def _plain_breaks(row: list[str], form: CsvForm) -> list[str]:
    return [cell.replace("\r\n", "\n") for cell in row] if form.is_windows else row
