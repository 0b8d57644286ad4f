"""Who holds which version of a key-value store: one small value, changed whole by compare-and-set."""

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import msgspec

from serving.snapshot.manifest import BusyVersionError, StoreError


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A version's number and count of shards, and its holder's token, empty for none."""

    number: int
    n_shards: int = 0
    token: str = ""


class Entries(msgspec.Struct, frozen=True):
    """The value of `versions`: changed whole, by compare-and-set, so that no version is ever without an entry."""

    next: int = 1
    of: dict[str, Entry] = {}

    def put(self, version: str, entry: Entry) -> "Entries":
        return Entries(max(self.next, entry.number + 1), self.of | {version: entry})

    def drop(self, version: str) -> "Entries":
        return Entries(self.next, {name: entry for name, entry in self.of.items() if name != version})


class HoldsEntries(Protocol):
    """What a hold needs of a store."""

    lease_s: float

    def entries(self) -> Entries: ...

    def change_entries(self, change: Callable[[Entries], Entries | None]) -> bool:
        """Apply a change in one step; where it gives None, nothing is changed: whether it was."""


class Hold:
    """The lease on a version: a token that its holder changes several times a lease.

    No two clocks are compared: who sees a token unchanged for a whole lease, by its own clock, may take it.
    """

    def __init__(self, store: HoldsEntries, version: str, n_shards: int) -> None:
        self._store, self._version, self._n_shards = store, version, n_shards
        self._mine = ""
        self._lost = ""
        self._stop = threading.Event()
        self._take()
        self._thread = threading.Thread(target=self._keep, name=f"hold {version}", daemon=True)
        self._thread.start()

    def _swap(self, old: str, new: str) -> bool:
        """Put a token in place of another, empty for none: whether that one still stood."""

        def swap(entries: Entries) -> Entries | None:
            entry = entries.of.get(self._version, Entry(entries.next))
            if entry.token != old:
                return None
            return entries.put(self._version, Entry(entry.number, max(entry.n_shards, self._n_shards), new))

        if not self._store.change_entries(swap):
            return False
        self._mine = new
        return True

    def _take(self) -> None:
        deadline = time.monotonic() + self._store.lease_s
        seen = self._store.entries().of.get(self._version, Entry(0)).token
        while not self._swap("", uuid.uuid4().hex):
            now = self._store.entries().of.get(self._version, Entry(0)).token
            if now not in {"", seen}:
                raise BusyVersionError(f"{self._version} is held by another process; wait for it, or end it")
            if now and time.monotonic() > deadline and self._swap(now, uuid.uuid4().hex):
                return
            time.sleep(self._store.lease_s / 20)

    def _keep(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(self._store.lease_s / 5):
            try:
                if not self._swap(self._mine, uuid.uuid4().hex):
                    self._lost = "another process took it over"
                    return
                last = time.monotonic()
            except StoreError as error:
                if time.monotonic() - last > self._store.lease_s * 0.8:
                    self._lost = str(error)
                    return

    def check(self) -> None:
        """Raises StoreError where the lease was lost, before more is written."""
        if self._lost:
            raise StoreError(
                f"the hold on {self._version} was lost ({self._lost}); run it again, it goes on from here"
            )

    def release(self, *, drop: bool) -> None:
        """Let go; with `drop`, the version's entry goes in the same step."""
        self._stop.set()
        self._thread.join()

        def let_go(entries: Entries) -> Entries | None:
            entry = entries.of.get(self._version)
            if entry is None or entry.token != self._mine:
                return None
            if drop:
                return entries.drop(self._version)
            return entries.put(self._version, Entry(entry.number, entry.n_shards))

        if not self._lost:
            with suppress(StoreError):  # it runs out by itself
                self._store.change_entries(let_go)


class Joined:
    """A part in what another process holds: its hold is looked at before more is written."""

    def __init__(self, store: HoldsEntries, version: str) -> None:
        self._store, self._version = store, version
        self.check()

    def check(self) -> None:
        """Raises StoreError where no process holds the version."""
        entry = self._store.entries().of.get(self._version)
        if entry is None or not entry.token:
            raise StoreError(f"no process holds {self._version}; run the publish again, it goes on from here")

    def release(self, *, drop: bool) -> None:
        """The hold is another process's."""
