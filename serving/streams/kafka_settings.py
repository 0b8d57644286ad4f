"""How Kafka is reached: its address, and whatever else a client of librdkafka may be told, from a file.

    security.protocol=SASL_SSL
    sasl.mechanism=PLAIN
    sasl.username=topshelf

The file has one NAME=VALUE a line; lines that begin with # are comments.
"""

from dataclasses import dataclass
from pathlib import Path

Configuration = dict[str, str | int | float | bool]
"""What a client of librdkafka is made from."""
SESSION_TIMEOUT_MS = 10_000
"""A consumer that was killed and does not come back gives its partitions away after so long."""
POLL_INTERVAL_MS = 60_000
"""One that hangs gives them away after so long. Dead letters, the slowest of a batch, may take half of it."""
_COMMIT_MS = 1_000
_OURS = ("bootstrap.servers", "group.id", "group.instance.id", "enable.auto.commit", "enable.auto.offset.store")


class KafkaSettingsError(ValueError):
    """The file of properties cannot be read, or says what is not its to say."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where Kafka is, and the file's properties."""

    servers: str  # host:port, several with commas between
    properties: dict[str, str]

    @property
    def is_new_protocol(self) -> bool:
        """Whether the group's members follow the protocol of KIP-848, in which the broker assigns partitions."""
        return self.properties.get("group.protocol", "classic") == "consumer"

    def consumer(self, group: str, instance: str) -> Configuration:
        """Return a consumer's configuration. Offsets are committed each second, as far as they were stored.

        `instance` makes it a static member of the group: one that is started again takes its partitions at once. In
        the new protocol a killed static member is kept out by its own ghost, so there it has no such name.
        """
        own: Configuration = {
            "bootstrap.servers": self.servers,
            "group.id": group,
            "client.id": instance,
            "enable.auto.commit": True,
            "enable.auto.offset.store": False,
            "auto.commit.interval.ms": _COMMIT_MS,
            "auto.offset.reset": "earliest",
            "max.poll.interval.ms": POLL_INTERVAL_MS,
            "allow.auto.create.topics": False,
        }
        if not self.is_new_protocol:
            own |= {
                "group.instance.id": instance,
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "partition.assignment.strategy": "cooperative-sticky",
            }
        return own | self.properties

    def producer(self, client_id: str) -> Configuration:
        """Return the configuration of a producer that neither loses nor repeats a message."""
        own: Configuration = {"bootstrap.servers": self.servers, "client.id": client_id, "enable.idempotence": True}
        return own | {name: value for name, value in self.properties.items() if not name.startswith("group.")}


def read_settings(servers: str, path: Path | None) -> KafkaSettings:
    """Return the settings. Raises KafkaSettingsError."""
    if not all(server.strip() for server in servers.split(",")):
        raise KafkaSettingsError("no broker is named; give host:port, several with commas between")
    if path is None:
        return KafkaSettings(servers, {})
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise KafkaSettingsError(f"{path} cannot be read: {error}") from error
    properties = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name:
            raise KafkaSettingsError(f"{path}, line {number}: give NAME=VALUE")
        if name in _OURS:
            raise KafkaSettingsError(f"{path}, line {number}: {name} is Topshelf's own; leave it out")
        properties[name] = value
    return KafkaSettings(servers, properties)
