"""A soak: does a worker's memory stay flat under drawn traffic, overlays and swaps?

    python -m tests.bench soak --minutes 30
    python -m tests.bench.bench_soak docs 30     # the same, and draws docs/soak.svg

Callers draw limits from 1 to 500, categories, prices, exclusions, actions and segments, and feed items and events. An
overlay comes every minute and a swap every five, both sooner in a run of less than 15 minutes. Each sample is printed
as it is taken.
"""

import http.client
import json
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

from jobs.intraday.overlay import write_overlay
from jobs.publishing.publish import publish
from serving.snapshot.overlay import OverlayItem
from serving.stores import open_store
from tests.bench.bench_endpoint import endpoint, popular_night
from tests.bench.figures import Figure, percentile, show
from tests.bench.shop import user_id

MINUTES = 3.0
USERS, ITEMS = 10_000, 20_000
CALLERS, SAMPLES = 2, 30
OVERLAYS, SWAPS = 15, 3  # in a run, at least
_DAY = date(2026, 1, 31)
_CATEGORIES = ("home", "home/kitchen", "home/kitchen/mugs", "home/garden", "toys", "nothing")


class Sample(NamedTuple):
    """What was seen at a moment of the soak; `p99_ms` is of the shelves asked since the sample before.

    `tables_mib` is what the worker's tables hold by their gauges.
    """

    seconds: float
    worker_mib: float
    worker_files: int
    lander_mib: float
    lander_files: int
    p99_ms: float
    tables_mib: float


class Traffic:
    """One caller's drawn requests. `took_ms` are the times of the shelves asked since a sample took them."""

    def __init__(self, seed: int, port: int, secret: str) -> None:
        self._rng, self._port = random.Random(seed), port
        self._headers = {"Authorization": f"Bearer {secret}"}
        self._stopping = threading.Event()
        self.took_ms: list[float] = []
        self.asked = self.failed = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the last request end."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stopping.wait(0.002):
            kind = self._rng.random()
            began = time.perf_counter()
            if kind < 0.9:
                connection.request("GET", f"/recommendations?{self._query()}", headers=self._headers)
            else:
                path, rows = ("/items", self._items()) if kind < 0.95 else ("/events", self._events())
                body = "\n".join(map(json.dumps, rows))
                connection.request("POST", path, body, {**self._headers, "Content-Type": "application/x-ndjson"})
            answer = connection.getresponse()
            answer.read()
            if kind < 0.9:
                self.took_ms.append((time.perf_counter() - began) * 1000)
            self.asked += 1
            self.failed += answer.status >= 500

    def _item(self) -> str:
        return f"item-{self._rng.randrange(ITEMS):05d}"

    def _query(self) -> str:
        rng = self._rng
        fields = {"user_id": user_id(rng.randrange(2 * USERS)), "limit": str(rng.randint(1, 500))}
        drawn = {
            "category": lambda: rng.choice(_CATEGORIES),
            "price_min": lambda: str(rng.randrange(100)),
            "price_max": lambda: str(rng.randrange(100, 300)),
            "exclude": lambda: ",".join(self._item() for _ in range(rng.randint(1, 100))),
            "actions": lambda: ",".join(f"view:{self._item()}" for _ in range(rng.randint(1, 10))),
            "region": lambda: rng.choice(("DE", "AT", f"R{rng.randrange(10_000)}")),
        }
        fields |= {name: draw() for name, draw in drawn.items() if rng.random() < 0.3}
        return "&".join(f"{name}={value}" for name, value in fields.items())

    def _items(self) -> Iterator[dict[str, object]]:
        for _ in range(self._rng.randint(1, 50)):
            yield {"item_id": self._item(), "price": self._rng.randint(1, 300), "stock": self._rng.randrange(20)}

    def _events(self) -> Iterator[dict[str, object]]:
        for _ in range(self._rng.randint(1, 50)):
            row = {"event_id": f"{self._rng.getrandbits(64):x}", "event_type": "view", "item_id": self._item()}
            yield {**row, "user_id": user_id(self._rng.randrange(USERS))}


class Changes:
    """Overlays and swaps as they fall due."""

    def __init__(self, folder: Path, run_s: float) -> None:
        self._url = f"lmdb://{folder}/store"
        self._night = popular_night(USERS, ITEMS)
        self._every_s = {"overlay": min(60.0, run_s / OVERLAYS), "swap": min(300.0, run_s / SWAPS)}
        self._done = dict.fromkeys(self._every_s, time.monotonic())
        self.count = dict.fromkeys(self._every_s, 0)
        self._version = ""
        self.swap()

    def swap(self) -> None:
        """Publish the next day's night."""
        day = _DAY + timedelta(days=self.count["swap"])
        with closing(open_store(self._url)) as store:
            self._version = publish(replace(self._night, ds=day), store).manifest.version

    def overlay(self) -> None:
        """Write another overlay over the live night."""
        new = [OverlayItem(item_id=f"new-{self.count['overlay']}-{n}", title="New", stock=9) for n in range(50)]
        write_overlay(self._url, self._version, new_items=new)

    def do_what_is_due(self) -> None:
        """Write an overlay, publish a night, or neither."""
        for what, every_s in self._every_s.items():
            if time.monotonic() - self._done[what] >= every_s:
                self._done[what] = time.monotonic()
                self.count[what] += 1
                getattr(self, what)()


def held(pid: int) -> tuple[float, int]:
    """MiB of memory that is the process's own, without files that it has mapped, and its open descriptors."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (kib,) = re.findall(r"^Anonymous:\s+(\d+) kB", rollup, re.M)
    return int(kib) / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def lander_of(pid: int) -> int:
    """The process that lands the logs of a server."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return next(
        int(child) for child in children.split() if b"\0land\0" in Path(f"/proc/{child}/cmdline").read_bytes()
    )


def tables_mib(port: int, secret: str) -> float:
    """MiB that the tables of a worker hold by their gauges."""
    request = Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {secret}"})
    with urlopen(request, timeout=30) as answer:
        gauges = re.findall(r"^topshelf_\w+_bytes(?:{.*})? (\S+)$", answer.read().decode(), re.M)
    return sum(map(float, gauges)) / 2**20


def soak(minutes: float) -> tuple[list[Sample], list[Traffic]]:
    """Run the soak and print a line a sample."""
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as name:
        changes = Changes(Path(name), minutes * 60)
        with endpoint(Path(name)) as served:
            callers = [Traffic(seed, served.port, served.secret) for seed in range(CALLERS)]
            pids = served.process.pid, lander_of(served.process.pid)
            began = time.monotonic()
            sys.stdout.write("seconds  worker MiB  files  lander MiB  files  p99 ms  tables MiB  overlays  swaps\n")
            for sample in range(1, SAMPLES + 1):
                while time.monotonic() - began < sample * minutes * 60 / SAMPLES:
                    changes.do_what_is_due()
                    time.sleep(0.1)
                took = [caller.took_ms for caller in callers]
                for caller in callers:
                    caller.took_ms = []
                p99 = percentile([ms for each in took for ms in each], 0.99)
                memory = *held(pids[0]), *held(pids[1])
                tables = tables_mib(served.port, served.secret)
                samples.append(Sample(time.monotonic() - began, *memory, p99, tables))
                told = "  ".join(f"{value:10,.1f}" for value in samples[-1])
                sys.stdout.write(f"{told}  {changes.count['overlay']:6}  {changes.count['swap']:6}\n")
                sys.stdout.flush()
            for caller in callers:
                caller.stop()
    return samples, callers


def main(minutes: float = MINUTES, folder: Path | None = None) -> list[Figure]:
    """Run the soak; the first third of its samples is warm-up. Draw its plot in `folder`, if given."""
    samples, callers = soak(minutes)
    if folder is not None:
        plot(samples, folder / "soak.svg")
    warm = samples[len(samples) // 3 :]
    half = len(warm) // 2

    def growth(of: Callable[[Sample], float]) -> float:
        """How much larger the median of the second half is than that of the first, in percent."""
        first, second = (statistics.median(map(of, part)) for part in (warm[:half], warm[-half:]))
        return (second / first - 1) * 100

    worker_files = [sample.worker_files for sample in warm]
    lander_files = [sample.lander_files for sample in warm]
    return [
        Figure(
            "a worker's memory in the second half against the first, after warm-up",
            growth(lambda sample: sample.worker_mib),
            "%",
            wanted="5",
        ),
        Figure("the lander's memory, the same", growth(lambda sample: sample.lander_mib), "%", wanted="5"),
        Figure("p99, the same", growth(lambda sample: sample.p99_ms), "%", wanted="flat"),
        Figure("a worker's memory, largest", max(sample.worker_mib for sample in warm), "MiB"),
        Figure("a worker's open files, most less fewest", max(worker_files) - min(worker_files), "files"),
        Figure("the lander's open files, the same", max(lander_files) - min(lander_files), "files"),
        Figure("p99, middle of the samples", statistics.median(sample.p99_ms for sample in warm), "ms"),
        Figure("requests", sum(caller.asked for caller in callers), "requests"),
        Figure("answers of 500 and above", sum(caller.failed for caller in callers), "answers", wanted="none"),
    ]


def plot(samples: list[Sample], path: Path) -> None:
    """Draw memory, open files and p99 over time."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "soak"  # the same bytes from the same figures
    import matplotlib.pyplot as plt

    lines = {
        "own memory, MiB": {"worker": 1, "its tables": 6, "lander": 3},
        "open files": {"worker": 2, "lander": 4},
        "p99 of shelves, ms": {"worker": 5},
    }
    figure, axes = plt.subplots(1, len(lines), figsize=(11, 3.2), layout="constrained")
    minutes = [sample.seconds / 60 for sample in samples]
    for axis, (title, columns) in zip(axes, lines.items(), strict=True):
        for name, column in columns.items():
            axis.plot(minutes, [sample[column] for sample in samples], label=name)
        axis.axvspan(0, minutes[len(minutes) // 3 - 1], color="grey", alpha=0.12)
        axis.set(title=title, xlabel="minutes; grey is warm-up", xlim=(0, minutes[-1]))
        axis.set_ylim(0, 1.15 * axis.get_ylim()[1])
    axes[0].legend(loc="center right")
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    show("A soak", main(float(sys.argv[2]), Path(sys.argv[1])))
