"""Topics of a real broker become files of landing: each message once, through kills, as if landed by hand."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.tables import INTERACTIONS, QUARANTINE
from jobs.landing import topics
from jobs.landing.folders import Landing
from jobs.landing.topics import Topic, TopicAwayError, TopicError, land_topic, landed_line, read_properties
from jobs.staging.ingest import ingest
from tests.dying_with_tests import dying_with_tests
from tests.serving import servers
from tests.serving.kafka_server import Kafka
from tests.serving.servers import free_port

pytestmark = pytest.mark.slow
D1, D2, D3 = date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)
AFTER_D2 = datetime(2026, 1, 3, 0, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    broker = Kafka(tmp_path_factory.mktemp("kafka"))
    with broker.running():
        yield broker


@pytest.fixture
def topic(kafka: Kafka) -> Topic:
    name = f"t{uuid.uuid4().hex[:10]}"
    kafka.make_topic(name, 3)
    return Topic(kafka.servers, name)


def event(number: int, **more: Any) -> dict[str, Any]:
    row = {"event_id": f"e-{number}", "user_id": f"u{number % 7}", "item_id": f"i{number % 5}", "event_type": "view"}
    return row | more


def send(kafka: Kafka, topic: Topic, day: date, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send rows in the first hours of a day, a second apart; return them with the times that they will have."""
    sent = []
    for number, row in enumerate(rows):
        at = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + number
        kafka.send(topic.name, json.dumps(row).encode(), timestamp=int(at * 1000), key=str(row["user_id"]).encode())
        sent.append({"ts": f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.000Z}"} | row)
    return sent


def landed(landing: Path, table: str = "events") -> dict[str, list[dict[str, Any]]]:
    """The landed rows of each day."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((landing / table).glob("ds=*/*.gz")):
        of_day = rows.setdefault(path.parent.name.removeprefix("ds="), [])
        of_day += [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return rows


def by_id(row: dict[str, Any]) -> tuple[str, str]:
    return row["event_id"], row["ts"]


def marked(landing: Path) -> list[str]:
    return sorted(path.parent.name for path in landing.glob("*/ds=*/_SUCCESS"))


def staged(lake: Lake, *days: date) -> dict[str, list[str]]:
    return {
        f"{table} {day}": sorted(lake.manifest(table, day).files.values())
        for table in (INTERACTIONS, QUARANTINE)
        for day in days
    }


def test_a_topic_s_days_are_staged_as_the_same_days_in_files(
    spark: SparkSession, kafka: Kafka, topic: Topic, landing: Path, lake: Lake, tmp_path: Path
) -> None:
    first = send(kafka, topic, D1, [*(event(number) for number in range(40)), event(3), event(90, event_type="buy")])
    done = land_topic(spark, "events", topic, str(landing), lake, datetime(2026, 1, 1, 12, tzinfo=UTC))
    assert (done.row_count, done.days, done.marked) == (42, (D1,), ())
    assert sorted(landed(landing)["2026-01-01"], key=by_id) == sorted(first, key=by_id)
    second = send(kafka, topic, D2, [event(number, value=0.5) for number in range(50, 110)])
    kafka.send(topic.name, None, b'{"event_id":\n "e-200",\r\n"user_id": "u1"', timestamp=1_767_312_100_000)
    done = land_topic(spark, "events", topic, str(landing), lake, AFTER_D2)
    assert str(done) == (
        f"{topic.name}: 61 rows landed under events, of 2026-01-02; 1 messages were empty; "
        "2026-01-01 to 2026-01-02 marked as complete"
    )
    assert land_topic(spark, "events", topic, str(landing), lake, AFTER_D2).row_count == 0

    def in_order(rows: list[dict[str, Any]]) -> str:
        return "".join(json.dumps(row) + "\n" for row in rows)

    by_hand = tmp_path / "by-hand"
    for day, text in ((D1, in_order(first)), (D2, in_order(second) + '{"event_id":  "e-200", "user_id": "u1"\n')):
        folder = by_hand / "events" / f"ds={day}"
        folder.mkdir(parents=True)
        (folder / "all.jsonl").write_text(text)
        (folder / "_SUCCESS").touch()
    other = Lake(str(tmp_path / "other-lake"))
    for place, into in ((landing, lake), (by_hand, other)):
        ingest(into, str(place), D2, Parameters())
    interactions = {name: files for name, files in staged(lake, D1, D2).items() if name.startswith(INTERACTIONS)}
    assert interactions == {name: files for name, files in staged(other, D1, D2).items() if name in interactions}


def test_a_day_without_messages_is_marked_and_late_ones_go_into_their_own_day(
    spark: SparkSession, kafka: Kafka, topic: Topic, landing: Path, lake: Lake
) -> None:
    send(kafka, topic, D1, [event(1)])
    land_topic(spark, "events", topic, str(landing), lake, AFTER_D2)
    assert marked(landing) == ["ds=2026-01-01", "ds=2026-01-02"]
    send(kafka, topic, D2, [event(2)])
    send(kafka, topic, D3, [event(3)])
    done = land_topic(spark, "events", topic, str(landing), lake, AFTER_D2)
    assert (done.days, done.marked) == ((D2, D3), ())
    assert [row["event_id"] for row in landed(landing)["2026-01-02"]] == ["e-2"]
    assert marked(landing) == ["ds=2026-01-01", "ds=2026-01-02"]


def test_items_land_with_what_their_table_has_and_only_their_days_are_marked(
    spark: SparkSession, kafka: Kafka, topic: Topic, landing: Path, lake: Lake
) -> None:
    row = {"item_id": "i1", "title": "Mug", "price": "12.50", "stock": 3}
    kafka.send(topic.name, json.dumps(row).encode(), timestamp=1_767_225_600_000)
    land_topic(spark, "items", topic, str(landing), lake, datetime(2026, 1, 9, tzinfo=UTC))
    assert landed(landing, "items")["2026-01-01"] == [row]
    assert marked(landing) == ["ds=2026-01-01"]


def test_a_time_that_cannot_be_is_told_and_its_message_has_the_day_before_it(
    spark: SparkSession, kafka: Kafka, topic: Topic, landing: Path, lake: Lake
) -> None:
    for number, at_ms in enumerate((1_767_225_600, 1_767_225_600_000, 5)):  # the first is in seconds
        kafka.send(topic.name, json.dumps(event(number)).encode(), timestamp=at_ms, partition=0)
    done = land_topic(spark, "events", topic, str(landing), lake, AFTER_D2)
    assert (done.row_count, done.untimed_count, done.days) == (3, 2, (D1,))
    assert [row["event_id"] for row in landed(landing)["2026-01-01"]] == ["e-0", "e-1", "e-2"]
    assert "2 had a time that cannot be" in str(done)


def test_a_topic_without_any_time_that_can_be_says_what_to_set(
    spark: SparkSession, kafka: Kafka, topic: Topic, landing: Path, lake: Lake
) -> None:
    kafka.send(topic.name, b"{}", timestamp=1_767_225_600, partition=0)
    with pytest.raises(TopicError, match=r"from partition 0, offset 0 on; set the topic's message\.timestamp\.type"):
        land_topic(spark, "events", topic, str(landing), lake)


def test_days_before_the_topic_are_not_marked(
    spark: SparkSession, kafka: Kafka, topic: Topic, landing: Path, lake: Lake
) -> None:
    (landing / "events" / "ds=2025-12-20").mkdir(parents=True)  # another writer's, and not complete
    send(kafka, topic, D1, [event(1)])
    land_topic(spark, "events", topic, str(landing), lake, AFTER_D2)
    assert marked(landing) == ["ds=2026-01-01", "ds=2026-01-02"]


def test_a_topic_lands_on_s3(kafka: Kafka, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = send(kafka, topic, D1, [event(number) for number in range(30)])
    for name, value in servers.S3_KEYS.items():
        monkeypatch.setenv(name, value)
    with servers.s3_server(tmp_path / "s3") as (port, _):
        place = f"s3://topshelf/landing?endpoint=http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "jobs", "landing", "topic", "events", "--kafka", topic.servers]
        command += ["--topic", topic.name, "--landing", place, "--lake", f"{tmp_path}/lake"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "30 rows landed under events, of 2026-01-01" in done.stdout
        found = Landing(place)
        files = found.files_of("events", D1)
        landed_rows = [json.loads(line) for file in files for line in found.open(file).read().splitlines()]
        assert sorted(landed_rows, key=by_id) == sorted(rows, key=by_id)
        assert found.days("events", D1)[0].ds == D1  # it is marked


@pytest.mark.timeout(3_600)
def test_a_run_that_was_killed_is_finished_by_the_next_with_the_same_bytes(
    kafka: Kafka, topic: Topic, tmp_path: Path
) -> None:
    """TOPSHELF_TEST_KILLS=1 kills it twenty times, at other moments each time; without it, twice."""
    kills = 20 if os.environ.get("TOPSHELF_TEST_KILLS") else 2
    rows = [json.dumps(event(number)).encode() for number in range(6_000 * kills)]
    kafka.send(topic.name, *rows, timestamp=1_767_225_600_000)
    command = [sys.executable, "-c", _IN_BATCHES.format(servers=topic.servers, topic=topic.name)]

    def run(folder: Path, kill_after_s: float | None = None) -> None:
        folder.mkdir(exist_ok=True)
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(dying_with_tests([*command, str(folder)], "KILL"), stdout=log, stderr=log)
            if kill_after_s is None:
                assert process.wait(600) == 0, (folder / "log").read_text()
                return
            deadline, before = time.monotonic() + 120, batches(folder)
            while batches(folder) == before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(kill_after_s)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL  # it had not ended

    def batches(folder: Path) -> int:
        return len(list((folder / "landing").glob("events/ds=*/*.gz")))

    for number in range(kills):
        run(tmp_path / "killed", kill_after_s=0.05 * (number % 10))
    run(tmp_path / "killed")
    run(tmp_path / "whole")

    def files(name: str) -> dict[str, bytes]:
        folder = tmp_path / name / "landing"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert files("killed") == files("whole")
    numbers = [row["event_id"] for row in landed(tmp_path / "killed" / "landing")["2026-01-01"]]
    assert sorted(numbers) == sorted(f"e-{number}" for number in range(len(rows)))


_IN_BATCHES = """
import sys
from jobs.lake.lake import Lake
from jobs.landing import topics
from jobs.landing.folders import Landing
from jobs.spark.session import session

topics.BATCH_MESSAGES = 1_000
folder, topic = sys.argv[1], topics.Topic({servers!r}, {topic!r})
topics.land_topic(session(), "events", topic, folder + "/landing", Lake(folder + "/lake"))
"""


def test_a_topic_or_a_broker_that_is_not_there_is_told(
    spark: SparkSession, kafka: Kafka, landing: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TopicError, match=r"no-such of .* is not there; make it"):
        land_topic(spark, "events", Topic(kafka.servers, "no-such"), str(landing), lake)
    with pytest.raises(TopicError, match="'a b' cannot land under 'users'; name a topic, and events or items"):
        land_topic(spark, "users", Topic(kafka.servers, "a b"), str(landing), lake)
    monkeypatch.setattr(topics, "_TIMEOUT_MS", "2000")
    with pytest.raises(TopicAwayError, match=r"could not be landed: .*the next run goes on"):
        land_topic(spark, "events", Topic(f"127.0.0.1:{free_port()}", "away"), str(landing), lake)


def test_messages_that_expired_before_they_were_landed_are_told(
    spark: SparkSession, kafka: Kafka, topic: Topic, landing: Path, lake: Lake
) -> None:
    from confluent_kafka import TopicPartition

    kafka.send(topic.name, *(b"{}" for _ in range(10)), partition=0)
    land_topic(spark, "events", topic, str(landing), lake)
    kafka.send(topic.name, *(b"{}" for _ in range(10)), partition=0)
    admin = kafka.admin()
    for removed in admin.delete_records([TopicPartition(topic.name, 0, 15)]).values():
        removed.result(30)
    with pytest.raises(TopicError, match="dropped messages before they were landed"):
        land_topic(spark, "events", topic, str(landing), lake)


AT = datetime(2026, 1, 1, 10, 0, 0, 123_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (b'{"a": 1, "ts": "2026-01-01"}', b'{"a": 1, "ts": "2026-01-01"}\n'),
        (b' {"ts":\n1}\r\n', b'{"ts": 1}\n'),
        (b'{"a": "x"}', b'{"a":"x","ts":"2026-01-01T10:00:00.123Z"}\n'),
        (b'{"ts": null}', b'{"ts":"2026-01-01T10:00:00.123Z"}\n'),
        (b'{"TS": "2026-01-01"}', b'{"TS": "2026-01-01"}\n'),
        (b'{"a": 12.50}', b'{"a":12.50,"ts":"2026-01-01T10:00:00.123Z"}\n'),
        (b"[1]", b"[1]\n"),
        (b"\xff\n{", b"\xff {\n"),
        (b" \n", None),
    ],
)
def test_a_message_is_one_line_with_a_time(value: bytes, line: bytes | None) -> None:
    assert landed_line(value, AT) == line


def test_properties_are_read_and_what_is_not_theirs_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text('# safe\nsecurity.protocol=SASL_SSL\n\nsasl.jaas.config=a b="c";\n')
    assert read_properties(file) == {"security.protocol": "SASL_SSL", "sasl.jaas.config": 'a b="c";'}
    assert read_properties(None) == {}
    file.write_text("group.id=mine\n")
    with pytest.raises(TopicError, match=r"line 1: group\.id is Topshelf's own"):
        read_properties(file)
    file.write_text("security\n")
    with pytest.raises(TopicError, match="line 1: give NAME=VALUE"):
        read_properties(file)
