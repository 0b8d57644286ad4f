"""One worker of the endpoint: all that it holds, and the tasks that keep it up to date."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from serving.api.accept_language import LanguageChoice
from serving.api.access import AccessGate
from serving.api.answers import Answers
from serving.api.exposition import GaugeReading
from serving.api.keys import KeyRing, KeysError
from serving.api.metrics import Metrics
from serving.api.page_answers import PageAnswers
from serving.api.rates import Rates
from serving.api.table_sizes import table_sizes
from serving.lasting_task import LastingTask
from serving.logs.erasures import erasure_log, land_erasures
from serving.logs.exposures import ExposureLog
from serving.logs.file_log import Log, LogError
from serving.logs.follower import Follower
from serving.logs.host_logs import event_log, item_log, shared_logs, spool
from serving.settings import EndpointSettings
from serving.shelf.item_state import ItemState
from serving.shelf.languages import read_languages
from serving.shelf.live_snapshot import LiveSnapshot
from serving.shelf.placements import PlacementsError
from serving.shelf.placements_file import PlacementsFile
from serving.shelf.recent_actions import RecentActions
from serving.shelf.request import POLICY, Policy
from serving.shelf.snapshot import Snapshot
from serving.snapshot.manifest import StoreError
from serving.snapshot.overlay import overlay_url
from serving.snapshot.tombstones import Tombstones, tombstone_line
from serving.stores import open_store
from serving.stores.landed_erasures import landed_lines

_LOG = logging.getLogger(__name__)
_STALE_AFTER_S = 1.0  # a log that was not read to its end for this long may hide a sold-out item or an action
_REFRESH_S = 0.2
_EVENTS_S = 0.5  # a start waits so long for last actions
_ERASED_EVERYWHERE_S = 1.0


class Worker:
    """The live snapshot, live item state, last actions, erasures, keys, rates, metrics and the exposure log.

    Every worker of a host follows the same three logs: of item changes, of events and of erasures.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self.metrics = Metrics(settings.state / "metrics")
        self.ring = KeyRing(settings.keys)
        self.rates = Rates(settings.state, settings.shared)
        self.gate = AccessGate(self.ring, self.rates, may_be_open=settings.open, trusted=settings.cors_origins)
        self.state, self.tombstones = ItemState(), Tombstones()
        self.actions = RecentActions(self.tombstones.erased_at)
        self._item_log, self._event_log = item_log(settings), event_log(settings)
        self._erasure_log = erasure_log(settings)
        self._shared_events, self._shared_erasures = shared_logs(settings)
        self.item_follower = Follower(
            "item_state", "live item state stays as it was", self._item_log.reader(), self.state.take
        )
        events: Log = self._shared_events or self._event_log
        self.event_follower = Follower("events", "last actions stay as they were", events.reader(), self.actions.take)
        erasures: Log = self._shared_erasures or self._erasure_log
        kept_back = "erasures of other processes are not heeded yet"
        self.erasure_follower = Follower("erasures", kept_back, erasures.reader(), self._take_erasures)
        self._followers = (self.item_follower, self.event_follower, self.erasure_follower)
        self.exposures = ExposureLog(spool(settings))
        overlays = open_store(overlay_url(settings.store))
        self.live_snapshot = LiveSnapshot(open_store(settings.store), self.state, overlays)
        self._keys_task = LastingTask(
            "keys",
            "the keys stay as they were",
            every_s=_REFRESH_S,
            longest_wait_s=_REFRESH_S,
            expected=(KeysError,),
        )
        self.placements = PlacementsFile(settings.placements)
        self._placements_task = LastingTask(
            "placements",
            "the pages stay as they were",
            every_s=_REFRESH_S,
            longest_wait_s=_STALE_AFTER_S,
            expected=(PlacementsError,),
        )
        self._refresh_task = LastingTask(
            "refresh", "`degraded` and counts stay as they were", every_s=_REFRESH_S, longest_wait_s=_REFRESH_S
        )
        self.landed_erasures_are_known = False
        self._landed_erasures_task = LastingTask(
            "landed_erasures",
            "it is not known who was erased, so nobody gets a stored shelf",
            every_s=_REFRESH_S,
            longest_wait_s=_STALE_AFTER_S,
            expected=(OSError, StoreError),
        )
        self.languages = LanguageChoice(read_languages(settings.messages))
        self._tasks = [*(follower.task for follower in self._followers), self._landed_erasures_task]
        self._tasks += [self.live_snapshot.task, self.exposures.task, self._keys_task, self._refresh_task]
        self._tasks += [self._placements_task]
        self._counted: dict[str, int] = {}
        share = settings.explore_share
        explored = POLICY.explore_share if share is None else share
        policy = Policy(explore_share=explored, perturb_share=settings.perturb_share)
        self.answers = Answers(
            self.live_snapshot,
            self.exposures,
            self.metrics,
            self.actions,
            self.erased_before,
            policy,
            self.languages.english,
        )
        self.pages = PageAnswers(self.answers, self.placements)

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Keep the worker up to date from start to stop."""
        with self._landed_erasures_task.attempt():
            await self._read_landed_erasures()
        # Read whole before the first answer, if they can be read. For many events no answer waits.
        await self.item_follower.attempt()
        await self.erasure_follower.attempt()
        reading_events = asyncio.create_task(self.event_follower.attempt())
        await asyncio.wait({reading_events}, timeout=_EVENTS_S)
        await self.live_snapshot.attempt()  # so that a worker that replaces a dead one answers 200 from the start
        tasks = [reading_events, *(asyncio.create_task(follower.run()) for follower in self._followers)]
        tasks += [asyncio.create_task(self.live_snapshot.run())]
        tasks += [asyncio.create_task(self._keys_task.repeat(self._refresh_keys))]
        tasks += [asyncio.create_task(self._refresh_task.repeat(self._refresh))]
        if self.settings.placements is not None:
            tasks += [asyncio.create_task(self._placements_task.repeat(self._refresh_placements))]
        if not self.landed_erasures_are_known:
            tasks += [asyncio.create_task(self._read_landed_erasures_later())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.exposures.close()
            for follower in self._followers:
                follower.close()

    async def _read_landed_erasures(self) -> None:
        """Take in what stands under landing. Raises OSError or StoreError."""
        self.tombstones.take(await asyncio.to_thread(landed_lines, self.settings.landing))
        self.landed_erasures_are_known = True

    async def _read_landed_erasures_later(self) -> None:
        while not self.landed_erasures_are_known:
            await asyncio.sleep(self._landed_erasures_task.wait_s)
            with self._landed_erasures_task.attempt():
                await self._read_landed_erasures()

    @property
    def has_replayed(self) -> bool:
        """Whether live state and erasures were read to their logs' ends once, and those under landing."""
        logs = (self.item_follower, self.erasure_follower)
        return self.landed_erasures_are_known and all(log.caught_up_at is not None for log in logs)

    def troubles(self) -> str:
        """What does not work at present, for `/readyz`; empty if everything does."""
        troubles = [f"{task.name}: {task.trouble}" for task in self._tasks if task.trouble is not None]
        lander_troubles = self.metrics.lander_troubles()
        if lander_troubles is None:
            troubles.append("lander: it does not run")
        elif lander_troubles:
            troubles.append(lander_troubles)
        return "; ".join(troubles)

    async def _refresh_keys(self) -> None:
        self.ring.refresh()

    async def _refresh_placements(self) -> None:
        self.placements.refresh()

    async def _refresh(self) -> None:
        """Bring up to date what no answer should wait for: what it has to do without, and counts kept elsewhere."""
        self.answers.degraded_now = self._degraded_now()
        self.metrics.count_failures((*self._tasks, *(follower.lines for follower in self._followers)))
        counts = {
            "topshelf_exposures_kept_total": self.exposures.kept,
            "topshelf_exposures_dropped_total": self.exposures.dropped,
            "topshelf_leases_unshared_total": self.rates.unshared,
            "topshelf_snapshot_swaps_total": self.live_snapshot.swaps,
        }
        for name, count in counts.items():
            self.metrics.add(name, count - self._counted.get(name, 0))
        self._counted = counts

    def _degraded_now(self) -> list[str]:
        """What every answer has to do without at present."""
        reasons = []
        if self.live_snapshot.trouble is not None:
            reasons.append("snapshot_stale")
        max_age_s = self.settings.max_state_age_s
        too_old = max_age_s is not None and self.state_age_s() > max_age_s
        if too_old or self.item_follower.behind_s() > _STALE_AFTER_S:
            reasons.append("item_state_stale")
        if self.event_follower.behind_s() > _STALE_AFTER_S:
            reasons.append("last_actions_stale")
        return reasons

    def state_age_s(self) -> float:
        """The age of the live feed's newest row in seconds; infinite if there was none."""
        newest = self.state.newest_ts
        return time.time() - newest / 1000 if newest else float("inf")

    def gauges(self) -> list[GaugeReading]:
        """The gauges of `/metrics`. They are this worker's own: all workers follow the same logs."""
        loaded = self.live_snapshot.loaded
        day = loaded.snapshot.manifest.day if loaded is not None else "1970-01-01"
        day_s = datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
        return [
            GaugeReading(
                "topshelf_item_state_age_seconds", "Age of the newest row of the live feed.", self.state_age_s()
            ),
            GaugeReading(
                "topshelf_item_state_behind_seconds",
                "Since when the log of live state was not read to its end.",
                self.item_follower.behind_s(),
            ),
            GaugeReading("topshelf_item_state_items", "Items that the live feed has named.", len(self.state)),
            GaugeReading("topshelf_snapshot_day_seconds", "The day of the live snapshot, in seconds of UTC.", day_s),
            GaugeReading(
                "topshelf_exposures_queued", "Answers whose exposures wait in this worker.", self.exposures.queued
            ),
            GaugeReading(
                "topshelf_users_with_actions", "Users and sessions whose last actions are known.", len(self.actions)
            ),
            GaugeReading("topshelf_users_erased", "Users that were erased.", len(self.tombstones)),
            *table_sizes(self.live_snapshot, self.actions, self.exposures),
        ]

    # Live state and events ----------------------------------------------------------------------------------

    async def append_items(self, lines: bytes) -> None:
        """Log item changes; this worker heeds them from now on. Raises LogError, with nothing logged."""
        await asyncio.to_thread(self._item_log.append, lines)
        await self.item_follower.attempt()  # the lines are logged, whatever becomes of this

    async def append_events(self, lines: bytes) -> None:
        """Log events; this worker heeds them at once, or soon after a start. Raises LogError, with nothing logged.

        If Redis does not answer, they are landed and heeded here, and the other hosts do not hear of them.
        """
        await asyncio.to_thread(self._event_log.append, lines)
        if self._shared_events is not None:
            try:
                await asyncio.to_thread(self._shared_events.append, lines)
            except LogError as error:
                _LOG.error("events will be landed, but other hosts do not hear of them: %s", error)
                self.actions.take(lines.splitlines())
        if self.event_follower.caught_up_at is not None:  # after a start it reads a day of events first
            await self.event_follower.attempt()

    # Erasure ------------------------------------------------------------------------------------------------

    def erased_before(self, user_id: str, snapshot: Snapshot) -> bool:
        """Whether the user was erased and the snapshot may still hold their data from before."""
        return not self.landed_erasures_are_known or self.tombstones.hide(user_id, snapshot.manifest)

    async def erase(self, user_id: str) -> tuple[bool, bool]:
        """Erase a user; the tombstone is on this host's disk. Raises LogError.

        Return whether every worker of this host has read it already, and whether it stands under landing.
        """
        line = tombstone_line(user_id, time.time())
        if self._shared_erasures is not None:
            await asyncio.to_thread(self._shared_erasures.append, line)
        await asyncio.to_thread(self._erasure_log.append, line)
        self.tombstones.take([line])
        self.actions.forget(user_id)
        try:
            await asyncio.to_thread(land_erasures, self.settings)
            landed = True
        except (OSError, StoreError) as error:
            _LOG.error("an erasure is landed later: %s", error)
            landed = False
        return await self._all_have_read_erasures(), landed

    async def _all_have_read_erasures(self) -> bool:
        if self._shared_erasures is not None:
            return True
        await self.erasure_follower.attempt()
        if self.erasure_follower.task.trouble is not None:
            return False
        lines_read, deadline = self.metrics.erasures_read, time.monotonic() + _ERASED_EVERYWHERE_S
        while not self.metrics.all_read_erasures(lines_read):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    def _take_erasures(self, lines: Sequence[bytes]) -> None:
        self.tombstones.take(lines)
        self.metrics.erasures_read += len(lines)
