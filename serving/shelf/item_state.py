"""Live item state: price, stock and moderation as of now, beside the snapshot.

Rows of the feed are appended to a log (JSON lines, durable) before they are acknowledged; every worker follows that
log, so each holds the same state and a restart finds it again. The last writer wins, field by field, by the row's
own `ts`; at equal `ts` the later line. What the feed never named stays as the night saw it.

    {"item_id": "mug-1", "ts": 1767225600000, "price_minor": 1250, "stock": 3, "hidden": false}
"""

from array import array
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.shelf.snapshot import Snapshot

_FIELDS = ("price_minor", "stock", "hidden")
_UNSET = -2  # the feed has said nothing of this field
_NEVER = -(1 << 62)


class ItemChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the feed says of one item at `ts` (milliseconds of UTC); None leaves a field as it is."""

    item_id: str
    ts: int
    price_minor: int | None = None
    stock: int | None = None
    hidden: bool | None = None
    folded: bool = False  # told again by a log that was folded: older than any other line of the same ts


_ENCODER, _DECODER = msgspec.json.Encoder(), msgspec.json.Decoder(ItemChange)


class LiveItems:
    """The columns that lookups read, over one snapshot's catalogue."""

    __slots__ = ("masks", "price_minor", "prices", "servable", "snapshot", "stock")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.price_minor = snapshot.price_minor.copy()
        self.prices = self.price_minor.data  # the same, quicker where one is read
        self.stock = snapshot.stock.copy()
        self.masks: dict[object, NDArray[np.bool_]] = {}  # what was worked out of these columns as they stand
        self.servable = self.stock != 0  # unknown stock is served: the shop does not count it

    def set(self, position: int, price_minor: int, stock: int, hidden: int) -> None:
        """Lay the feed's values over the night's; _UNSET gives the night's back."""
        night = self.snapshot
        self.masks.clear()
        self.price_minor[position] = night.price_minor[position] if price_minor == _UNSET else price_minor
        self.stock[position] = night.stock[position] if stock == _UNSET else min(stock, 2**31 - 1)
        self.servable[position] = self.stock[position] != 0 and hidden != 1

    def lay_over(
        self,
        positions: NDArray[np.int64],
        price_minor: NDArray[np.int64],
        stock: NDArray[np.int64],
        hidden: NDArray[np.int64],
    ) -> None:
        """What `set` does, for many at once and over the night's values; a position of -1 is passed over."""
        self.masks.clear()
        known = positions >= 0
        for column, values in ((self.price_minor, price_minor), (self.stock, np.minimum(stock, 2**31 - 1))):
            said = known & (values != _UNSET)
            column[positions[said]] = values[said]
        at = positions[known]
        self.servable[at] = (self.stock[at] != 0) & (hidden[known] != 1)


class ItemState:
    """All that the feed ever said, by item; `bind` maps it onto a snapshot's catalogue."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._values = tuple(array("q") for _ in _FIELDS)  # one entry a slot in each
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
                continue  # a line that a full disk or a power cut tore; it was never acknowledged
            self._take(change)

    def bind(self, snapshot: Snapshot) -> tuple[LiveItems, "array[int]"]:
        """The live columns over another snapshot, and where each slot stands in it.

        May run in a thread: what the feed says meanwhile is laid over by `use`.
        """
        live = LiveItems(snapshot)
        return live, array("q", map(snapshot.position, list(self._slots)))

    def use(self, live: LiveItems, positions: "array[int]") -> None:
        """Make bound columns the ones that lookups read, with everything the feed has said by now."""
        positions.extend(map(live.snapshot.position, list(self._slots)[len(positions) :]))
        self._live, self._positions = live, positions
        live.lay_over(np.array(positions), *(np.array(values) for values in self._values))

    def _take(self, change: ItemChange) -> None:
        slot = self._slots.get(change.item_id)
        if slot is None:
            slot = self._slots[change.item_id] = len(self._slots)
            for values, times in zip(self._values, self._times, strict=True):
                values.append(_UNSET)
                times.append(_NEVER)
            if self._live is not None:
                self._positions.append(self._live.snapshot.position(change.item_id))
        least = change.ts - change.folded
        for field, value in enumerate((change.price_minor, change.stock, change.hidden)):
            if value is not None and least >= self._times[field][slot]:
                self._values[field][slot], self._times[field][slot] = int(value), change.ts
        self.newest_ts = max(self.newest_ts, change.ts)
        if self._live is not None and self._positions[slot] >= 0:
            price_minor, stock, hidden = self._values
            self._live.set(self._positions[slot], price_minor[slot], stock[slot], hidden[slot])

    def lines(self) -> bytes:
        """The same state in as few lines as there are items and times."""
        return encode_changes(change for slot in self._slots.items() for change in self._changes(*slot))

    def _changes(self, item_id: str, slot: int) -> Iterable[ItemChange]:
        by_ts: dict[int, dict[str, int | bool]] = {}
        for name, values, times in zip(_FIELDS, self._values, self._times, strict=True):
            if times[slot] != _NEVER:
                by_ts.setdefault(times[slot], {})[name] = bool(values[slot]) if name == "hidden" else values[slot]
        for ts, fields in by_ts.items():
            yield msgspec.convert({"item_id": item_id, "ts": ts, "folded": True, **fields}, ItemChange)


def encode_changes(changes: Iterable[ItemChange]) -> bytes:
    """Lines for the log."""
    return b"".join(_ENCODER.encode(change) + b"\n" for change in changes)


def folded(lines: bytes) -> bytes:
    """Fewer lines that leave the same state (`serving.logs.file_log.Log.fold`)."""
    state = ItemState()
    state.take(lines.splitlines())
    return state.lines()
