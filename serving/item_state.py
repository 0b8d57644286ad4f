"""Live item state: price, stock and moderation as of now, beside the snapshot.

Rows of the feed are appended to `items.log` (JSON lines, synced) before they are acknowledged; every worker of the
host follows that file, so each holds the same state and a restart finds it again. The last writer wins, field by
field, by the row's own `ts`; at equal `ts` the later line. What the feed never named stays as the night saw it.

    {"item_id": "mug-1", "ts": 1767225600000, "price_minor": 1250, "stock": 3, "hidden": false}
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from serving.snapshot import Snapshot

_COMPACT_BYTES = 1 << 20  # a log below this is never worth rewriting
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


_ENCODER, _DECODER = msgspec.json.Encoder(), msgspec.json.Decoder(ItemChange)


class ItemStateError(OSError):
    """The feed's log cannot be written; nothing of the call was taken."""


class LiveItems:
    """The columns that lookups read, over one snapshot's catalogue."""

    __slots__ = ("price_minor", "servable", "snapshot", "stock")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.price_minor = snapshot.price_minor.copy()
        self.stock = snapshot.stock.copy()
        self.servable = self.stock != 0  # unknown stock is served: the shop does not count it

    def set(self, position: int, price_minor: int, stock: int, hidden: int) -> None:
        """Lay the feed's values over the night's; _UNSET gives the night's back."""
        night = self.snapshot
        self.price_minor[position] = night.price_minor[position] if price_minor == _UNSET else price_minor
        self.stock[position] = night.stock[position] if stock == _UNSET else min(stock, 2**31 - 1)
        self.servable[position] = self.stock[position] != 0 and hidden != 1


class ItemState:
    """All that the feed ever said, by item; `bind` maps it onto a snapshot's catalogue."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._lock_path = folder / "items.log", folder / "items.lock"
        self._slots: dict[str, int] = {}
        self._values: list[list[int]] = []  # a slot's fields, then the ts of each
        self._live: LiveItems | None = None
        self._positions: list[int] = []  # of each slot in the bound catalogue
        self._log: int | None = None
        self._offset = 0
        self.newest_ts = 0
        self._compact()
        self.follow()

    def __len__(self) -> int:
        return len(self._slots)

    def append(self, changes: Sequence[ItemChange]) -> None:
        """Make changes durable, then live. Raises ItemStateError where they cannot be written."""
        data = b"".join(_ENCODER.encode(change) + b"\n" for change in changes)
        try:
            with self._locked():
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                try:
                    _append_whole(descriptor, data)
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise ItemStateError(
                f"{self._path} cannot be written: {error}; free space, then send it again"
            ) from error
        self.follow()

    def follow(self) -> int:
        """Take in what has been appended since, by whichever worker: the number of changes."""
        taken = 0
        for line in self._new_lines():
            try:
                change = _DECODER.decode(line)
            except msgspec.MsgspecError:
                continue  # a line that a full disk or a power cut tore; it was never acknowledged
            self._take(change)
            taken += 1
        return taken

    def bind(self, snapshot: Snapshot) -> tuple[LiveItems, list[int]]:
        """The live columns over another snapshot, and where each slot stands in it.

        May run in a thread: what the feed says meanwhile is laid over by `use`.
        """
        live = LiveItems(snapshot)
        positions = [snapshot.position(item_id) for item_id in list(self._slots)]
        return live, positions

    def use(self, live: LiveItems, positions: list[int]) -> None:
        """Make bound columns the ones that lookups read, with everything the feed has said by now."""
        for item_id in list(self._slots)[len(positions) :]:
            positions.append(live.snapshot.position(item_id))
        self._live, self._positions = live, positions
        for slot, position in enumerate(positions):
            if position >= 0:
                live.set(position, *self._values[slot][:3])

    def _take(self, change: ItemChange) -> None:
        slot = self._slots.get(change.item_id)
        if slot is None:
            slot = self._slots[change.item_id] = len(self._values)
            self._values.append([_UNSET, _UNSET, _UNSET, _NEVER, _NEVER, _NEVER])
            if self._live is not None:
                self._positions.append(self._live.snapshot.position(change.item_id))
        values = self._values[slot]
        for field, value in enumerate((change.price_minor, change.stock, change.hidden)):
            if value is not None and change.ts >= values[3 + field]:
                values[field], values[3 + field] = int(value), change.ts
        self.newest_ts = max(self.newest_ts, change.ts)
        if self._live is not None and self._positions[slot] >= 0:
            self._live.set(self._positions[slot], *values[:3])

    def _new_lines(self) -> Iterator[bytes]:
        try:
            current = self._path.stat()
        except FileNotFoundError:
            return
        if self._log is None or os.fstat(self._log).st_ino != current.st_ino:  # first look, or it was compacted
            if self._log is not None:
                os.close(self._log)
            self._log, self._offset = os.open(self._path, os.O_RDONLY), 0
        while block := os.pread(self._log, 8 << 20, self._offset):
            whole = block.rfind(b"\n") + 1
            if whole == 0:
                return
            self._offset += whole
            yield from block[:whole].splitlines()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self._lock_path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _compact(self) -> None:
        """Rewrite a log that mostly repeats itself; other workers notice the new file and read it whole."""
        with self._locked():
            if not self._path.exists() or self._path.stat().st_size < _COMPACT_BYTES:
                return
            self.follow()
            lines = b"".join(_ENCODER.encode(change) + b"\n" for change in self._changes())
            if len(lines) * 2 > self._path.stat().st_size:
                return
            beside = self._path.with_name("items.log.new")
            with beside.open("wb") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)

    def _changes(self) -> Iterable[ItemChange]:
        for item_id, slot in self._slots.items():
            values = self._values[slot]
            for field, name in enumerate(_FIELDS):
                if values[3 + field] != _NEVER:
                    value: int | bool = bool(values[field]) if name == "hidden" else values[field]
                    yield msgspec.convert({"item_id": item_id, "ts": values[3 + field], name: value}, ItemChange)

    def close(self) -> None:
        if self._log is not None:
            os.close(self._log)
            self._log = None


def _append_whole(descriptor: int, data: bytes) -> None:
    """Append all of `data` and sync it, or nothing: a torn end is cut off again."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a writer died within its last line
        tail = os.pread(descriptor, min(size, 1 << 20), max(0, size - (1 << 20)))
        size -= len(tail) - (tail.rfind(b"\n") + 1)
        os.ftruncate(descriptor, size)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def eligible(
    live: LiveItems, positions: np.ndarray, price_minor: tuple[int, int] | None, nodes: tuple[int, int] | None
) -> np.ndarray:
    """Which of these items may be shown now: in stock, not hidden, in the price range, in the category. [bool]"""
    mask: np.ndarray = live.servable[positions]
    if price_minor is not None:
        price = live.price_minor[positions]
        mask &= (price >= max(0, price_minor[0])) & (price <= price_minor[1])
    if nodes is not None:
        node = live.snapshot.item_category[positions]
        mask &= (node >= nodes[0]) & (node < nodes[1])
    return mask
