"""A real broker for tests, its own controller, on a free port."""

import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen, run

from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.serving.servers import free_port, installed, need, running, wait_for

KAFKA_VERSION = "4.4.0"
_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
auto.create.topics.enable=false
log.retention.ms=-1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
group.consumer.heartbeat.interval.ms=1000
group.consumer.min.heartbeat.interval.ms=1000
"""


class Kafka:
    """A broker that may be killed and started again over the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self.servers = f"127.0.0.1:{self.port}"
        jars = installed() / f"kafka-{KAFKA_VERSION}"
        need(jars / "complete")
        self._java = [need("java"), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
        self._file = folder / "server.properties"
        folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(_SETTINGS.format(port=self.port, controller=free_port(), folder=folder))
        made = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        format_data = [*self._java, "kafka.tools.StorageTool", "format", "-t", made, "-c", str(self._file)]
        run(format_data, check=True, capture_output=True)

    @contextmanager
    def running(self) -> Iterator[Popen[bytes]]:
        """Run the broker until the block ends, which kills it."""
        with running([*self._java, "kafka.Kafka", str(self._file)], self._folder) as process:
            wait_for(lambda: bool(self.admin().list_topics(timeout=2).brokers), "Kafka", process, timeout_s=120)
            yield process

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    def make_topic(self, name: str, partitions: int = 1) -> None:
        admin = self.admin()
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)

    def send(self, topic: str, *values: bytes | None, **given: object) -> None:
        """Send messages; they are in the topic when this returns. `given` is that of `Producer.produce`."""
        failed: list[object] = []
        producer = Producer({"bootstrap.servers": self.servers, "message.max.bytes": 4 << 20})

        def delivered(error: object, _: Message) -> None:
            if error is not None:
                failed.append(error)

        for value in values:
            producer.produce(topic, value, on_delivery=delivered, **given)  # type: ignore[arg-type]
            producer.poll(0)
        assert producer.flush(60) == 0
        assert failed == []
