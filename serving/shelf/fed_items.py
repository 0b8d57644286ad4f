"""The table of what the live feed set: the newest value of each field of each item, and when it was set.

An item that the catalogue lacks is forgotten KEEP_UNKNOWN_S after its newest row, so that items of the past do not
add up. One that is hidden is kept: if it comes back, it must not be shown.
"""

from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

KEEP_UNKNOWN_S = 7 * 24 * 3600.0
FIELDS = ("price_minor", "stock", "hidden")
UNSET = -2  # the feed never set this field, or took its value back
_NEVER = -(1 << 62)
_HIDDEN = FIELDS.index("hidden")

Columns = tuple["array[int]", ...]  # one for each of FIELDS, with one entry a slot


class FedItems:
    """One slot an item: values, and times in milliseconds UTC."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.values: Columns = tuple(array("q") for _ in FIELDS)
        self.times: Columns = tuple(array("q") for _ in FIELDS)

    def __len__(self) -> int:
        return len(self.slots)

    def slot(self, item_id: str) -> int:
        """Return an item's slot, a new one where it has none."""
        slot = self.slots.get(item_id)
        if slot is None:
            slot = self.slots[item_id] = len(self.slots)
            for values, times in zip(self.values, self.times, strict=True):
                values.append(UNSET)
                times.append(_NEVER)
        return slot

    def row(self, slot: int) -> tuple[int, int, int]:
        """Return price, stock and whether the item is hidden; UNSET for what the feed never set."""
        price_minor, stock, hidden = self.values
        return price_minor[slot], stock[slot], hidden[slot]

    def newest_ms(self, item_id: str) -> int:
        """Return when an item was last set; a time long past if it never was."""
        slot = self.slots.get(item_id)
        return _NEVER if slot is None else max(times[slot] for times in self.times)

    def take_row(self, slot: int, other: "FedItems", other_slot: int) -> None:
        """Take over every field of an item of another table."""
        for mine, others in zip((*self.values, *self.times), (*other.values, *other.times), strict=True):
            mine[slot] = others[other_slot]

    def rows(self) -> Iterator[tuple[str, int, list[int | None]]]:
        """Yield for each item and each time at which fields were set: its id, the time, and those fields."""
        values, times = zip(*self.values, strict=True), zip(*self.times, strict=True)
        for item_id, row, row_times in zip(self.slots, values, times, strict=True):
            for ts in dict.fromkeys(row_times):
                if ts != _NEVER:
                    yield item_id, ts, [value if at == ts else None for value, at in zip(row, row_times, strict=True)]

    def columns(self, count: int) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """Return copies of values and times of the first `count` slots, while others may be added."""
        values, times = (
            [np.frombuffer(column[:count], np.int64) for column in columns] for columns in (self.values, self.times)
        )
        return values, times

    def kept(self, unknown: NDArray[np.bool_], now_s: float) -> NDArray[np.bool_]:
        """Return which of the first slots are kept, given those whose items the catalogue lacks."""
        values, times = self.columns(len(unknown))
        is_recent = np.max(times, axis=0) >= (now_s - KEEP_UNKNOWN_S) * 1000
        kept: NDArray[np.bool_] = ~unknown | is_recent | (values[_HIDDEN] == 1)
        return kept

    def only(self, kept: NDArray[np.bool_]) -> "FedItems":
        """Return a table of the kept ones of the first slots, in their order."""
        fewer = FedItems()
        item_ids = [item_id for item_id, is_kept in zip(list(self.slots), kept.tolist(), strict=False) if is_kept]
        fewer.slots = {item_id: slot for slot, item_id in enumerate(item_ids)}
        fewer.values, fewer.times = (
            tuple(array("q", column[kept].tobytes()) for column in columns) for columns in self.columns(len(kept))
        )
        return fewer
