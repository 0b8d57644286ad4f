"""One broker for all tests of streams, and a topic of its own for each."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.serving.kafka_server import Kafka

MakeTopic = Callable[..., str]


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    broker = Kafka(tmp_path_factory.mktemp("kafka"))
    with broker.running():
        yield broker


@pytest.fixture
def make_topic(kafka: Kafka) -> MakeTopic:
    """Make a topic: `make_topic(partitions=4)`; its name."""

    def make(partitions: int = 1) -> str:
        name = f"t{uuid.uuid4().hex[:12]}"
        kafka.make_topic(name, partitions)
        return name

    return make
