"""JSON fragments of answers: each item's and each reason's, encoded once.

Answers are bound by memory access, so fragments are bytes in plain lists by catalogue position: assembling an answer
encodes nothing, and finding a fragment touches the least memory.
"""

from collections.abc import Sequence

import msgspec

from serving.shelf.item_fields import BEFORE_SCORE, PRICE, constant_fields
from serving.shelf.languages import ReasonTemplates, category_name, json_text
from serving.shelf.snapshot import Snapshot
from serving.snapshot.blobs import Strings

MAX_BYTES = 32 << 20  # of the items, titles and fields kept; beyond that all are encoded anew
_PART_BYTES = 50  # of one of them, beside its text
_ENTRY_BYTES = 100  # of an item with fields, beside that: its place in a dictionary
_ENCODER = msgspec.json.Encoder()


class EncodedParts:
    """One snapshot's fragments. Use from one thread only."""

    def __init__(self, snapshot: Snapshot, previous: "EncodedParts | None" = None) -> None:
        """`previous` are the fragments of the same base, whose positions are the same; they are reused.

        What the overlay of `previous` added is not: another overlay has other items at these positions.
        """
        self._ids, self._titles_column = _raw(snapshot.item_ids), _raw(snapshot.titles)
        self._nodes = snapshot.item_category.data
        count = len(snapshot)
        self._items: list[bytes | None] = [None] * count
        self._titles: list[bytes | None] = [None] * count
        self._snapshot = snapshot
        self._fields: dict[tuple[str, ...], dict[int, bytes]] = {}  # of items by position, by the fields asked for
        self.bytes = 0  # of all that is kept
        if previous is not None:
            self._reuse(previous, len(snapshot.base))
        self._titles.append(b"")  # at -1: none
        self._categories = [json_text(category_name(path)) for path in snapshot.categories]
        self._categories.append(b"")  # at -1: none
        manifest = snapshot.manifest
        made_by = (snapshot.version, snapshot.overlay, manifest.model_version, manifest.policy_version)
        self.made_by = msgspec.Raw(_ENCODER.encode(made_by))  # for the exposure log
        versions = {"model_version": manifest.model_version, "snapshot": snapshot.version}
        self.versions = _ENCODER.encode(versions)[1:-1]

    def _reuse(self, previous: "EncodedParts", shared: int) -> None:
        """Take over what `previous` kept of the first `shared` positions."""
        self._items[:shared], self._titles[:shared] = previous._items[:shared], previous._titles[:shared]
        left = (*previous._items[shared:], *previous._titles[shared:-1])
        left_bytes = sum(len(part) + _PART_BYTES for part in left if part is not None)
        for fields, kept in previous._fields.items():
            self._fields[fields] = kept.copy()
            for position in range(shared, len(previous._items)):
                part = self._fields[fields].pop(position, None)
                left_bytes += 0 if part is None else len(part) + _PART_BYTES + _ENTRY_BYTES
        self.bytes = previous.bytes - left_bytes

    def items(self, positions: Sequence[int]) -> list[bytes]:
        """Return the beginning of each item in an answer, up to its score."""
        items = self._items
        return [items[position] or self._item(position) for position in positions]

    def items_with(self, fields: tuple[str, ...], positions: Sequence[int]) -> list[bytes]:
        """Return the same with some fields, up to the score, or up to the price where that is one of them."""
        kept = self._fields.setdefault(fields, {})
        get = kept.get
        return [get(position) or self._item_with(fields, position, kept) for position in positions]

    def reasons(
        self,
        codes: Sequence[int],
        positions: Sequence[int],
        reason_positions: Sequence[int],
        templates: ReasonTemplates,
    ) -> list[bytes]:
        """Return the end of each item in an answer, its reason and a comma: three fragments an item."""
        names = self.names(codes, positions, reason_positions, templates.names)
        named, unnamed = templates.named, templates.unnamed
        fragments: list[bytes] = []
        for code, name in zip(codes, names, strict=True):
            begin, end = named[code] if name else unnamed[code]
            fragments += (begin, name, end)
        return fragments

    def names(
        self, codes: Sequence[int], positions: Sequence[int], reason_positions: Sequence[int], things: Sequence[str]
    ) -> list[bytes]:
        """Return the title or category that each reason names, as JSON text without quotes; empty for none.

        `things` are what each reason code names: item, category or nothing.
        """
        try:
            return self._names(codes, positions, reason_positions, things)
        except IndexError:  # a record may name an item that the catalogue does not have
            known = [item if item < len(self._items) else -1 for item in reason_positions]
            return self._names(codes, positions, known, things)

    def _names(
        self, codes: Sequence[int], positions: Sequence[int], reason_positions: Sequence[int], things: Sequence[str]
    ) -> list[bytes]:
        titles, categories, nodes = self._titles, self._categories, self._nodes
        names: list[bytes | None] = [
            (titles[item] if thing == "item" else categories[nodes[position]]) if (thing := things[code]) else b""
            for code, position, item in zip(codes, positions, reason_positions, strict=True)
        ]
        if None in names:
            rows = zip(names, reason_positions, strict=True)
            return [self._title(item) if name is None else name for name, item in rows]
        return names  # type: ignore[return-value]  # none of them is None

    def _item(self, position: int) -> bytes:
        part = b'{"item_id":"%b"%b' % (json_text(_text(self._ids, position)), BEFORE_SCORE)
        self._make_room(part)
        self._items[position] = part
        return part

    def _title(self, position: int) -> bytes:
        part = json_text(_text(self._titles_column, position))
        self._make_room(part)
        self._titles[position] = part
        return part

    def _item_with(self, fields: tuple[str, ...], position: int, kept: dict[int, bytes]) -> bytes:
        before = b"" if PRICE in fields else BEFORE_SCORE
        members = constant_fields(self._snapshot, position, fields)
        part = b'{"item_id":"%b"%b%b' % (json_text(_text(self._ids, position)), members, before)
        self._make_room(part, _PART_BYTES + _ENTRY_BYTES)
        kept[position] = part
        return part

    def _make_room(self, part: bytes, beside: int = _PART_BYTES) -> None:
        """Count a part that will be kept; if there is no room for it, drop all others."""
        size = len(part) + beside
        if self.bytes + size > MAX_BYTES:
            count = len(self._items)
            self._items[:], self._titles[:count] = [None] * count, [None] * count
            for kept in self._fields.values():
                kept.clear()
            self.bytes = 0
        self.bytes += size


def _raw(column: Strings) -> tuple[memoryview, memoryview]:
    data, offsets = column.columns
    return data, offsets.data  # a memoryview's items are plain integers, faster to read than NumPy's


def _text(column: tuple[memoryview, memoryview], row: int) -> str:
    data, offsets = column
    return str(data[offsets[row] : offsets[row + 1]], "utf-8")
