"""Live item state: current price, stock and moderation, kept beside the snapshot.

Feed rows are appended to a durable log (JSON lines) before they are acknowledged. Every worker follows that log, so
all hold the same state and a restart restores it. For each field the row with the latest `ts` wins; at equal `ts` the
later line wins. A field that the feed never set keeps the night's value.

    {"item_id": "mug-1", "ts": 1767225600000, "price_minor": 1250, "stock": 3, "hidden": false}
"""

from array import array
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.shelf.snapshot import Snapshot

_FIELDS = ("price_minor", "stock", "hidden")
_UNSET = -2  # the feed never set this field
_NEVER = -(1 << 62)
_MAX_STOCK = 2**31 - 1


class ItemChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One feed row: an item's changed fields at `ts` (milliseconds UTC); None leaves a field unchanged."""

    item_id: str
    ts: int
    price_minor: int | None = None
    stock: int | None = None
    hidden: bool | None = None
    folded: bool = False  # repeated by a compacted log: counts as older than any other line of the same ts


_ENCODER, _DECODER = msgspec.json.Encoder(), msgspec.json.Decoder(ItemChange)


class LiveItems:
    """The live columns that lookups read (`serving.shelf.filters.LiveColumns`), over one snapshot's catalogue."""

    __slots__ = ("masks", "price_minor", "prices", "servable", "snapshot", "stock")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.price_minor = snapshot.price_minor.copy()
        self.prices = self.price_minor.data  # the same values, faster to read one by one
        self.stock = snapshot.stock.copy()
        self.masks: dict[object, NDArray[np.bool_]] = {}  # cache of results over these columns as they are now
        self.servable = self.stock != 0  # unknown stock is served: the shop does not count it

    def set(self, position: int, price_minor: int, stock: int, hidden: int) -> None:
        """Set an item's live values; _UNSET restores the night's value."""
        night = self.snapshot
        self.masks.clear()
        self.price_minor[position] = night.price_minor[position] if price_minor == _UNSET else price_minor
        self.stock[position] = night.stock[position] if stock == _UNSET else min(stock, _MAX_STOCK)
        self.servable[position] = self.stock[position] != 0 and hidden != 1

    def set_many(
        self,
        positions: NDArray[np.int64],
        price_minor: NDArray[np.int64],
        stock: NDArray[np.int64],
        hidden: NDArray[np.int64],
    ) -> None:
        """Set many items over the night's values, each as `set` does; a position of -1 is skipped."""
        self.masks.clear()
        known = positions >= 0
        for column, values in ((self.price_minor, price_minor), (self.stock, np.minimum(stock, _MAX_STOCK))):
            is_set = known & (values != _UNSET)
            column[positions[is_set]] = values[is_set]
        known_positions = positions[known]
        self.servable[known_positions] = (self.stock[known_positions] != 0) & (hidden[known] != 1)


class ItemState:
    """The latest feed values of every item; `bind` maps them onto a snapshot's catalogue."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._values = tuple(array("q") for _ in _FIELDS)  # for each field, one entry a slot
        self._times = tuple(array("q") for _ in _FIELDS)
        self._live: LiveItems | None = None
        self._positions = array("q")  # of each slot in the bound catalogue
        self.newest_ts = 0

    def __len__(self) -> int:
        return len(self._slots)

    def take(self, lines: Sequence[bytes]) -> None:
        """Take in lines of the log, in its order."""
        for line in lines:
            try:
                change = _DECODER.decode(line)
            except msgspec.MsgspecError:
                continue  # a full disk or a power cut cut this line off; it was never acknowledged
            self._take(change)

    def bind(self, snapshot: Snapshot) -> tuple[LiveItems, "array[int]"]:
        """Return live columns over another snapshot with the night's values, and the position of each slot in it.

        May run in a thread: `use` then applies the feed, including changes that arrived meanwhile.
        """
        live = LiveItems(snapshot)
        return live, array("q", map(snapshot.position, list(self._slots)))

    def use(self, live: LiveItems, positions: "array[int]") -> None:
        """Make bound columns the ones that lookups read, with every feed value until now."""
        positions.extend(map(live.snapshot.position, list(self._slots)[len(positions) :]))
        live.set_many(np.array(positions), *(np.array(values) for values in self._values))
        self._live, self._positions = live, positions

    def _take(self, change: ItemChange) -> None:
        slot = self._slots.get(change.item_id)
        if slot is None:
            slot = self._slots[change.item_id] = len(self._slots)
            for values, times in zip(self._values, self._times, strict=True):
                values.append(_UNSET)
                times.append(_NEVER)
            if self._live is not None:
                self._positions.append(self._live.snapshot.position(change.item_id))
        effective_ts = change.ts - change.folded
        for field, value in enumerate((change.price_minor, change.stock, change.hidden)):
            if value is not None and effective_ts >= self._times[field][slot]:
                self._values[field][slot], self._times[field][slot] = int(value), change.ts
        self.newest_ts = max(self.newest_ts, change.ts)
        if self._live is not None and self._positions[slot] >= 0:
            price_minor, stock, hidden = self._values
            self._live.set(self._positions[slot], price_minor[slot], stock[slot], hidden[slot])

    def lines(self) -> bytes:
        """Return log lines that restore this state: one for each item and `ts`."""
        return encode_changes(change for slot in self._slots.items() for change in self._changes(*slot))

    def _changes(self, item_id: str, slot: int) -> Iterable[ItemChange]:
        by_ts: dict[int, dict[str, int | bool]] = {}
        for name, values, times in zip(_FIELDS, self._values, self._times, strict=True):
            if times[slot] != _NEVER:
                by_ts.setdefault(times[slot], {})[name] = bool(values[slot]) if name == "hidden" else values[slot]
        for ts, fields in by_ts.items():
            yield msgspec.convert({"item_id": item_id, "ts": ts, "folded": True, **fields}, ItemChange)


def encode_changes(changes: Iterable[ItemChange]) -> bytes:
    """Return the changes as lines for the log."""
    return b"".join(_ENCODER.encode(change) + b"\n" for change in changes)


def compacted(lines: bytes) -> bytes:
    """Return fewer log lines that restore the same state (`serving.logs.file_log.Log.fold`)."""
    state = ItemState()
    state.take(lines.splitlines())
    return state.lines()
