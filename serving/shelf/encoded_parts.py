"""The parts of answers, encoded once: an item's JSON by its position, a reason's by what it speaks of.

What limits an answer is the memory's speed. So parts are bytes, which need no encoding in the end, and stand in plain
lists by position, where finding one touches the least memory.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from serving.shelf.snapshot import OF_CATEGORY, Snapshot, reason_text, spoken_category
from serving.snapshot.blobs import Strings
from serving.snapshot.record import REASON_CODES

_KEPT = 1 << 18  # items and titles that are kept; then all are made anew
_ENCODER = msgspec.json.Encoder()
_MARK = "\ue000"  # stands where a reason names something
_NOTHING, _CATEGORY, _TITLE = range(3)  # what the reasons of a code name


class EncodedParts:
    """One snapshot's parts; they may be used from one thread."""

    def __init__(self, snapshot: Snapshot, before: "EncodedParts | None" = None) -> None:
        """`before` are the parts of the same base, whose positions mean the same."""
        self._ids, self._titles_of = _read(snapshot.item_ids), _read(snapshot.titles)
        self._nodes = snapshot.item_category.data
        count = len(snapshot)
        self._items: list[bytes | None] = [None] * count
        self._titles: list[bytes | None] = [None] * count
        self._kept = 0
        if before is not None:
            most = min(count, len(before._items))
            self._items[:most], self._titles[:most] = before._items[:most], before._titles[:most]
            self._kept = before._kept
        self._titles.append(b"")  # at -1: none
        self._categories = [_inner(spoken_category(path)) for path in snapshot.categories]
        self._categories.append(b"")  # at -1: none
        manifest = snapshot.manifest
        made_by = (snapshot.version, snapshot.overlay, manifest.model_version, manifest.policy_version)
        self.made_by = msgspec.Raw(_ENCODER.encode(made_by))  # for the exposure log
        told = {"model_version": manifest.model_version, "snapshot": snapshot.version}
        self.versions = _ENCODER.encode(told)[1:-1]
        self._kinds, self._named, self._bare = _templates()

    def items(self, positions: Sequence[int]) -> list[bytes]:
        """The beginning of each item in an answer, up to its score."""
        known = self._items
        return [known[position] or self._item(position) for position in positions]

    def reasons(self, codes: Sequence[int], positions: Sequence[int], about: Sequence[int]) -> list[bytes]:
        """The end of each item in an answer, its reason and a comma: three parts an item."""
        try:
            names = self._names(codes, positions, about)
        except IndexError:  # a record may name an item that the catalogue does not have
            about = [item if item < len(self._items) else -1 for item in about]
            names = self._names(codes, positions, about)
        named, bare = self._named, self._bare
        out: list[Any] = []
        for code, name in zip(codes, names, strict=True):
            begin, end = named[code] if name else bare[code]
            out += (begin, name, end)
        return out

    def _names(self, codes: Sequence[int], positions: Sequence[int], about: Sequence[int]) -> list[bytes | None]:
        kinds, titles, categories, nodes = self._kinds, self._titles, self._categories, self._nodes
        names: list[bytes | None] = [
            (titles[item] if kind == _TITLE else categories[nodes[position]]) if (kind := kinds[code]) else b""
            for code, position, item in zip(codes, positions, about, strict=True)
        ]
        if None in names:
            return [self._title(item) if name is None else name for name, item in zip(names, about, strict=True)]
        return names

    def _keep(self) -> None:
        self._kept += 1
        if self._kept > _KEPT:
            count = len(self._items)
            self._items[:], self._titles[:count] = [None] * count, [None] * count
            self._kept = 1

    def _item(self, position: int) -> bytes:
        self._keep()
        part = self._items[position] = b'{"item_id":"%b","score":' % _inner(_text(self._ids, position))
        return part

    def _title(self, position: int) -> bytes:
        self._keep()
        part = self._titles[position] = _inner(_text(self._titles_of, position))
        return part


def _read(column: Strings) -> tuple[memoryview, memoryview]:
    data, offsets = column.columns
    return data, offsets.data  # whose items are plain integers, quicker than NumPy's


def _text(column: tuple[memoryview, memoryview], row: int) -> str:
    data, offsets = column
    return str(data[offsets[row] : offsets[row + 1]], "utf-8")


def _inner(text: str) -> bytes:
    """A JSON string without its quotes."""
    return _ENCODER.encode(text)[1:-1]


def _templates() -> tuple[list[int], list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """For each code of a reason what it names, and the texts before and after that: with a name, and without."""
    kinds, named, bare = [], [], []
    for name in REASON_CODES:
        with_name, without = reason_text(name, _MARK), reason_text(name, "")
        begin, mark, end = with_name.partition(_MARK)
        kinds.append(_NOTHING if not mark else _CATEGORY if name in OF_CATEGORY else _TITLE)
        named.append((b'"' + _inner(begin), _inner(end) + b'"},'))
        bare.append((b'"' + _inner(without), b'"},'))
    return kinds, named, bare
