"""What one worker of the endpoint holds, and the tasks that keep it up with the present."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from serving.api.access import AccessGate
from serving.api.answers import Answers
from serving.api.keys import KeyRing, KeysError
from serving.api.metrics import Metrics
from serving.api.rates import Rates
from serving.logs.exposures import ExposureLog
from serving.logs.file_log import FileLog, Log, LogError
from serving.logs.follower import Follower
from serving.logs.host_logs import event_log, item_log, shared_logs, spool
from serving.settings import EndpointSettings
from serving.shelf.item_state import ItemState
from serving.shelf.live_snapshot import LiveSnapshot
from serving.shelf.recent_actions import RecentActions
from serving.shelf.request import POLICY, Policy
from serving.shelf.snapshot import Snapshot
from serving.snapshot.manifest import StoreError
from serving.snapshot.overlay import overlay_url
from serving.snapshot.tombstones import FOLDER, Tombstones, landed_lines, tombstone_line
from serving.stores import open_store

_LOG = logging.getLogger(__name__)
_BEHIND_S = 1.0  # a log that was not read to its end for so long may hide a sold-out item
_LOOK_S = 0.2
_ERASED_EVERYWHERE_S = 1.0


class Worker:
    """The current snapshot, live state, last actions, erasures, keys, limits, metrics and the exposure log."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self.metrics = Metrics(settings.state / "metrics")
        self.ring = KeyRing(settings.keys)
        self.rates = Rates(settings.state, settings.shared)
        self.gate = AccessGate(self.ring, self.rates, may_be_open=settings.open)
        self.state, self.tombstones = ItemState(), Tombstones()
        self.actions = RecentActions(self.tombstones.erased_at)
        self.item_log, self.event_log = item_log(settings), event_log(settings)
        self.erased_here = FileLog(settings.landing / FOLDER, "erased", suffix=".jsonl")
        self._shared_events, self._shared_erased = shared_logs(settings)
        self.items_follow = Follower("live item state", self.item_log.reader(), self.state.take)
        events: Log = self._shared_events or self.event_log
        self.events_follow = Follower("the log of events", events.reader(), self.actions.take)
        erased: Log = self._shared_erased or self.erased_here
        self.erased_follow = Follower("the log of erasures", erased.reader(), self._take_erasures)
        self.exposures = ExposureLog(spool(settings))
        self.current = LiveSnapshot(open_store(settings.store), self.state, open_store(overlay_url(settings.store)))
        share = settings.explore_share
        policy = POLICY if share is None else Policy(explore_share=share)
        self.answers = Answers(self.current, self.exposures, self.metrics, self.actions, self.erased_before, policy)

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Keep up from start to stop."""
        self.tombstones.take(landed_lines(self.settings.landing))
        follow = (self.items_follow, self.events_follow, self.erased_follow)
        for each in follow:  # the present is read before the first answer, where it can be read
            with contextlib.suppress(LogError):
                await each.catch_up()
        with contextlib.suppress(StoreError):  # a worker that takes a dead one's place answers 200 from its first on
            await self.current.refresh()
        tasks = [asyncio.create_task(each.run()) for each in follow]
        tasks += [asyncio.create_task(self.current.run()), asyncio.create_task(self._look())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.exposures.close()
            for each in follow:
                each.close()

    @property
    def replayed(self) -> bool:
        """Whether the present was read whole once: live state, and who was erased."""
        return self.items_follow.caught_up_at is not None and self.erased_follow.caught_up_at is not None

    async def _look(self) -> None:
        """Five times a second what no answer should stop for: keys, the age of the state, counters of threads."""
        kept = dropped = unshared = swaps = 0
        while True:
            try:
                self.ring.look()
            except (KeysError, ValueError) as error:
                _LOG.error("the keys stay as they were: %s", error)
            self.answers.standing = self._standing()
            add = self.metrics.add
            add("topshelf_exposures_kept_total", self.exposures.kept - kept)
            add("topshelf_exposures_dropped_total", self.exposures.dropped - dropped)
            add("topshelf_leases_unshared_total", self.rates.unshared - unshared)
            add("topshelf_snapshot_swaps_total", self.current.swaps - swaps)
            kept, dropped = self.exposures.kept, self.exposures.dropped
            unshared, swaps = self.rates.unshared, self.current.swaps
            await asyncio.sleep(_LOOK_S)

    def _standing(self) -> list[str]:
        """What every answer has to do without just now."""
        told = []
        if self.current.trouble is not None:
            told.append("snapshot_stale")
        oldest = self.settings.max_state_age_s
        if self.items_follow.behind_s() > _BEHIND_S or (oldest is not None and self.state_age_s() > oldest):
            told.append("item_state_stale")
        return told

    def state_age_s(self) -> float:
        """How old the newest row of the live feed is, in seconds; endless while there was none."""
        newest = self.state.newest_ts
        return time.time() - newest / 1000 if newest else float("inf")

    def gauges(self) -> dict[str, tuple[str, float]]:
        """What `/metrics` tells beside the counters; of this worker, for all follow the same logs."""
        pair = self.current.loaded
        day = pair.snapshot.manifest.day if pair is not None else "1970-01-01"
        day_s = datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
        return {
            "topshelf_item_state_age_seconds": ("Age of the newest row of the live feed.", self.state_age_s()),
            "topshelf_item_state_behind_seconds": (
                "Since when the log of live state was not read to its end.",
                self.items_follow.behind_s(),
            ),
            "topshelf_item_state_items": ("Items that the live feed has named.", len(self.state)),
            "topshelf_snapshot_day_seconds": ("The day of the live snapshot, in seconds of UTC.", day_s),
            "topshelf_exposures_queued": ("Answers whose exposures wait in this worker.", self.exposures.queued),
            "topshelf_users_with_actions": ("Users whose last actions are known.", len(self.actions)),
            "topshelf_users_erased": ("Users that were erased.", len(self.tombstones)),
        }

    # Erasure ------------------------------------------------------------------------------------------------

    def erased_before(self, user_id: str, snapshot: Snapshot) -> bool:
        """Whether what a snapshot holds of a user is from before their erasure."""
        at = self.tombstones.erased_at(user_id)
        if at is None:
            return False
        until = snapshot.manifest.metrics.get("erasures_until")
        return not isinstance(until, str) or datetime.fromisoformat(until).timestamp() < at

    async def erase(self, user_id: str) -> bool:
        """Erase a user: whether every worker of this host knows of it already. Raises LogError."""
        line = tombstone_line(user_id, time.time())
        if self._shared_erased is not None:
            await asyncio.to_thread(self._shared_erased.append, line)
        await asyncio.to_thread(self.erased_here.append, line)
        self.tombstones.take([line])
        self.actions.forget(user_id)
        if self._shared_erased is not None:
            return True
        await self.erased_follow.catch_up()
        wanted, deadline = self.metrics.erasures, time.monotonic() + _ERASED_EVERYWHERE_S
        while not self.metrics.all_took_erasures(wanted):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    def _take_erasures(self, lines: Sequence[bytes]) -> None:
        self.tombstones.take(lines)
        self.metrics.took_erasures(self.metrics.erasures + len(lines))

    async def events_seen(self) -> None:
        """What was just appended counts at this worker from now on."""
        with contextlib.suppress(LogError):  # it is appended; the follower says what is wrong
            await self.events_follow.catch_up()

    async def items_seen(self) -> None:
        """The same for live state."""
        with contextlib.suppress(LogError):
            await self.items_follow.catch_up()

    async def share_events(self, lines: bytes) -> None:
        """Let the other hosts hear of events; they count for the shelf at once, and are landed either way."""
        if self._shared_events is not None:
            try:
                await asyncio.to_thread(self._shared_events.append, lines)
            except LogError as error:
                _LOG.error("events are landed, and other hosts do not hear of them: %s", error)
                self.actions.take(lines.splitlines())
