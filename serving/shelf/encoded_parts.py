"""JSON fragments of answers: each item's and each reason's, encoded once.

Answers are bound by memory access, so fragments are bytes in plain lists by catalogue position: assembling an answer
encodes nothing, and finding a fragment touches the least memory.
"""

from collections.abc import Sequence
from functools import cache

import msgspec

from serving.shelf.fill_levels import LEVELS
from serving.shelf.reason_texts import NAME_CATEGORY, category_name, reason_text
from serving.shelf.snapshot import Snapshot
from serving.snapshot.blobs import Strings
from serving.snapshot.record import REASON_CODES, SOURCES

MAX_BYTES = 32 << 20  # of the items and titles kept; beyond that all are encoded anew
_PART_BYTES = 50  # of one of them, beside its text
_ENCODER = msgspec.json.Encoder()
_NAME_MARK = "\ue000"  # stands for the name while a reason's text is cut in two
_NOTHING, _CATEGORY, _TITLE = range(3)  # what a reason names


class EncodedParts:
    """One snapshot's fragments. Use from one thread only."""

    def __init__(self, snapshot: Snapshot, previous: "EncodedParts | None" = None) -> None:
        """`previous` are the fragments of the same base, whose positions are the same; they are reused."""
        self._ids, self._titles_column = _raw(snapshot.item_ids), _raw(snapshot.titles)
        self._nodes = snapshot.item_category.data
        count = len(snapshot)
        self._items: list[bytes | None] = [None] * count
        self._titles: list[bytes | None] = [None] * count
        self.bytes = 0  # of the items and titles kept
        if previous is not None:
            shared = min(count, len(previous._items))
            self._items[:shared], self._titles[:shared] = previous._items[:shared], previous._titles[:shared]
            self.bytes = previous.bytes
        self._titles.append(b"")  # at -1: none
        self._categories = [_json_text(category_name(path)) for path in snapshot.categories]
        self._categories.append(b"")  # at -1: none
        manifest = snapshot.manifest
        made_by = (snapshot.version, snapshot.overlay, manifest.model_version, manifest.policy_version)
        self.made_by = msgspec.Raw(_ENCODER.encode(made_by))  # for the exposure log
        versions = {"model_version": manifest.model_version, "snapshot": snapshot.version}
        self.versions = _ENCODER.encode(versions)[1:-1]
        self._named_things, self._named, self._unnamed = _templates()

    def items(self, positions: Sequence[int]) -> list[bytes]:
        """Return the beginning of each item in an answer, up to its score."""
        items = self._items
        return [items[position] or self._item(position) for position in positions]

    def reasons(self, codes: Sequence[int], positions: Sequence[int], reason_positions: Sequence[int]) -> list[bytes]:
        """Return the end of each item in an answer, its reason and a comma: three fragments an item."""
        try:
            names = self._names(codes, positions, reason_positions)
        except IndexError:  # a record may name an item that the catalogue does not have
            reason_positions = [item if item < len(self._items) else -1 for item in reason_positions]
            names = self._names(codes, positions, reason_positions)
        named, unnamed = self._named, self._unnamed
        fragments: list[bytes] = []
        for code, name in zip(codes, names, strict=True):
            begin, end = named[code] if name else unnamed[code]
            fragments += (begin, name, end)
        return fragments

    def _names(self, codes: Sequence[int], positions: Sequence[int], reason_positions: Sequence[int]) -> list[bytes]:
        things, titles, categories, nodes = self._named_things, self._titles, self._categories, self._nodes
        names: list[bytes | None] = [
            (titles[item] if thing == _TITLE else categories[nodes[position]]) if (thing := things[code]) else b""
            for code, position, item in zip(codes, positions, reason_positions, strict=True)
        ]
        if None in names:
            rows = zip(names, reason_positions, strict=True)
            return [self._title(item) if name is None else name for name, item in rows]
        return names  # type: ignore[return-value]  # none of them is None

    def _item(self, position: int) -> bytes:
        part = b'{"item_id":"%b","score":' % _json_text(_text(self._ids, position))
        self._make_room(part)
        self._items[position] = part
        return part

    def _title(self, position: int) -> bytes:
        part = _json_text(_text(self._titles_column, position))
        self._make_room(part)
        self._titles[position] = part
        return part

    def _make_room(self, part: bytes) -> None:
        """Count a part that will be kept; if there is no room for it, drop all others."""
        size = len(part) + _PART_BYTES
        if self.bytes + size > MAX_BYTES:
            count = len(self._items)
            self._items[:], self._titles[:count] = [None] * count, [None] * count
            self.bytes = 0
        self.bytes += size


def _raw(column: Strings) -> tuple[memoryview, memoryview]:
    data, offsets = column.columns
    return data, offsets.data  # a memoryview's items are plain integers, faster to read than NumPy's


def _text(column: tuple[memoryview, memoryview], row: int) -> str:
    data, offsets = column
    return str(data[offsets[row] : offsets[row + 1]], "utf-8")


def with_details(
    ends: Sequence[bytes], sources: Sequence[int], codes: Sequence[int], levels: Sequence[int]
) -> list[bytes]:
    """Return the last fragments of items, each now followed by the item's source, reason code and fill level."""
    columns = zip(ends, sources, codes, levels, strict=True)
    return [end[: -len(b"},")] + _details(source, code, level) for end, source, code, level in columns]


@cache
def _details(source: int, code: int, level: int) -> bytes:
    details = {"source": SOURCES[source], "reason_code": REASON_CODES[code], "fill_level": LEVELS[level]}
    return b",%b}," % _ENCODER.encode(details)[1:-1]


def _json_text(text: str) -> bytes:
    """Return a JSON string without its quotes."""
    return _ENCODER.encode(text)[1:-1]


def _templates() -> tuple[list[int], list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Return for each reason code what it names, and its text before and after the name: with a name, and without."""
    things, named, unnamed = [], [], []
    for reason in REASON_CODES:
        with_name, without_name = reason_text(reason, _NAME_MARK), reason_text(reason, "")
        begin, mark, end = with_name.partition(_NAME_MARK)
        things.append(_NOTHING if not mark else _CATEGORY if reason in NAME_CATEGORY else _TITLE)
        named.append((b'"' + _json_text(begin), _json_text(end) + b'"},'))
        unnamed.append((b'"' + _json_text(without_name), b'"},'))
    return things, named, unnamed
