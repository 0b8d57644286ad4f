"""Read the lines of a jsonl file as rows of text cells; a line may stand for several rows, as an answer for items.

>>> JsonLines(plan).read(['{"item_id": "p-01", "price": 12.50}', "no row"], first=1)
({'item_id': ['p-01'], 'price': ['12.50']}, [1], [(2, 'no row')])
"""

from collections.abc import Iterator, Sequence
from typing import TextIO

import msgspec

from jobs.landing.csv_records import BLOCK_CHARACTERS
from jobs.landing.file_plans import FilePlan
from jobs.landing.torn_ends import TORN
from serving.snapshot.manifest import NOT_JSON

_LISTS = msgspec.json.Decoder(list[msgspec.Raw])


def line_blocks(text: TextIO, is_torn: bool) -> Iterator[list[str]]:
    """Yield the lines of a text, many at a time; of a torn one, those before its torn end."""
    if not is_torn:
        while lines := text.readlines(BLOCK_CHARACTERS):
            yield lines
        return
    lines = []
    try:
        for line in text:
            lines.append(line)
    except TORN:
        pass  # the end is told by the plan
    yield lines


class JsonLines:
    """Reads the lines of a jsonl file by its plan."""

    def __init__(self, plan: FilePlan) -> None:
        lists = dict(plan.lists)
        theirs = dict(plan.columns)
        self._names = list(theirs)
        self._lists = [name for name in theirs if name in lists]
        names = [*theirs.values(), *(lists[name] for name in self._lists)]
        fields = [(f"c{place}", msgspec.Raw, msgspec.Raw(b"")) for place in range(len(names))]
        keys = {f"c{place}": name for place, name in enumerate(names)}
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Row", fields, rename=keys))
        self._fields = dict(zip(self._names, keys, strict=False))
        self._list_fields = dict(zip(self._lists, list(keys)[len(theirs) :], strict=True))

    def read(
        self, lines: Sequence[str], first: int
    ) -> tuple[dict[str, list[str | None]], list[int], list[tuple[int, str]]]:
        """Return the cells of the lines that are rows, by column, with each row's line, and the lines that are none.

        `first` is the number of the first line.
        """
        rows, malformed = [], []
        columns: dict[str, list[str | None]] = {name: [] for name in self._names}
        numbers: list[int] = []
        for number, line in enumerate(lines, first):
            try:
                row = self._decoder.decode(line)
            except NOT_JSON:
                if line.strip():
                    malformed.append((number, line.rstrip("\r\n")))
                continue
            if not self._lists:
                rows.append(row)
                numbers.append(number)
                continue
            several = self._listed(row)
            if several is None:
                malformed.append((number, line.rstrip("\r\n")))
                continue
            count = len(several[self._lists[0]])
            numbers += [number] * count
            for name in columns:
                columns[name] += (
                    several[name] if name in several else [_text(getattr(row, self._fields[name]))] * count
                )
        if not self._lists:
            columns = {name: [_text(getattr(row, field)) for row in rows] for name, field in self._fields.items()}
        return columns, numbers, malformed

    def _listed(self, row: object) -> dict[str, list[str | None]] | None:
        """Return the cells of a row's lists, all of one length; None where they do not fit.

        A row without the first list, which has its column, stands for itself.
        """
        lists: dict[str, list[str | None]] = {}
        first = self._lists[0]
        if not bytes(getattr(row, self._list_fields[first])) and bytes(getattr(row, self._fields[first])):
            return {name: [_text(getattr(row, self._fields[name]))] for name in self._lists}
        for name, field in self._list_fields.items():
            raw = bytes(getattr(row, field))
            if raw in (b"", b"null"):
                continue
            try:
                lists[name] = [_text(cell) for cell in _LISTS.decode(raw)]
            except NOT_JSON:
                return None
        if first not in lists:
            return None
        count = len(lists[first])
        if any(len(cells) != count for cells in lists.values()):
            return None
        return {name: lists.get(name, [None] * count) for name in self._lists}


def _text(cell: msgspec.Raw) -> str | None:
    """Return a JSON value as text: a string without its quotes, all else as it is written."""
    raw = bytes(cell)
    if not raw or raw == b"null":
        return None
    if raw[:1] != b'"':
        return raw.decode()
    if b"\\" not in raw:
        return raw[1:-1].decode()
    return str(msgspec.json.decode(raw))
