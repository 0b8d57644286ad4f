"""A table of results with a bound in bytes. Of the results that were not used lately, the most go at once.

table: BoundedTable[str, bytes] = BoundedTable(32 << 20)
table.put("key", b"value", size=64)

It has two halves: what was put or used lately, and what was before that. When the first is full it takes the place
of the second. So a lookup that finds its value in the first half costs no more than one in a dictionary.
"""

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

ENTRY_BYTES = 200  # of an entry's place in the table, beside what its key and its value take


class BoundedTable(Generic[Key, Value]):
    """Values by key. It never holds more than `max_bytes`, by the sizes that `put` is told. Use from one thread."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._recent: dict[Key, tuple[Value, int]] = {}
        self._before: dict[Key, tuple[Value, int]] = {}
        self._recent_bytes = self._before_bytes = 0

    def __len__(self) -> int:
        return len(self._recent) + len(self._before)

    @property
    def bytes(self) -> int:
        """What its entries take."""
        return self._recent_bytes + self._before_bytes

    def get(self, key: Key) -> Value | None:
        """Return a value, which then counts as used, or None."""
        entry = self._recent.get(key)
        if entry is not None:
            return entry[0]
        entry = self._before.pop(key, None)
        if entry is None:
            return None
        self._before_bytes -= entry[1]
        self._keep(key, entry)
        return entry[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep the value of a key that the table lacks; they take `size` bytes. One over half the bound goes."""
        size += ENTRY_BYTES
        if size <= self.max_bytes // 2:
            self._keep(key, (value, size))

    def _keep(self, key: Key, entry: tuple[Value, int]) -> None:
        if self._recent_bytes + entry[1] > self.max_bytes // 2:
            self._before, self._before_bytes = self._recent, self._recent_bytes
            self._recent, self._recent_bytes = {}, 0
        self._recent[key] = entry
        self._recent_bytes += entry[1]
