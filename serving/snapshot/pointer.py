"""The pointer says which snapshot is live. Each step is a pure function from one pointer to the next.

A store moves its pointer by compare-and-set on `seq` (`move`). A publish promotes its version if and only if its day
is later than the highest day ever promoted and nothing is pinned. A rollback moves the pointer back and keeps the
highest day, so a retry of the same night does not undo it.
"""

from collections.abc import Callable, Collection
from typing import Protocol

import msgspec

from serving.snapshot.manifest import StoreError

HISTORY = 20  # promoted versions kept for rollbacks


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """Which version is live, and how it came to be."""

    seq: int = 0  # rises by one with every change; 0 in a store that never held a snapshot
    live: str | None = None
    history: tuple[str, ...] = ()  # the promoted versions up to the live one, which is the last
    highest_day: str = ""  # the latest day ever promoted
    pinned: str | None = None
    published: tuple[str, ...] = ()  # every stored version in the order of publication, newest last

    @property
    def before(self) -> str | None:
        """The version before the live one, or None."""
        return self.history[-2] if len(self.history) > 1 else None


class PointerMovedError(StoreError):
    """Other writers kept moving the pointer; this step changed nothing."""


def _changed(old: Pointer, **fields: object) -> Pointer:
    return msgspec.structs.replace(old, seq=old.seq + 1, **fields)


def published(old: Pointer, version: str) -> Pointer:
    """Record that `version` is complete in the store."""
    if version in old.published:
        return old
    return _changed(old, published=(*old.published, version))


def may_promote(old: Pointer, day: str) -> tuple[bool, str]:
    """Return whether a publish of `day` goes live by itself, and the reason."""
    if old.pinned:
        return False, f"{old.pinned} is pinned; the night is stored and stays beside it (topshelf unpin)"
    if day <= old.highest_day:
        return False, f"day {day} is not later than {old.highest_day}, the latest ever live (topshelf promote)"
    return True, f"day {day} is later than every day before"


def promoted(old: Pointer, version: str, day: str) -> Pointer:
    """Make `version` live. Raises StoreError while another version is pinned."""
    if old.pinned and old.pinned != version:
        raise StoreError(f"{old.pinned} is pinned, so {version} cannot go live; run topshelf unpin first")
    if old.live == version:
        return old
    history = (*(v for v in old.history if v != version), version)[-HISTORY:]
    return _changed(old, live=version, history=history, highest_day=max(old.highest_day, day))


def rolled_back(old: Pointer, present: Collection[str]) -> Pointer:
    """Make the version before the live one live again, skipping versions that are no longer in `present`.

    Raises StoreError while a version is pinned, and where no earlier version is present.
    """
    if old.pinned:
        raise StoreError(f"{old.pinned} is pinned, so nothing can be rolled back; run topshelf unpin first")
    earlier = [version for version in old.history[:-1] if version in present]
    if not earlier:
        raise StoreError(f"no version before {old.live} is stored; see topshelf snapshots, then topshelf promote")
    return _changed(old, live=earlier[-1], history=tuple(earlier))


def pinned(old: Pointer, version: str, day: str) -> Pointer:
    """Make `version` live and pin it: later nights are published beside it and do not go live."""
    step = promoted(msgspec.structs.replace(old, pinned=None), version, day)
    return _changed(old, live=step.live, history=step.history, highest_day=step.highest_day, pinned=version)


def unpinned(old: Pointer) -> Pointer:
    """Remove the pin; the live version stays."""
    return old if old.pinned is None else _changed(old, pinned=None)


def retained(pointer: Pointer, present: Collection[str], keep: int) -> set[str]:
    """Return the versions to keep: the newest `keep` published, the live, the pinned, and the one before the live."""
    newest = [version for version in pointer.published if version in present][-keep:]
    before = [version for version in pointer.history[:-1] if version in present][-1:]
    named = {version for version in (pointer.live, pointer.pinned) if version in present}
    return {*newest, *before, *(version for version in named if version)}


def forgotten(old: Pointer, present: Collection[str]) -> Pointer:
    """Drop versions that are not in `present` from the list of published versions."""
    kept = tuple(version for version in old.published if version in present)
    return old if kept == old.published else _changed(old, published=kept)


class HoldsPointer(Protocol):
    """The part of a store that `move` needs."""

    def pointer(self) -> Pointer: ...
    def swap_pointer(self, old: Pointer, new: Pointer) -> bool: ...


def move(store: HoldsPointer, step: Callable[[Pointer], Pointer], attempts: int = 50) -> tuple[Pointer, Pointer]:
    """Apply `step` to the pointer by compare-and-set, again where another writer was faster. Return (before, after).

    Raises PointerMovedError after so many attempts, and what `step` raises.
    """
    for _ in range(attempts):
        old = store.pointer()
        new = step(old)
        if new == old or store.swap_pointer(old, new):
            return old, new
    raise PointerMovedError(f"the pointer moved {attempts} times while this step was tried; run it again")
