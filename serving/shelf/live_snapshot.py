"""The current snapshot: follows the pointers of base and overlay, and swaps what was newly promoted in whole.

A lookup takes `Current.pair` once and reads that one (base, overlay) pair throughout. A version that cannot be
loaded leaves the one before in place and is said in `trouble`.
"""

import asyncio
import logging
from contextlib import closing
from dataclasses import dataclass

from serving.shelf.encoded_parts import EncodedParts
from serving.shelf.item_state import ItemState, LiveItems
from serving.shelf.overlaid import laid_over
from serving.shelf.snapshot import Snapshot
from serving.snapshot.manifest import StoreError
from serving.snapshot.overlay import is_over
from serving.stores.protocols import Store

_LOG = logging.getLogger(__name__)
POLL_S = 0.2
_LINGER_S = 5.0  # a version that was swapped out is closed when no answer can still be reading it


@dataclass(frozen=True, slots=True)
class Loaded:
    """A snapshot, the live columns over its catalogue and its encoded parts: what one answer reads, whole."""

    snapshot: Snapshot
    live: LiveItems
    parts: EncodedParts


class LiveSnapshot:
    """Holds the live pair; `run` keeps it up with the pointers of the base and of the overlay."""

    def __init__(self, store: Store, state: ItemState, overlays: Store | None = None) -> None:
        self._store, self._overlays, self._state = store, overlays, state
        self.pair: Loaded | None = None
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
        """Look at the pointers once and load what they name. Raises StoreError where that fails."""
        wanted = (await asyncio.to_thread(self._store.pointer)).live
        before = self.pair
        if wanted is None:
            self.trouble = None
            return
        if before is None or before.snapshot.version != wanted:
            base = await asyncio.to_thread(self._load, wanted)
            await self._swap(base, None)
        overlay = await asyncio.to_thread(self._wanted_overlay, wanted)
        if self.pair is not None and overlay != self.pair.snapshot.overlay:
            base = self.pair.snapshot.base
            over = base if overlay is None else await asyncio.to_thread(self._lay_over, base, overlay)
            await self._swap(over, self.pair.parts)
        self.trouble = None

    def _wanted_overlay(self, base: str) -> str | None:
        live = self._overlays.pointer().live if self._overlays is not None else None
        return live if live is not None and is_over(live, base) else None

    async def _swap(self, snapshot: Snapshot, parts: EncodedParts | None) -> None:
        live, positions = await asyncio.to_thread(self._state.bind, snapshot)
        self._state.use(live, positions)
        before, self.pair = self.pair, Loaded(snapshot, live, EncodedParts(snapshot, parts))
        self.swaps += 1
        if before is not None and before.snapshot.base is not snapshot.base:
            asyncio.get_running_loop().call_later(_LINGER_S, before.snapshot.base.close)

    def _load(self, version: str) -> Snapshot:
        try:
            return Snapshot(self._store.open(version))
        except (ValueError, KeyError, IndexError) as error:
            raise StoreError(f"{version} cannot be loaded: {error}; publish the night again") from error

    def _lay_over(self, base: Snapshot, overlay: str) -> Snapshot:
        assert self._overlays is not None
        try:
            with closing(self._overlays.open(overlay)) as stored:
                return laid_over(base, stored)
        except (ValueError, KeyError, IndexError) as error:
            raise StoreError(
                f"overlay {overlay} cannot be laid over: {error}; the next run writes another"
            ) from error

    def _troubled(self, message: str) -> None:
        if message != self.trouble:
            _LOG.error("the pointer or its snapshot cannot be read, the one before stays: %s", message)
        self.trouble = message
