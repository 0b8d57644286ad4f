"""The parts of answers, encoded once: an item's JSON by its position, a reason's by what it speaks of.

Most items and reasons are shown again and again; those that are not are cut out of the snapshot's own bytes.
"""

from collections.abc import Iterable
from functools import lru_cache

import msgspec
import numpy as np

from serving.record import REASON_CODES
from serving.snapshot import OF_CATEGORY, Snapshot

_ITEMS, _REASONS = 1 << 17, 1 << 16
_ENCODER = msgspec.json.Encoder()


def _json(text: str) -> str:
    return _ENCODER.encode(text).decode()


class Parts:
    """One snapshot's parts; they may be used from one thread."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._ids, offsets = snapshot.item_ids.columns
        ids = np.frombuffer(self._ids, np.uint8)
        self._plain = not np.any((ids < 32) | (ids == ord('"')) | (ids == ord("\\")))  # none needs escaping
        self._offsets = offsets.data
        self._nodes = snapshot.item_category.data
        self._item = lru_cache(_ITEMS)(self._item_json)
        # What a reason of each code speaks of: the item's category, or another item.
        self._of_category = [name in OF_CATEGORY for name in REASON_CODES]
        manifest, overlay = snapshot.manifest, getattr(snapshot, "overlay", None)
        made_by = (snapshot.version, overlay, manifest.model_version, manifest.policy_version)
        self.made_by = msgspec.Raw(_ENCODER.encode(made_by))  # for the exposure log
        self._known: list[dict[int, str]] = [{} for _ in REASON_CODES]

    def items(self, positions: Iterable[int]) -> Iterable[str]:
        """The beginning of each item in an answer, up to its score."""
        return map(self._item, positions)

    def reasons(self, codes: list[int], positions: list[int], about: list[int]) -> list[str]:
        """The end of each item in an answer: its reason, and the brace."""
        known, of_category, nodes = self._known, self._of_category, self._nodes
        return [
            known[code].get(nodes[position] if of_category[code] else item) or self._reason(code, position, item)
            for code, position, item in zip(codes, positions, about, strict=True)
        ]

    def _reason(self, code: int, position: int, about: int) -> str:
        known = self._known[code]
        if len(known) >= _REASONS:
            known.clear()
        text = _json(self._snapshot.reason(code, position, about)) + "},"
        known[self._nodes[position] if self._of_category[code] else about] = text
        return text

    def _item_json(self, position: int) -> str:
        offsets = self._offsets
        text = str(self._ids[offsets[position] : offsets[position + 1]], "utf-8")
        return f'{{"item_id":"{text}","score":' if self._plain else f'{{"item_id":{_json(text)},"score":'
