"""The current snapshot: follows the store's pointer, and swaps a newly promoted version in whole.

A lookup takes `Current.pair` once and reads that one version throughout. A version that cannot be loaded leaves the
one before in place and is said in `trouble`.
"""

import asyncio
import logging
from array import array
from dataclasses import dataclass

from serving.item_state import ItemState, LiveItems
from serving.parts import Parts
from serving.snapshot import Snapshot
from serving.stores import Store, StoreError

_LOG = logging.getLogger(__name__)
POLL_S = 0.2
_LINGER_S = 5.0  # a version that was swapped out is closed when no answer can still be reading it


@dataclass(frozen=True, slots=True)
class Pair:
    """A snapshot, the live columns over its catalogue and its encoded parts: what one answer reads, whole."""

    snapshot: Snapshot
    live: LiveItems
    parts: Parts


class Current:
    """Holds the live pair; `run` keeps it up with the pointer."""

    def __init__(self, store: Store, state: ItemState) -> None:
        self._store, self._state = store, state
        self.pair: Pair | None = None
        self.trouble: str | None = None
        self.swaps = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self.refresh()
            except StoreError as error:
                self._troubled(str(error))
            await asyncio.sleep(POLL_S)

    async def refresh(self) -> None:
        """Look at the pointer once and load what it names. Raises StoreError where that fails."""
        wanted = (await asyncio.to_thread(self._store.pointer)).live
        if wanted is None or (self.pair is not None and self.pair.snapshot.version == wanted):
            self.trouble = None
            return
        snapshot, live, positions = await asyncio.to_thread(self._load, wanted)
        self._state.use(live, positions)
        before, self.pair, self.trouble = self.pair, Pair(snapshot, live, Parts(snapshot)), None
        self.swaps += 1
        if before is not None:
            asyncio.get_running_loop().call_later(_LINGER_S, before.snapshot.close)

    def _load(self, version: str) -> tuple[Snapshot, LiveItems, "array[int]"]:
        try:
            snapshot = Snapshot(self._store.open(version))
        except (ValueError, KeyError, IndexError) as error:
            raise StoreError(f"{version} cannot be loaded: {error}; publish the night again") from error
        return snapshot, *self._state.bind(snapshot)

    def _troubled(self, message: str) -> None:
        if message != self.trouble:
            _LOG.error("the pointer or its snapshot cannot be read, the one before stays: %s", message)
        self.trouble = message
