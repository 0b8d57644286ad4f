"""Live item state: current price, stock and moderation, kept beside the snapshot.

Feed rows are appended to a durable log (JSON lines) before they are acknowledged. Every worker follows that log, so
all hold the same state and a restart restores it. For each field the row with the latest `ts` wins; at equal `ts` the
later line wins. A field that the feed never set keeps the night's value.

    {"item_id": "mug-1", "ts": 1767225600000, "price_minor": 1250, "stock": 3, "hidden": false}
"""

import io
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from serving.shelf.fed_items import UNSET, FedItems
from serving.shelf.snapshot import Snapshot
from serving.snapshot.blobs import Strings
from serving.snapshot.manifest import NOT_JSON
from serving.snapshot.string_lookup import rows_of

TAKEN_BACK = UNSET  # a change's price or stock: the night's value counts again
_MAX_STOCK = 2**31 - 1
_MAX_NUMBER = 1 << 53  # columns of int64 hold it
_Number = Annotated[int, Meta(ge=-_MAX_NUMBER, le=_MAX_NUMBER)]
_KEPT_SHARE = 7 / 8  # items are forgotten when they are an eighth of all, so that each costs the same


class ItemChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One feed row: an item's changed fields at `ts` (milliseconds UTC); None leaves a field unchanged."""

    item_id: str
    ts: _Number
    price_minor: _Number | None = None
    stock: Annotated[int, Meta(ge=-_MAX_STOCK, le=_MAX_NUMBER)] | None = None
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
        """Set an item's live values; UNSET restores the night's value."""
        night = self.snapshot
        self.masks.clear()
        self.price_minor[position] = night.price_minor[position] if price_minor == UNSET else price_minor
        self.stock[position] = night.stock[position] if stock == UNSET else min(stock, _MAX_STOCK)
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
            is_set = known & (values != UNSET)
            column[positions[is_set]] = values[is_set]
        known_positions = positions[known]
        self.servable[known_positions] = (self.stock[known_positions] != 0) & (hidden[known] != 1)


@dataclass(frozen=True, slots=True)
class BoundState:
    """What `ItemState.bind` made: live columns with the feed's values, and each slot's position, -1 for none."""

    live: LiveItems
    positions: "array[int]"
    fed: FedItems | None  # the items without those that are forgotten; None if all are kept


class ItemState:
    """The latest feed values of every item; `bind` maps them onto a snapshot's catalogue."""

    def __init__(self) -> None:
        self._fed = FedItems()
        self._live: LiveItems | None = None
        self._positions = array("q")  # of each slot in the bound catalogue
        self._changed: dict[str, int] | None = None  # from `bind` to `use`, the slots of items that change meanwhile
        self.newest_ts = 0

    def __len__(self) -> int:
        return len(self._fed)

    def newest_ms(self, item_id: str) -> int:
        """Return the newest `ts` of an item's rows; a time long past if it has none."""
        return self._fed.newest_ms(item_id)

    def take(self, lines: Iterable[bytes]) -> None:
        """Take in lines of the log, in its order."""
        for line in lines:
            try:
                change = _DECODER.decode(line)
            except NOT_JSON:
                continue  # a full disk or a power cut cut this line off; it was never acknowledged
            self._take(change)

    def bind(self, snapshot: Snapshot, now_s: float | None = None) -> BoundState:
        """Return the live columns over another snapshot. `now_s` is in UTC seconds.

        May run in a thread: `use` then applies the changes that arrived meanwhile.
        """
        self._changed = {}
        fed, live = self._fed, LiveItems(snapshot)
        # An item is complete once the column that grows last has it.
        count = len(fed.times[-1] if self._live is None else self._positions)
        positions = self._positions_in(snapshot, count)
        live.set_many(positions, *fed.columns(count)[0])
        kept = fed.kept(positions < 0, time.time() if now_s is None else now_s)
        if np.count_nonzero(kept) >= count * _KEPT_SHARE:
            return BoundState(live, array("q", positions.tobytes()), None)
        return BoundState(live, array("q", positions[kept].tobytes()), fed.only(kept))

    def _positions_in(self, snapshot: Snapshot, count: int) -> NDArray[np.int64]:
        """Return the position of each of the first `count` slots in a snapshot's catalogue."""
        item_ids, slots = list(self._fed.slots)[:count], self._fed.slots
        if self._live is not None and snapshot.has_items_of(self._live.snapshot):
            positions = np.array(self._positions[:count])
            positions[positions >= len(snapshot.base)] = -1  # another overlay's
        else:
            positions = rows_of(snapshot.base.item_ids, item_ids)
        added = [(slots.get(item_id, count), row) for item_id, row in snapshot.added_rows.items()]
        for slot, row in added:
            if slot < count:
                positions[slot] = row
        return positions

    def use(self, bound: BoundState) -> None:
        """Make bound columns the ones that lookups read, with every feed value until now."""
        before, self._fed = self._fed, self._fed if bound.fed is None else bound.fed
        self._live, self._positions = bound.live, bound.positions
        for item_id, slot_before in (self._changed or {}).items():
            slot = self._slot(item_id)
            if self._fed is not before:
                self._fed.take_row(slot, before, slot_before)
            self._show(slot)
        self._changed = None

    def _slot(self, item_id: str) -> int:
        slot = self._fed.slot(item_id)
        if self._live is not None and slot == len(self._positions):
            self._positions.append(self._live.snapshot.position(item_id))
        return slot

    def _show(self, slot: int) -> None:
        if self._live is not None and self._positions[slot] >= 0:
            self._live.set(self._positions[slot], *self._fed.row(slot))

    def _take(self, change: ItemChange) -> None:
        effective_ts, fed = change.ts - change.folded, self._fed
        slot = fed.slots.get(change.item_id)
        if slot is None:
            slot = self._slot(change.item_id)
        for field, value in enumerate((change.price_minor, change.stock, change.hidden)):
            if value is not None and effective_ts >= fed.times[field][slot]:
                fed.values[field][slot], fed.times[field][slot] = int(value), change.ts
        self.newest_ts = max(self.newest_ts, change.ts)
        if self._live is not None:
            self._show(slot)
        # At last, so that a `bind` that begins now either sees the change or hears of it.
        if self._changed is not None:
            self._changed[change.item_id] = slot

    def forget_unknown(self, item_ids: Strings, now_s: float) -> None:
        """Forget the items that a catalogue lacks and that have no row since KEEP_UNKNOWN_S. None may be bound."""
        self._fed = self._fed.only(self._fed.kept(rows_of(item_ids, list(self._fed.slots)) < 0, now_s))

    def lines(self) -> bytes:
        """Return log lines that restore this state: one for each item and `ts`."""
        return encode_changes(
            ItemChange(item_id, ts, price_minor, stock, None if hidden is None else bool(hidden), folded=True)
            for item_id, ts, (price_minor, stock, hidden) in self._fed.rows()
        )


def encode_changes(changes: Iterable[ItemChange]) -> bytes:
    """Return the changes as lines for the log."""
    return b"".join(_ENCODER.encode(change) + b"\n" for change in changes)


def compacted(lines: bytes, item_ids: Strings | None = None, now_s: float = 0.0) -> bytes:
    """Return fewer log lines that restore the same state (`serving.logs.file_log.Log.fold`).

    With the sorted ids of a catalogue, without the items that it lacks and that had no row for KEEP_UNKNOWN_S.
    """
    state = ItemState()
    state.take(io.BytesIO(lines))  # one line at a time: the list of all lines takes more than they do
    if item_ids is not None:
        state.forget_unknown(item_ids, now_s)
    return state.lines()
