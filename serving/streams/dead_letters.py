"""Dead letters: refused messages go to a topic of their own, as they came, with the reason in their headers.

    topshelf.reason      event_type 'buy' is none of impression, click, …
    topshelf.topic       where it stood: shop.events
    topshelf.partition   0
    topshelf.offset      1742

What the topic does not take at all is told by its headers alone. Nothing else is done to them: who has mended the
cause reads them from there and sends them again.
"""

from collections.abc import Callable
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from serving.streams.kafka_settings import KafkaSettings

Letter = tuple[Message, str, bool]
"""A refused message, the reason, and whether its key and value are sent."""
KEPT_BYTES = 256 << 10
"""A longer value is cut to this size, as the topic may refuse it; the header `topshelf.cut` tells how long it was."""
KEPT_KEY_BYTES = 1 << 10
_SEND_S = 20.0
_ASK_S = 10.0


class DeadLettersError(Exception):
    """The topic of dead letters does not take them; the message says why and what helps."""


class DeadLetters:
    """Sends to one topic, which is made with one partition where there is none."""

    def __init__(self, settings: KafkaSettings, topic: str, client_id: str) -> None:
        self.topic, self._settings = topic, settings
        self._client_id = client_id
        self._producer: Producer | None = None

    def send(self, refused: list[tuple[Message, str]]) -> None:
        """Send messages with their reasons; they are in the topic when this returns. Raises DeadLettersError."""
        if not refused:
            return
        too_large = self._deliver([(message, reason, True) for message, reason in refused])
        if self._deliver([(message, reason, False) for message, reason in too_large]):
            raise self._failed("it does not take even the reasons")

    def _deliver(self, letters: list[Letter]) -> list[tuple[Message, str]]:
        """Send letters, with key and value or without; return those that are too large for the topic."""
        too_large: list[tuple[Message, str]] = []
        failures: list[str] = []

        def delivered(error: KafkaError | None, letter: Letter) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(letter[:2])
            elif error is not None:
                failures.append(str(error))

        try:
            producer = self._connected()
            for letter in letters:
                message, reason, whole = letter
                key, value = (message.key() or b"")[:KEPT_KEY_BYTES], (message.value() or b"")[:KEPT_BYTES]
                headers = _headers(message, reason, whole=whole)
                told = partial(_tell, delivered, letter)
                if whole:
                    producer.produce(self.topic, value, key, headers=headers, on_delivery=told)
                else:
                    producer.produce(self.topic, headers=headers, on_delivery=told)
                producer.poll(0)
            left = producer.flush(_SEND_S)
        except (KafkaException, BufferError) as error:
            self.close()  # it may never work again
            raise self._failed(error) from error
        if left or failures:
            self.close()
            raise self._failed(failures[0] if failures else f"no answer within {_SEND_S:g} s")
        return too_large

    def _failed(self, reason: object) -> DeadLettersError:
        return DeadLettersError(
            f"refused messages cannot go to {self.topic}: {reason}; make that topic, or let this client write it"
        )

    def _connected(self) -> Producer:
        if self._producer is None:
            self._make_topic()
            self._producer = Producer(self._settings.producer(self._client_id))
        return self._producer

    def _make_topic(self) -> None:
        admin = AdminClient(self._settings.producer(self._client_id) | {"enable.idempotence": False})
        if self.topic in admin.list_topics(timeout=_ASK_S).topics:
            return
        made = admin.create_topics([NewTopic(self.topic, num_partitions=1, replication_factor=-1)])
        try:
            made[self.topic].result(_ASK_S)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise

    def close(self) -> None:
        """Forget the connection; the next message opens a new one."""
        self._producer = None


def _headers(message: Message, reason: str, *, whole: bool) -> dict[str, str | bytes | None]:
    headers: dict[str, str | bytes | None] = {
        "topshelf.reason": reason,
        "topshelf.topic": str(message.topic()),
        "topshelf.partition": str(message.partition()),
        "topshelf.offset": str(message.offset()),
    }
    size = len(message.value() or b"")
    return headers | ({"topshelf.cut": str(size)} if size > KEPT_BYTES or not whole else {})


def _tell(
    delivered: "Callable[[KafkaError | None, Letter], None]", letter: "Letter", error: KafkaError | None, _: object
) -> None:
    delivered(error, letter)
