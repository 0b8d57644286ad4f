"""A day of 5 million events from a topic into landing, beside the same rows written as files.

Both are staged by a night's first stage, and their bytes compared. The rate, the processor and the largest memory are
those of `topshelf landing topic`, in a process of its own, Spark's start included.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import psutil
from confluent_kafka import Producer

from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.tables import INTERACTIONS
from jobs.staging.ingest import ingest
from tests.bench.figures import Figure
from tests.serving.kafka_server import Kafka

DAY = date(2026, 1, 31)
EVENTS = 5_000_000
PARTITIONS = 8


def rows() -> Iterator[tuple[int, bytes]]:
    """Milliseconds and JSON of each event, over one day."""
    begin_ms = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp() * 1000)
    kinds = ("view",) * 8 + ("add_to_cart", "purchase")
    for number in range(EVENTS):
        at_ms = begin_ms + number * 86_400_000 // EVENTS
        ts = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        row = {
            "event_id": f"e-{number}",
            "user_id": f"u-{number * 7919 % 200_000}",
            "item_id": f"i-{number * 104_729 % 50_000}",
            "event_type": kinds[number % 10],
            "ts": ts,
        }
        yield at_ms, json.dumps(row).encode()


def fill(kafka: Kafka, file: Path) -> int:
    """Send every row to the topic, and write it to a file; the bytes of all rows."""
    queue = {"linger.ms": 50, "compression.type": "lz4", "queue.buffering.max.messages": 500_000}
    producer = Producer({"bootstrap.servers": kafka.servers} | queue)
    size = 0
    with file.open("wb") as by_hand:
        for at_ms, row in rows():
            by_hand.write(row + b"\n")
            size += len(row)
            while True:
                try:
                    producer.produce("events", row, timestamp=at_ms)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
    assert producer.flush(300) == 0
    return size


class Used:
    """What a process and all that it starts use: Spark's JVM is no child that it waits for."""

    def __init__(self) -> None:
        self.processor_s: dict[int, float] = {}
        self.memory = 0

    def look(self, pid: int) -> None:
        with suppress(psutil.NoSuchProcess):
            for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    self.processor_s[process.pid] = sum(process.cpu_times()[:2])
                    self.memory = max(self.memory, process.memory_info().rss)


def main() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        by_hand = folder / "by-hand" / "events" / f"ds={DAY}"
        by_hand.mkdir(parents=True)
        kafka = Kafka(folder / "kafka")
        with kafka.running():
            kafka.make_topic("events", PARTITIONS)
            size = fill(kafka, by_hand / "all.jsonl")
            (by_hand / "_SUCCESS").touch()
            command = [sys.executable, "-m", "jobs", "landing", "topic", "events", "--kafka", kafka.servers]
            command += ["--topic", "events", "--landing", f"{folder}/landing", "--lake", f"{folder}/lake"]
            began, used = time.perf_counter(), Used()
            process = subprocess.Popen(command)
            while process.poll() is None:
                used.look(process.pid)
                time.sleep(0.2)
            took = time.perf_counter() - began
            assert process.returncode == 0
        staged = []
        for place, lake in ((f"{folder}/landing", f"{folder}/lake"), (f"{folder}/by-hand", f"{folder}/other")):
            ingest(Lake(lake), place, DAY, Parameters())
            staged.append(sorted(Lake(lake).manifest(INTERACTIONS, DAY).files.values()))
    return [
        Figure(f"landed, {EVENTS:,} events of {size / 1e6:,.0f} MB", EVENTS / took, "events/s"),
        Figure("from start to end", took, "s"),
        Figure("processor, of all processes", sum(used.processor_s.values()), "s"),
        Figure("largest memory of a process", used.memory / (1 << 20), "MiB"),
        Figure("staged files that differ from the same day in files", float(staged[0] != staged[1]), "", wanted="0"),
    ]
