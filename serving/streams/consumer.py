"""Reads a topic into a log: each message is in the log before its offset is committed.

A message that is read again, after a kill or when its partition changed hands, is logged again. That harms nothing:
events are landed and counted once by their `event_id`, and of an item's rows the newest `ts` wins.

Where the log cannot be written, or Kafka fails for good, the consumer is closed and opened again, so reading goes on
from the last committed offset and nothing piles up here. librdkafka itself goes on after a broker that was away.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from serving.lasting_task import LastingTask
from serving.logs.file_log import LogError
from serving.snapshot.manifest import NOT_JSON
from serving.streams.dead_letters import DeadLetters, DeadLettersError
from serving.streams.gauges import Gauges
from serving.streams.kafka_settings import KafkaSettings
from serving.streams.messages import Line

_LOG = logging.getLogger(__name__)
_BATCH = 1_000
_WAIT_S = 0.5  # for the first message of a batch, so that an end or a look is not late
_GATHER_S = 0.02  # for the others: fifty appends a second at most
_LOOK_S = 1.0
_AGAIN_S, _LONGEST_AGAIN_S = 1.0, 5.0
Append = Callable[[bytes], None]
"""Appends whole lines to the logs. Raises LogError."""


class TopicError(Exception):
    """The topic cannot be read; the message says why and what helps."""


class StreamConsumer:
    """Reads one topic until it is told to stop."""

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        group: str,
        instance: str,
        line: Line,
        append: Append,
        dead_letters: DeadLetters,
        gauges: Gauges,
    ) -> None:
        self._configuration = settings.consumer(group, instance)
        self._topic, self._line, self._append = topic, line, append
        self._dead_letters, self.gauges = dead_letters, gauges
        self.task = LastingTask(
            f"stream of {topic}",
            "messages wait in Kafka",
            every_s=_AGAIN_S,
            longest_wait_s=_LONGEST_AGAIN_S,
            expected=(LogError, KafkaException, DeadLettersError, TopicError),
        )
        self._looked_at = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Read until `stopping` is set. Whatever fails is logged, and tried again."""
        while not stopping.is_set():
            with self.task.attempt():
                self._read(stopping)
            if self.task.trouble is not None:
                self.gauges.troubles.inc()
                self.gauges.in_trouble.set(1)
                stopping.wait(self.task.wait_s)

    def _read(self, stopping: threading.Event) -> None:
        """Read until `stopping` is set. Raises LogError, DeadLettersError, KafkaException or TopicError."""
        with closing(Consumer(self._configuration)) as consumer:
            consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
            while not stopping.is_set():
                self.step(consumer)

    def step(self, consumer: Consumer) -> None:
        """Read at most a batch of messages and log them."""
        first = consumer.poll(_WAIT_S)
        if first is not None:
            messages = [first, *consumer.consume(_BATCH - 1, _GATHER_S)]
            self._take([message for message in messages if _is_message(message, self._topic)], consumer)
        if time.monotonic() - self._looked_at > _LOOK_S:
            self._looked_at = time.monotonic()
            self.gauges.look(consumer)

    def _take(self, messages: list[Message], consumer: Consumer) -> None:
        lines: list[bytes] = []
        refused: list[tuple[Message, str]] = []
        now_s, empty = time.time(), 0
        for message in messages:
            value = message.value()
            try:
                line = None if value is None else self._line(value, now_s, _sent_s(message, now_s))
            except (*NOT_JSON, OSError) as error:  # OSError: a time that no clock has
                refused.append((message, str(error)))
            else:
                if line is None:
                    empty += 1
                else:
                    lines.append(line)
        self._append(b"".join(lines))
        self._dead_letters.send(refused)
        _store_offsets(messages, consumer)
        for counter, count in (
            (self.gauges.logged, len(lines)),
            (self.gauges.refused, len(refused)),
            (self.gauges.empty, empty),
        ):
            counter.inc(count)
        if messages:
            self.gauges.in_trouble.set(0)

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        _LOG.info("%s: %d partitions came", self._topic, len(partitions))

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        _LOG.info("%s: %d partitions went", self._topic, len(partitions))

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        _LOG.warning(
            "%s: %d partitions were taken away, as the group did not hear of this consumer in time; it joins again",
            self._topic,
            len(partitions),
        )


def _sent_s(message: Message, now_s: float) -> float:
    """When a message was sent, in UTC seconds; now where it does not say."""
    _, milliseconds = message.timestamp()
    return milliseconds / 1000 if milliseconds > 0 else now_s


def _is_message(message: Message, topic: str) -> bool:
    """Whether this is a message. Raises KafkaException or TopicError for a notice after which reading ends."""
    error = message.error()
    if error is None:
        return True
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        raise TopicError(f"there is no topic {topic}; make it, or name another one with --topic")
    if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
        raise TopicError(f"{topic} may not be read: {error.str()}; let this user read the topic and the group")
    if (
        error.fatal() or error.code() == KafkaError._FATAL
    ):  # after a broker was away it may fence this member as its own double
        raise KafkaException(error)
    _LOG.warning("%s: %s; the client goes on", topic, error.str())
    return False


def _store_offsets(messages: list[Message], consumer: Consumer) -> None:
    """Let the next commit cover these messages. A partition that went meanwhile is read again by whoever has it."""
    last = {message.partition(): message for message in messages}
    for message in last.values():
        try:
            consumer.store_offsets(message)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:
                raise
