"""What a stream's consumer tells Prometheus, and how far it is behind.

topshelf_stream_behind_messages{topic="shop.events",partition="0"}   0
"""

from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

_ASK_S = 2.0


class Gauges:
    """The counts of one consumer. `serve` answers them on a port of their own."""

    def __init__(self, topic: str) -> None:
        self.registry = CollectorRegistry()
        self._topic = topic
        counted = Counter(
            "topshelf_stream_messages",
            "Messages read, by what became of them: logged, refused to the dead letters, or nothing to log.",
            ["topic", "became"],
            registry=self.registry,
        )
        self.logged, self.refused, self.empty = (
            counted.labels(topic, became) for became in ("logged", "refused", "empty")
        )
        self.troubles = Counter(
            "topshelf_stream_troubles", "Times that reading began anew.", ["topic"], registry=self.registry
        ).labels(topic)
        self.in_trouble = Gauge(
            "topshelf_stream_in_trouble",
            "1 while messages wait for a fault to end.",
            ["topic"],
            registry=self.registry,
        ).labels(topic)
        self.partitions = Gauge(
            "topshelf_stream_partitions", "Partitions that this consumer reads.", ["topic"], registry=self.registry
        ).labels(topic)
        self._behind = Gauge(
            "topshelf_stream_behind_messages",
            "Messages of a partition that are not read yet.",
            ["topic", "partition"],
            registry=self.registry,
        )

    def serve(self, host: str, port: int) -> None:
        """Answer GET /metrics on a thread. Raises OSError: the port cannot be had."""
        start_http_server(port, host, self.registry)

    def look(self, consumer: Consumer) -> None:
        """Set what a consumer reads and how far it is behind, by what it has heard of the broker last."""
        try:
            assigned = consumer.assignment()
            positions = consumer.position(assigned) if assigned else []
            unread = [partition for partition in positions if partition.offset < 0]  # since it was assigned
            committed = {of.partition: of.offset for of in consumer.committed(unread, _ASK_S)} if unread else {}
        except KafkaException:
            return  # between two assignments
        self.partitions.set(len(assigned))
        self._behind.clear()
        waits = False
        for partition in positions:
            behind = _behind(consumer, partition, committed.get(partition.partition, partition.offset))
            waits |= behind != 0
            if behind is not None:
                self._behind.labels(self._topic, str(partition.partition)).set(behind)
        if not waits:
            self.in_trouble.set(0)


def _behind(consumer: Consumer, partition: TopicPartition, offset: int) -> int | None:
    """Return how many messages lie behind an offset, all if it is none; None where their end is not known."""
    try:
        known = consumer.get_watermark_offsets(partition, cached=True)
    except KafkaException:
        return None
    if known is None or known[1] < 0:
        return None
    low, high = known
    return max(0, int(high) - max(int(low), offset))
