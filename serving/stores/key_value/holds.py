"""Which process holds which version of a key-value store."""

import threading
import time
import uuid
from contextlib import suppress

from serving.snapshot.manifest import BusyVersionError, StoreError
from serving.stores.key_value.layout import Layout, VersionEntries, VersionEntry


class Hold:
    """A lease on a version: a token that its holder changes five times a lease.

    No two clocks are compared: a process may take the version over when it saw the token unchanged for a whole lease
    by its own clock.
    """

    def __init__(self, layout: Layout, version: str, n_shards: int) -> None:
        """Take the lease. Raises BusyVersionError while another process holds it, StoreError."""
        self._layout, self._version, self._n_shards = layout, version, n_shards
        self._token = ""
        self._lost = ""  # why the lease was lost
        self._stop = threading.Event()
        self._take()
        self._thread = threading.Thread(target=self._renew, name=f"hold {version}", daemon=True)
        self._thread.start()

    def _swap(self, old: str, new: str) -> bool:
        """Replace a token, empty for no holder, by a new one. Return whether the old one was there."""

        def swap(entries: VersionEntries) -> VersionEntries | None:
            entry = entries.by_version.get(self._version, VersionEntry(entries.next))
            if entry.token != old:
                return None
            return entries.put(self._version, VersionEntry(entry.number, max(entry.n_shards, self._n_shards), new))

        if not self._layout.change_entries(swap):
            return False
        self._token = new
        return True

    def _current_token(self) -> str:
        return self._layout.entries().by_version.get(self._version, VersionEntry(0)).token

    def _take(self) -> None:
        deadline = time.monotonic() + self._layout.lease_s
        first_seen = self._current_token()
        while not self._swap("", uuid.uuid4().hex):
            token = self._current_token()
            if token not in {"", first_seen}:
                raise BusyVersionError(f"{self._version} is held by another process; wait for it, or end it")
            if token and time.monotonic() > deadline and self._swap(token, uuid.uuid4().hex):
                return
            time.sleep(self._layout.lease_s / 20)

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(self._layout.lease_s / 5):
            try:
                if not self._swap(self._token, uuid.uuid4().hex):
                    self._lost = "another process took it over"
                    return
                renewed = time.monotonic()
            except StoreError as error:
                if time.monotonic() - renewed > self._layout.lease_s * 0.8:
                    self._lost = str(error)
                    return

    def check(self) -> None:
        """Raise StoreError where the lease was lost; called before every write."""
        if self._lost:
            raise StoreError(f"the hold on {self._version} was lost ({self._lost}); run it again, it continues")

    def release(self, *, drop: bool) -> None:
        """Release the version; with `drop`, its entry is removed in the same step. A store that fails is ignored."""
        self._stop.set()
        self._thread.join()

        def let_go(entries: VersionEntries) -> VersionEntries | None:
            entry = entries.by_version.get(self._version)
            if entry is None or entry.token != self._token:
                return None
            if drop:
                return entries.drop(self._version)
            return entries.put(self._version, VersionEntry(entry.number, entry.n_shards))

        if not self._lost:
            with suppress(StoreError):  # the lease expires by itself
                self._layout.change_entries(let_go)


class JoinedHold:
    """A share in another process's hold, which is checked before every write."""

    def __init__(self, layout: Layout, version: str) -> None:
        """Raises StoreError where no process holds the version."""
        self._layout, self._version = layout, version
        self.check()

    def check(self) -> None:
        """Raise StoreError where no process holds the version."""
        entry = self._layout.entries().by_version.get(self._version)
        if entry is None or not entry.token:
            raise StoreError(f"no process holds {self._version}; run the publish again, it continues from here")

    def release(self, *, drop: bool) -> None:
        """Do nothing: the hold is another process's."""
