"""Kills of the broker, of the consumer and of a worker while events flow: each is landed once, and soon.

TOPSHELF_TEST_KILLS=1 kills each of them twenty times and prints how long it took to catch up; without it, once each.
"""

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.serving.kafka_server import Kafka
from tests.serving.running import Server, publish_night, serving, within
from tests.serving.streams.streaming import Stream, streaming, view

KILLS = 20 if os.environ.get("TOPSHELF_TEST_KILLS") else 1
CAUGHT_UP_S = 60  # 30 wanted; how long it takes is printed
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


class Shoppers:
    """Send events without end, through every fault; `sent` are those that the broker has."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": kafka.servers,
                "enable.idempotence": True,
                "delivery.timeout.ms": 120_000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._topic, self.sent, self._number = topic, set[str](), 0

    def send(self, count: int) -> int:
        """Send some events; the number of the last one."""
        for _ in range(count):
            self._number += 1
            name = f"e-{self._number}"
            self._producer.produce(
                self._topic,
                view(self._number),
                key=b"%d" % (self._number % 97),
                on_delivery=lambda error, _, name=name: self.sent.add(name) if error is None else None,
            )
        self._producer.poll(0)
        return self._number

    def finish(self) -> None:
        assert self._producer.flush(120) == 0
        assert len(self.sent) == self._number


def landed_count(server: Server) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (server.folder / "landing" / "events").glob("ds=*/*.jsonl"))


def caught_up_s(server: Server, shoppers: Shoppers, since: float) -> float:
    """Seconds from a kill until all that was sent, and an event after it, are landed."""
    shoppers.send(1)
    shoppers.finish()
    assert within(CAUGHT_UP_S, lambda: landed_count(server) >= len(shoppers.sent))
    return time.monotonic() - since


@pytest.mark.parametrize("killed", ["broker", "consumer", "worker"])
def test_whatever_is_killed_each_event_is_landed_once_and_soon(tmp_path: Path, killed: str) -> None:
    publish_night(tmp_path, "2026-01-01")
    kafka, took_s = Kafka(tmp_path / "kafka"), []
    with ExitStack() as stack:
        broker = stack.enter_context(ExitStack())
        broker.enter_context(kafka.running())
        kafka.make_topic("events", 4)
        server = stack.enter_context(serving(tmp_path, workers=2))
        stream = stack.enter_context(streaming("events", tmp_path, kafka, "events"))
        shoppers = Shoppers(kafka, "events")
        shoppers.send(500)
        assert within(CAUGHT_UP_S, lambda: landed_count(server) > 0)
        for _ in range(KILLS):
            shoppers.send(500)
            since = time.monotonic()
            if killed == "broker":
                broker.close()  # with -9
                shoppers.send(100)
                broker.enter_context(kafka.running())
            elif killed == "consumer":
                kill_and_start(stream)
            else:
                workers = set(server.workers())
                os.kill(min(workers), 9)
                assert within(CAUGHT_UP_S, lambda workers=workers: server.has_replaced({min(workers)}))
            took_s.append(caught_up_s(server, shoppers, since))
    landed = [row["event_id"] for row in server.landed("events")]
    assert len(landed) == len(set(landed))
    assert set(landed) == shoppers.sent
    slowest = f"{killed} killed {KILLS} times, {len(landed)} events landed once, caught up in {max(took_s):.1f} s"
    sys.stdout.write(f"{slowest}\n")


def kill_and_start(stream: Stream) -> None:
    stream.kill()
    stream.start()
