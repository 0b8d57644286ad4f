"""The live snapshot: follows the pointers of base and overlay, and swaps in a newly promoted version whole.

A lookup takes `LiveSnapshot.loaded` once and reads that one (base, overlay) pair throughout. If a version cannot be
loaded, the one before stays live and `trouble` says why.
"""

import asyncio
from contextlib import closing
from dataclasses import dataclass

from serving.lasting_task import LastingTask
from serving.shelf.encoded_parts import EncodedParts
from serving.shelf.item_state import ItemState, LiveItems
from serving.shelf.overlaid import with_overlay
from serving.shelf.snapshot import Snapshot
from serving.snapshot.manifest import StoreError
from serving.snapshot.overlay import is_over
from serving.stores.protocols import Store

_POLL_S = 0.2
_LONGEST_WAIT_S = 2.0
_LINGER_S = 5.0  # a replaced version is closed this much later, when no answer can still be reading it


@dataclass(frozen=True, slots=True)
class LoadedSnapshot:
    """What one answer reads: a snapshot, the live columns over its catalogue, and its encoded parts."""

    snapshot: Snapshot
    live: LiveItems
    parts: EncodedParts


class LiveSnapshot:
    """Holds the loaded snapshot; `run` follows the pointers of the base and of the overlay."""

    def __init__(self, store: Store, state: ItemState, overlays: Store | None = None) -> None:
        self._store, self._overlays, self._state = store, overlays, state
        self.loaded: LoadedSnapshot | None = None
        self.task = LastingTask(
            "snapshot",
            "the snapshot before stays live",
            every_s=_POLL_S,
            longest_wait_s=_LONGEST_WAIT_S,
            expected=(StoreError,),
        )
        self.swaps = 0

    @property
    def trouble(self) -> str | None:
        """Why the pointers could not be followed when that was last tried; None where they could."""
        return self.task.trouble

    async def attempt(self) -> None:
        """Do `refresh`; a failure is noted in `task` and goes no further."""
        with self.task.attempt():
            await self.refresh()

    async def run(self) -> None:
        """Follow the pointers until cancelled."""
        await self.task.repeat(self.refresh)

    async def refresh(self) -> None:
        """Read the pointers once and load what they name. Whatever it raises, what was live stays live."""
        version = (await asyncio.to_thread(self._store.pointer)).live
        if version is None:
            return
        if self.loaded is None or self.loaded.snapshot.version != version:
            base = await asyncio.to_thread(self._load, version)
            try:
                await self._swap(base, None)
            except BaseException:
                base.close()
                raise
        overlay = await asyncio.to_thread(self._live_overlay, version)
        if self.loaded is not None and overlay != self.loaded.snapshot.overlay:
            base = self.loaded.snapshot.base
            merged = base if overlay is None else await asyncio.to_thread(self._with_overlay, base, overlay)
            await self._swap(merged, self.loaded.parts)

    def _live_overlay(self, base: str) -> str | None:
        live = self._overlays.pointer().live if self._overlays is not None else None
        return live if live is not None and is_over(live, base) else None

    async def _swap(self, snapshot: Snapshot, parts: EncodedParts | None) -> None:
        bound = await asyncio.to_thread(self._state.bind, snapshot)
        loaded = LoadedSnapshot(snapshot, bound.live, EncodedParts(snapshot, parts))
        self._state.use(bound)
        replaced, self.loaded = self.loaded, loaded
        self.swaps += 1
        if replaced is not None and replaced.snapshot.base is not snapshot.base:
            asyncio.get_running_loop().call_later(_LINGER_S, replaced.snapshot.base.close)

    def _load(self, version: str) -> Snapshot:
        stored = self._store.open(version)
        try:
            return Snapshot(stored)
        except BaseException:
            stored.close()
            raise

    def _with_overlay(self, base: Snapshot, overlay: str) -> Snapshot:
        assert self._overlays is not None
        with closing(self._overlays.open(overlay)) as stored:
            return with_overlay(base, stored)
