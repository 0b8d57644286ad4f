"""A fortnight of state: how long the endpoint then takes from its start to ready, beside a start without any.

Two weeks of feeds and erasures pass through the logs' own code, with the sweeps of the lander. Of events the endpoint
keeps a day, so that one day of them is written. Feeds name every item of the catalogue and some that it lacks.
"""

import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from jobs.publishing.publish import publish
from serving.logs.file_log import SEGMENT_S, FileLog
from serving.logs.lander_process import SWEEP_S, live_item_ids
from serving.shelf.item_state import ItemChange, compacted, encode_changes
from serving.shelf.recent_actions import MAX_AGE_S
from serving.snapshot.tombstones import FOLDER, tombstone_line
from serving.stores import open_store
from tests.bench.bench_endpoint import endpoint, popular_night
from tests.bench.figures import Figure
from tests.bench.shop import user_id

USERS, ITEMS = 100_000, 50_000
DAYS = 14
ROWS_A_SWEEP, EVENTS_A_S, ERASED_A_DAY = 60, 10, 200
STARTS = 5


def feed(state: Path, store_url: str, now_s: float) -> tuple[int, float]:
    """Feed items for a fortnight, and fold as the lander does; return the rows and the seconds that folding took."""
    rng, log, sweeps = random.Random(1), FileLog(state, "items", sync=False), int(DAYS * 86_400 / SWEEP_S)
    item_ids, folding_s = live_item_ids(store_url), 0.0
    for sweep in range(sweeps):
        at_s = now_s - (sweeps - sweep) * SWEEP_S
        rows = (
            ItemChange(f"item-{rng.randrange(ITEMS + ITEMS // 10):05d}", int(at_s * 1000), rng.randint(1, 9_999), 5)
            for _ in range(ROWS_A_SWEEP)
        )
        log.append(encode_changes(rows))
        began = time.process_time()
        log.fold(lambda lines, at_s=at_s: compacted(lines, item_ids, at_s))
        folding_s += time.process_time() - began
    return sweeps * ROWS_A_SWEEP, folding_s


def send_events(state: Path, now_s: float) -> int:
    """Log a day of events, half an hour at a time; return how many."""
    rng, log, count = random.Random(2), FileLog(state, "events", sync=False, rolls=True), 0
    first = (now_s - MAX_AGE_S) // SEGMENT_S * SEGMENT_S
    while first < now_s:
        events = range(int(EVENTS_A_S * min(SEGMENT_S, now_s - first)))
        log.append(b"".join(event(rng, first + number / EVENTS_A_S) for number in events))
        os.utime(log.path(log.segments()[-1]), (first, first))
        count, first = count + len(events), first + SEGMENT_S
    return count


def event(rng: random.Random, at_s: float) -> bytes:
    """A line of the log of events, as the endpoint writes it."""
    ts = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at_s))
    ids = {"event_id": f"{rng.getrandbits(64):x}", "item_id": f"item-{rng.randrange(ITEMS):05d}"}
    user = {"user_id": user_id(rng.randrange(USERS)), "session_id": f"{rng.getrandbits(48):x}"}
    return json.dumps({"received": at_s, **ids, "event_type": "view", "ts": ts, **user}).encode() + b"\n"


def tombstones(now_s: float) -> Iterator[bytes]:
    """The lines of the erasures of a fortnight."""
    for number in range(DAYS * ERASED_A_DAY):
        yield tombstone_line(f"erased-{number}", now_s - number * 86_400 / ERASED_A_DAY)


def ready_s(folder: Path) -> float:
    """Seconds from a start to ready."""
    with endpoint(folder) as served:
        return served.ready_s


def main() -> list[Figure]:
    """Measure starts without state, let a fortnight pass, and measure starts again."""
    with tempfile.TemporaryDirectory() as name:
        folder, now_s = Path(name), time.time()
        store_url, state = f"lmdb://{folder}/store", folder / "live"
        with closing(open_store(store_url)) as store:
            publish(popular_night(USERS, ITEMS), store)
        fresh = min(ready_s(folder) for _ in range(STARTS))
        rows, folding_s = feed(state, store_url, now_s)
        events = send_events(state, now_s)
        FileLog(folder / "landing" / FOLDER, "erased", suffix=".jsonl", sync=False).append(
            b"".join(tombstones(now_s))
        )
        logs = {name: FileLog(state, name) for name in ("items", "events")}
        megabytes = {name: log.size() / 1e6 for name, log in logs.items()}
        item_segments = len(logs["items"].segments())
        after = min(ready_s(folder) for _ in range(STARTS))
    return [
        Figure("start to ready", after, "s", fresh, "a start with an empty state folder", "under 3"),
        Figure("rows of items that were fed", rows, "rows"),
        Figure("log of item changes", megabytes["items"], "MB"),
        Figure("its segments", item_segments, "files"),
        Figure("processor that folding took in the fortnight", folding_s, "s"),
        Figure("events of the last day", events, "events"),
        Figure("log of events", megabytes["events"], "MB"),
        Figure("erasures", DAYS * ERASED_A_DAY, "shoppers"),
    ]
