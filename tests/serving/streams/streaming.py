"""Runs `topshelf stream` as a process beside an endpoint."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message

from tests.dying_with_tests import dying_with_tests
from tests.serving.kafka_server import Kafka
from tests.serving.running import is_alive


class Stream:
    """A consumer's process, which may be killed and started again."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder, self._command = folder, command
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with (self.folder / "stream.log").open("ab") as log:
            return subprocess.Popen(dying_with_tests(self._command), stdout=log, stderr=log, env=os.environ)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert not is_alive(self.process.pid)

    def start(self) -> None:
        self.process = self._started()

    def log(self) -> str:
        return (self.folder / "stream.log").read_text()


@contextmanager
def streaming(kind: str, folder: Path, kafka: Kafka, topic: str, *options: str) -> Iterator[Stream]:
    """Follow a topic into the logs of the endpoint in `folder` until the block ends."""
    command = [sys.executable, "-m", "serving", "stream", kind, "--kafka", kafka.servers, "--topic", topic]
    command += ["--store", f"lmdb://{folder}/store", "--state", f"{folder}/state", "--group", topic, *options]
    running = Stream(folder, command)
    try:
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.wait(30)
        finally:
            running.process.kill()


def view(number: int, user_id: str = "user-1", item_id: str = "item-00007", **more: Any) -> bytes:
    """A message of a topic of events."""
    row = {"event_id": f"e-{number}", "user_id": user_id, "item_id": item_id, "event_type": "view", **more}
    return json.dumps(row).encode()


def messages_of(kafka: Kafka, topic: str, count: int, timeout_s: float = 60) -> list[Message]:
    """The first `count` messages of a topic, fewer where no more come in time."""
    configuration = {
        "bootstrap.servers": kafka.servers,
        "group.id": uuid.uuid4().hex,
        "auto.offset.reset": "earliest",
        "topic.metadata.refresh.interval.ms": 500,
    }
    found: list[Message] = []
    with closing(Consumer(configuration)) as consumer:
        consumer.subscribe([topic])
        for _ in range(int(timeout_s * 2)):
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                found.append(message)
            if len(found) == count:
                break
    return found
