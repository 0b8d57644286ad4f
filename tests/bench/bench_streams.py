"""How soon a message of a topic changes an answer, under load, and what its reader costs.

    python -m tests.bench streams
    python -m tests.bench.bench_streams docs      # the same, and draws docs/streams.svg

A broker, two workers that answer 500 requests a second, 2,000 events a second of other shoppers, and a consumer of
each topic. PROBES times a shopper's view is sent, and their shelf is asked for until it differs. As often an item of
a shelf is sold out, and asked for until it is gone. Then answers are timed while the broker runs and while it is
killed, in turns.
"""

import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median

import psutil
from confluent_kafka import Producer

from jobs.publishing.publish import publish
from serving.stores import open_store
from tests.bench.bench_endpoint import asked, endpoint, popular_night
from tests.bench.bench_freshness import Caller, load
from tests.bench.figures import Figure, percentile
from tests.bench.shop import user_id
from tests.serving.kafka_server import Kafka
from tests.serving.streams.streaming import streaming

USERS, ITEMS, WORKERS = 20_000, 5_000, 2
EVENTS_A_SECOND, REQUESTS_A_SECOND, PROBES = 2_000, 500, 500
GIVE_UP_S, TICK_S, ROUNDS, ROUND_S = 10.0, 0.02, 5, 10


def event(number: int, user: str, item: str, event_type: str = "view") -> bytes:
    row = {"event_id": f"e-{number}", "user_id": user, "item_id": item, "event_type": event_type}
    return json.dumps(row).encode()


class Sender:
    """Sends events of random shoppers at a steady rate, on a thread, and single messages in between."""

    def __init__(self, kafka: Kafka, item_ids: list[str]) -> None:
        self._producer = Producer({"bootstrap.servers": kafka.servers, "linger.ms": 0, "log_level": 0})
        self._item_ids, self._ends, self.sent = item_ids, threading.Event(), 0
        self._thread = threading.Thread(target=self._keep_sending)

    def _keep_sending(self) -> None:
        rng, due = random.Random(1), time.monotonic()
        while not self._ends.is_set():
            for _ in range(int(EVENTS_A_SECOND * TICK_S)):
                self.sent += 1
                user = user_id(rng.randrange(USERS // 2, USERS))
                self._producer.produce("events", event(self.sent, user, rng.choice(self._item_ids)))
            self._producer.poll(0)
            due += TICK_S
            time.sleep(max(0.0, due - time.monotonic()))

    @contextmanager
    def sending(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ends.set()
            self._thread.join()
            self._producer.flush(30)

    def send(self, topic: str, value: bytes) -> None:
        self._producer.produce(topic, value)
        self._producer.flush(10)


def until(changed: float, caller: Caller, user: str, before: list[str], gone: str = "") -> float:
    """Milliseconds from a moment until a shelf begins with another item, or has lost the item `gone`."""
    while time.perf_counter() - changed < GIVE_UP_S:
        ids = caller.ids(user)
        if (gone not in ids) if gone else (ids[0] != before[0]):  # what was seen moves back
            return (time.perf_counter() - changed) * 1000
    raise RuntimeError(f"no answer changed within {GIVE_UP_S:g} s")


def probes(caller: Caller, sender: Sender) -> tuple[list[float], list[float]]:
    """Milliseconds from event to answer, and from an item's change to answer."""
    events: list[float] = []
    items: list[float] = []
    for number in range(PROBES):
        user = user_id(number)
        before = caller.ids(user)
        began = time.perf_counter()
        sender.send("events", event(10**9 + number, user, before[0]))
        events.append(until(began, caller, user, before))
        again = set(caller.ids(user))
        gone = [item for item in caller.ids(user) if item in again][number % 5]  # no place that explores
        began = time.perf_counter()
        sender.send("items", json.dumps({"item_id": gone, "stock": 0}).encode())
        items.append(until(began, caller, user, [], gone))
        sender.send("items", json.dumps({"item_id": gone, "stock": 5}).encode())
    return events, items


def main(folder: Path | None = None) -> list[Figure]:
    """Measure; draw the plot in `folder`, if given."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        shop = Path(name)
        with closing(open_store(f"lmdb://{shop}/store")) as store:
            publish(popular_night(USERS, ITEMS), store)
            item_ids = [f"item-{number:05d}" for number in range(ITEMS)]
        kafka = Kafka(shop / "kafka")
        broker = stack.enter_context(ExitStack())
        broker.enter_context(kafka.running())
        kafka.make_topic("events", 4)
        kafka.make_topic("items", 1)
        served = stack.enter_context(endpoint(shop, WORKERS))
        state = ("--state", f"{shop}/live")
        consumer = stack.enter_context(streaming("events", shop, kafka, "events", *state))
        stack.enter_context(streaming("items", shop, kafka, "items", *state))
        sender, process = Sender(kafka, item_ids), psutil.Process(consumer.process.pid)
        with sender.sending(), load(shop, served.port, served.secret, USERS, REQUESTS_A_SECOND):
            time.sleep(5)
            spent, sent = sum(process.cpu_times()[:2]), sender.sent
            events, items = probes(Caller(served.port, served.secret), sender)
            spent, sent = sum(process.cpu_times()[:2]) - spent, sender.sent - sent
        with_broker, without = [], []
        for _ in range(ROUNDS):
            with_broker.append(asked(shop, served, USERS, seconds=ROUND_S, pause_ms=16)["p99"])
            broker.close()
            without.append(asked(shop, served, USERS, seconds=ROUND_S, pause_ms=16)["p99"])
            broker.enter_context(kafka.running())
    if folder is not None:
        plot(events, items, folder / "streams.svg")
    told = f"{EVENTS_A_SECOND:,} events and {REQUESTS_A_SECOND} requests a second"
    return [
        Figure(f"event to answer, p50 at {told}", percentile(events, 0.5), "ms"),
        Figure("event to answer, p99", percentile(events, 0.99), "ms", wanted="under 1,000"),
        Figure("item to answer, p50", percentile(items, 0.5), "ms"),
        Figure("item to answer, p99", percentile(items, 0.99), "ms", wanted="under 1,000"),
        Figure("processor of the consumer, an event", spent / sent * 1e6, "µs"),
        Figure("answers' p99 while Kafka is away", median(without), "ms", median(with_broker), "with it", "to 1.10"),
    ]


def plot(events: list[float], items: list[float], path: Path) -> None:
    """Draw which share of answers had changed by when."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "streams"  # the same bytes from the same figures
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for name, times in (("a shopper's event", events), ("an item sold out", items)):
        ordered = sorted(times)
        axis.plot(ordered, [(row + 1) / len(ordered) for row in range(len(ordered))], label=name)
    axis.axvline(1_000, color="0.6", linestyle="--")
    axis.text(960, 0.5, "promised: one second", rotation=90, ha="right", va="center", color="0.4")
    axis.set(
        xlabel="milliseconds from message to changed answer",
        ylabel="share of messages",
        xlim=(0, 1_050),
        ylim=(0, 1.02),
    )
    axis.legend(frameon=False, loc="center right", bbox_to_anchor=(0.9, 0.5))
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    from tests.bench.figures import show

    show("streams", main(Path(sys.argv[1])))
