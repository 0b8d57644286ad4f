"""The commands that follow topics of Kafka: `topshelf stream events` and `topshelf stream items`."""

import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serving.options import SHARED, STATE, STORE, state_folder

if TYPE_CHECKING:
    from serving.logs.file_log import Log
    from serving.streams.messages import Line


def _kafka_options(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options of both commands."""
    options = (
        click.option(
            "--kafka",
            envvar="TOPSHELF_KAFKA",
            required=True,
            metavar="HOST:PORT,…",
            help="Brokers to ask first.",
        ),
        click.option("--topic", default=kind, show_default=True, help="The topic to follow."),
        click.option(
            "--group",
            envvar="TOPSHELF_KAFKA_GROUP",
            default="topshelf",
            show_default=True,
            help="The consumer group. Hosts that share a Redis share a group; others each need one of their own.",
        ),
        click.option(
            "--kafka-properties",
            envvar="TOPSHELF_KAFKA_PROPERTIES",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="File of further properties of librdkafka, NAME=VALUE a line: security, group.protocol=consumer.",
        ),
        click.option("--dead-letters", help="The topic of refused messages. By default the topic's name and .dead."),
        click.option("--metrics", metavar="HOST:PORT", help="Answer Prometheus here, such as 127.0.0.1:9400."),
        STORE,
        STATE,
        SHARED,
    )

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorated


@click.group()
def stream() -> None:
    """Follow topics of Kafka: what shoppers do, live price and stock."""


@stream.command("events", epilog="Example: topshelf stream events --kafka 127.0.0.1:9092 --topic shop.events")
@_kafka_options("events")
@click.option(
    "--not-landed",
    is_flag=True,
    help="Only shelves hear of these events; something else lands them, such as `topshelf landing topic`.",
)
def stream_events(*, not_landed: bool, store: str, state: str | None, shared: str | None, **given: Any) -> None:
    """Follow a topic of events: JSON, a row a message, as POST /events takes them.

    Beside an endpoint of this host, with its store, state and shared Redis. It may be killed at any time.
    """
    from serving.logs.host_logs import event_log, shared_logs
    from serving.streams.messages import events

    settings = _settings(store, state, shared)
    shared_events, _ = shared_logs(settings)
    logs: list[Log] = [event_log(settings), *([shared_events] if shared_events is not None else [])]
    _follow("events", settings.state, logs, events(are_landed=not not_landed), **given)


@stream.command("items", epilog="Example: topshelf stream items --kafka 127.0.0.1:9092 --topic shop.items")
@_kafka_options("items")
@click.option(
    "--debezium",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="The topic has a table's changes in Debezium's envelope; FIELD is item_id, price, stock or moderated. "
    "Repeat it: --debezium item_id=id --debezium price=price --debezium stock=qty",
)
def stream_items(
    *, columns: tuple[str, ...], store: str, state: str | None, shared: str | None, **given: Any
) -> None:
    """Follow a topic of live price and stock: JSON, a row a message, as POST /items takes them.

    Beside an endpoint of this host, with its store, state and shared Redis. It may be killed at any time.
    """
    from serving.logs.host_logs import item_log

    settings = _settings(store, state, shared)
    _follow("items", settings.state, [item_log(settings)], _line_of_item(columns), **given)


def _settings(store: str, state: str | None, shared: str | None) -> Any:
    from serving.settings import EndpointSettings
    from serving.stores.redis_address import redis_address

    try:
        if shared:
            redis_address(shared)
    except ValueError as error:
        raise click.ClickException(f"--shared: {error}") from error
    folder = state_folder(store, state)
    return EndpointSettings(store, "", folder, folder / "keys.json", shared or None)


def _line_of_item(columns: tuple[str, ...]) -> "Line":
    from serving.streams.envelopes import line_of_change
    from serving.streams.messages import line_of_item

    if not columns:
        return line_of_item
    try:
        return line_of_change(dict(_pair(word) for word in columns))
    except ValueError as error:
        raise click.ClickException(f"--debezium: {error}") from error


def _pair(word: str) -> tuple[str, str]:
    field, equals, column = word.partition("=")
    if not (field and equals and column):
        raise ValueError(f"{word!r} is not FIELD=COLUMN")
    return field, column


def _follow(
    kind: str,
    state: Path,
    logs: "list[Log]",
    line: "Line",
    *,
    kafka: str,
    topic: str,
    group: str,
    kafka_properties: Path | None,
    dead_letters: str | None,
    metrics: str | None,
) -> None:
    """Follow a topic until SIGTERM or SIGINT. Raises ClickException."""
    from confluent_kafka import Consumer, KafkaException

    from serving.logs.host_name import host_name
    from serving.stores.files import take_lock
    from serving.streams.consumer import StreamConsumer
    from serving.streams.dead_letters import DeadLetters
    from serving.streams.gauges import Gauges
    from serving.streams.kafka_settings import KafkaSettingsError, read_settings

    try:
        settings = read_settings(kafka, kafka_properties)
    except KafkaSettingsError as error:
        raise click.ClickException(f"--kafka: {error}") from error
    try:
        if take_lock(state / f"stream-{kind}.lock") is None:
            raise click.ClickException(
                f"another process streams {kind} into {state}; stop it, or give this one a folder of its own: --state"
            )
        instance = f"{host_name(state)}-{kind}"
    except OSError as error:
        raise click.ClickException(
            f"{state} cannot be written: {error.strerror or error}; name another: --state"
        ) from error
    try:
        Consumer(settings.consumer(group, instance)).close()
    except KafkaException as error:
        raise click.ClickException(f"--kafka-properties: {error.args[0].str()}") from error
    gauges = Gauges(topic)
    if metrics is not None:
        _serve(gauges, metrics)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    letters = DeadLetters(settings, dead_letters or f"{topic}.dead", instance)
    consumer = StreamConsumer(settings, topic, group, instance, line, partial(_append, logs), letters, gauges)
    click.echo(f"follows {topic} of {kafka} as {instance} of the group {group}", err=True)
    consumer.run(stopping)


def _append(logs: "list[Log]", lines: bytes) -> None:
    for log in logs:
        log.append(lines)


def _serve(gauges: Any, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        gauges.serve(host or "127.0.0.1", int(port))
    except (ValueError, OSError, OverflowError) as error:
        raise click.ClickException(f"--metrics {address}: {error}; give a free port, as 127.0.0.1:9400") from error
