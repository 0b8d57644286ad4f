"""Land a topic of Kafka: what came since the last run becomes files of landing, each message exactly once.

    topshelf landing topic events --kafka 127.0.0.1:9092 --topic shop.events --landing data/landing --lake data/lake

    landing/events/ds=2026-01-31/topic-shop.events-0003-000000001742.jsonl.gz    from partition 3, offset 1742 on
    lake/_topics/events/shop.events/                                              how far the topic is landed

A message's day is that of its own time, which Kafka keeps with it. Spark's Structured Streaming records which offsets
a batch has before it reads them. A run that was killed is finished by the next one: it makes the same files again,
with the same names and bytes, unless the topic was compacted meanwhile.

A run that has read all that was there when it began marks the days as complete that had ended MARK_AFTER before, from
the newest marked one on. So a table has one source: its topic. A message whose time is of a marked day still goes
into that day's folder, and the next night stages that day again.
"""

import gzip
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import fs
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.lake.filesystems import filesystem_of
from jobs.lake.lake import Lake
from jobs.lake.locks import held
from jobs.landing.folders import SUCCESS, Landing, topic_file, topic_of
from serving.snapshot.manifest import NOT_JSON
from serving.stores.files import write_whole

BATCH_MESSAGES = 1_000_000
"""A batch has at most so many, so that what is read and redone at once is bounded."""
MARK_AFTER = timedelta(minutes=15)
"""Late senders have so long after a day's end, as they have at the endpoint."""
TABLES = ("events", "items")
_TIMEOUT_MS = "20000"
_OURS = ("bootstrap.servers", "group.id", "auto.offset.reset", "key.deserializer", "value.deserializer")
_FILES = pa.schema([("file", pa.string())] + [(f"{of}_count", pa.int64()) for of in ("row", "empty", "untimed")])
_FIRST_TIME, _LAST_TIME = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1_000_000) for year in (2000, 2100))


class TopicError(ValueError):
    """A topic cannot be landed as it is asked for; the message says why and what helps."""


class TopicAwayError(RuntimeError):
    """Kafka or the landing failed. What is landed is whole, and the next run goes on."""


@dataclass(frozen=True)
class Topic:
    """A topic, the brokers to ask first, and properties of Kafka's Java client, such as `security.protocol`."""

    servers: str
    name: str
    properties: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, str]:
        """Return what Spark's reader takes."""
        timeouts = {"kafka.default.api.timeout.ms": _TIMEOUT_MS, "kafka.request.timeout.ms": _TIMEOUT_MS}
        given = {f"kafka.{name}": value for name, value in self.properties.items()}
        return (
            timeouts
            | given
            | {
                "kafka.bootstrap.servers": self.servers,
                "kafka.isolation.level": "read_committed",  # as `topshelf stream` reads
                "subscribe": self.name,
                "groupIdPrefix": "topshelf-landing",
                "startingOffsets": "earliest",
                "maxOffsetsPerTrigger": str(BATCH_MESSAGES),
            }
        )


@dataclass(frozen=True)
class TopicLanded:
    """What one run did."""

    table: str
    topic: str
    row_count: int
    empty_count: int
    """Messages without a value: a compacted topic's deletions."""
    untimed_count: int
    """Messages whose own time is none of a shop's, such as one in seconds where Kafka counts milliseconds."""
    days: tuple[date, ...]
    """Those that got rows."""
    marked: tuple[date, ...]

    def __str__(self) -> str:
        days = f", of {_span(self.days)}" if self.days else ""
        empty = f"; {self.empty_count:,} messages were empty" if self.empty_count else ""
        untimed = ""
        if self.untimed_count:
            untimed = f"; {self.untimed_count:,} had a time that cannot be, and got that of the message before them"
        marked = f"; {_span(self.marked)} marked as complete" if self.marked else ""
        return f"{self.topic}: {self.row_count:,} rows landed under {self.table}{days}{empty}{untimed}{marked}"


def _span(days: tuple[date, ...]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"


def read_properties(path: Path | None) -> dict[str, str]:
    """Return the properties of a file, NAME=VALUE a line. Raises TopicError."""
    properties: dict[str, str] = {}
    if path is None:
        return properties
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TopicError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if name and not name.startswith("#"):
            if not equals or name in _OURS:
                wrong = f"{name} is Topshelf's own; leave it out" if equals else "give NAME=VALUE"
                raise TopicError(f"{path}, line {number}: {wrong}")
            properties[name] = value
    return properties


def land_topic(
    spark: SparkSession, table: str, topic: Topic, landing: str, lake: Lake, now: datetime | None = None
) -> TopicLanded:
    """Land all that is in a topic now and was not landed before.

    Raises:
        TopicError: the topic, or the jars that Spark needs for it, are not there, or rows of it expired unread.
        TopicAwayError: Kafka or the landing failed.
    """
    if table not in TABLES or not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic.name):
        raise TopicError(f"{topic.name!r} cannot land under {table!r}; name a topic, and {' or '.join(TABLES)}")
    began, told = now or datetime.now(UTC), list[dict[str, Any]]()

    def land(batch: DataFrame, _: int) -> None:
        name = topic.name
        micros = F.unix_micros("timestamp").alias("micros")
        written = batch.select("value", "partition", "offset", micros).mapInArrow(
            lambda batches: _write_files(batches, landing, table, name),
            "file string, row_count long, empty_count long, untimed_count long",
        )
        told.extend(row.asDict() for row in written.collect())

    checkpoint = lake.location(f"_topics/{table}/{topic.name}")
    with held(lake.root, f"topic-{table}-{topic.name}"):
        try:
            stream = spark.readStream.format("kafka").options(**topic.options()).load().writeStream.foreachBatch(land)
            query = stream.option("checkpointLocation", checkpoint).trigger(availableNow=True).start()
            try:
                query.awaitTermination()
            finally:
                query.stop()
        except Exception as error:  # Py4J's and Spark's own kinds: what they say tells them apart
            raise _error_of(error, topic, checkpoint) from error
        marked = _mark(Landing(landing), table, (began - MARK_AFTER).date(), topic.name)
    days = {date.fromisoformat(row["file"].split("/")[0].removeprefix("ds=")) for row in told if row["row_count"]}
    return TopicLanded(
        table,
        topic.name,
        sum(row["row_count"] for row in told),
        sum(row["empty_count"] for row in told),
        sum(row["untimed_count"] for row in told),
        tuple(sorted(days)),
        tuple(marked),
    )


def _error_of(error: Exception, topic: Topic, checkpoint: str) -> Exception:
    text = str(error)
    where = f"the topic {topic.name} of {topic.servers}"
    if "UnknownTopicOrPartition" in text:
        return TopicError(f"{where} is not there; make it, or name another one with --topic")
    if "Failed to find data source: kafka" in text or "DATA_SOURCE_NOT_FOUND" in text:
        return TopicError(
            "Spark lacks the jars for Kafka; run infra/spark/kafka.sh, or name them by TOPSHELF_KAFKA_JARS"
        )
    if "UNTIMED" in text:
        return TopicError(f"{where}: {text.partition('UNTIMED ')[2].splitlines()[0]}")
    if "failOnDataLoss" in text or "KAFKA_DATA_LOSS" in text or "OffsetOutOfRange" in text:
        return TopicError(
            f"{where} dropped messages before they were landed, or was made anew. Lengthen its retention. To go on "
            f"with what it has, remove {checkpoint}; events that are landed twice then count once by event_id"
        )
    cause = error.desc if isinstance(error, StreamingQueryException) and hasattr(error, "desc") else text
    first = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(error).__name__)
    return TopicAwayError(f"{where} could not be landed: {first}; what is landed is whole, and the next run goes on")


# Writing, in Spark's tasks ----------------------------------------------------------------------------------------


_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _write_files(batches: Iterator[pa.RecordBatch], landing: str, table: str, topic: str) -> Iterator[pa.RecordBatch]:
    """Write the messages of one task, a file a partition of the topic and day; yield what was written.

    A message whose time cannot be has that of the one before it; the first ones of a task have that of the first that
    can be. Raises ValueError where none of the task's can.
    """
    files: dict[tuple[int, str], _File] = {}
    empty_count, untimed_count = 0, 0
    last_micros: int | None = None
    waiting: list[tuple[bytes, int, int]] = []

    def add(value: bytes, partition: int, offset: int, micros: int) -> None:
        nonlocal empty_count
        at = datetime.fromtimestamp(micros / 1_000_000, UTC)
        line = landed_line(value, at if table == "events" else None)
        if line is None:
            empty_count += 1
            return
        key = partition, f"ds={at:%Y-%m-%d}"
        if key not in files:
            files[key] = _File(f"{key[1]}/{topic_file(topic, partition, offset)}")
        files[key].add(line)

    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in ("value", "partition", "offset", "micros"))
        for value, partition, offset, micros in zip(*columns, strict=True):
            if value is None:
                empty_count += 1
            elif micros is not None and _FIRST_TIME <= micros < _LAST_TIME:
                last_micros = micros
                while waiting:
                    add(*waiting.pop(0), micros)
                add(value, partition, offset, micros)
            else:
                untimed_count += 1
                if last_micros is None:
                    waiting.append((value, partition, offset))
                else:
                    add(value, partition, offset, last_micros)
    if waiting:
        _, partition, offset = waiting[0]
        raise ValueError(
            f"UNTIMED no message has a time that can be, from partition {partition}, offset {offset} on; set the "
            "topic's message.timestamp.type to LogAppendTime, and land its days by hand until then"
        )
    filesystem, base = filesystem_of(landing)
    for file in files.values():
        file.put(filesystem, f"{base}/{table}")
    rows = [(file.name, file.row_count, 0, 0) for file in files.values()]
    rows += [("", 0, empty_count, untimed_count)] if empty_count or untimed_count else []
    yield pa.RecordBatch.from_pylist([dict(zip(_FILES.names, row, strict=True)) for row in rows], schema=_FILES)


def landed_line(value: bytes, at: datetime | None) -> bytes | None:
    """Return a message's value as a line of landing; None for one that is blank.

    A row without `ts`, in any case of letters, gets the time `at`, where one is given. What is no row at all is
    landed too: the night sets it aside and says why.
    """
    line = value.strip().replace(b"\n", b" ").replace(b"\r", b" ")  # in JSON, these stand between values only
    if not line:
        return None
    if at is not None:
        with suppress(*NOT_JSON):
            row = _ROW.decode(line)
            named = next((name for name in row if name.strip().lower() == "ts"), "ts")
            if named not in row or bytes(row[named]) == b"null":
                text = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                line = msgspec.json.encode(row | {named: msgspec.Raw(msgspec.json.encode(text))})
    return line + b"\n"


class _File:
    """A file that is gathered in memory, compressed, and then written whole."""

    def __init__(self, name: str) -> None:
        self.name, self.row_count = name, 0
        self._bytes = io.BytesIO()
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=self._bytes, mtime=0)

    def add(self, line: bytes) -> None:
        self._gzip.write(line)
        self.row_count += 1

    def put(self, filesystem: fs.FileSystem, folder: str) -> None:
        """Write it; who looks meanwhile sees no part of it. Raises OSError."""
        self._gzip.close()
        if isinstance(filesystem, fs.LocalFileSystem):
            path = Path(f"{folder}/{self.name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, self._bytes.getvalue())
            return
        with filesystem.open_output_stream(f"{folder}/{self.name}", compression=None) as stream:
            stream.write(self._bytes.getvalue())


# Marks ------------------------------------------------------------------------------------------------------------


def _mark(landing: Landing, table: str, end: date, topic: str) -> list[date]:
    """Mark the days before `end` that are not, back to the newest that is, or to the topic's first.

    Return them. A day of events without any gets a folder too, as the night asks for each day.
    """
    filesystem, base = filesystem_of(landing.root)
    known = landing.known_days(table)
    unmarked: list[date] = []
    day = end - timedelta(days=1)
    while known and day >= known[0] and not _is_there(filesystem, f"{base}/{table}/ds={day}/{SUCCESS}"):
        unmarked.append(day)
        day -= timedelta(days=1)
    own = [
        day
        for day in reversed(unmarked)
        if any(topic_of(file.name) == topic for file in landing.files_of(table, day))
    ]
    first = own[0] if own and (not known or day < known[0]) else None
    marked = [
        day for day in reversed(unmarked) if (first is None or day >= first) and (table == "events" or day in own)
    ]
    for day in marked:
        filesystem.create_dir(f"{base}/{table}/ds={day}")
        with filesystem.open_output_stream(f"{base}/{table}/ds={day}/{SUCCESS}", compression=None):
            pass
    return marked


def _is_there(filesystem: fs.FileSystem, path: str) -> bool:
    return bool(filesystem.get_file_info(path).type != fs.FileType.NotFound)
