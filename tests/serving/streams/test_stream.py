"""`topshelf stream` on a real broker: what each kind of message comes to."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.disks import ROOMY_MB, fill, small_disk
from tests.serving.kafka_server import Kafka
from tests.serving.logs.test_events import actions_of
from tests.serving.running import SOON_S, publish_night, serving, within
from tests.serving.servers import free_port, redis_server
from tests.serving.streams.conftest import MakeTopic
from tests.serving.streams.streaming import messages_of, streaming, view

ITEM = "item-00003"


def item(stock: int, **more: Any) -> bytes:
    return json.dumps({"item_id": ITEM, "stock": stock, **more}).encode()


def reasons(kafka: Kafka, topic: str, count: int) -> dict[str, str]:
    """The reason of each dead letter, by the offset where the message stood."""
    letters = [dict(message.headers() or []) for message in messages_of(kafka, f"{topic}.dead", count)]
    return {letter["topshelf.offset"].decode(): letter["topshelf.reason"].decode() for letter in letters}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_events_of_a_topic_count_at_every_worker_and_are_landed_once(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path, protocol: str
) -> None:
    publish_night(tmp_path, "2026-01-01")
    topic = make_topic(partitions=3)
    (tmp_path / "kafka.properties").write_text(f"# the group's protocol\ngroup.protocol={protocol}\n")
    properties = ("--kafka-properties", str(tmp_path / "kafka.properties"))
    with serving(tmp_path, workers=2) as server:
        kafka.send(topic, *(view(number) for number in range(50)), view(3), view(4))
        with streaming("events", tmp_path, kafka, topic, *properties):
            assert within(SOON_S, lambda: len(server.landed("events")) == 50)
            kafka.send(topic, view(99, item_id="item-00009"))
            assert within(SOON_S, lambda: all(actions_of(server)[:1] == ["item-00009"] for _ in range(6)))
    assert sorted(row["event_id"] for row in server.landed("events")) == sorted(f"e-{n}" for n in [*range(50), 99])


def test_price_and_stock_of_a_topic_count_and_the_newest_time_wins(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    topic = make_topic()
    with serving(tmp_path) as server, streaming("items", tmp_path, kafka, topic):
        assert ITEM in server.ids(limit=60)
        kafka.send(topic, item(0))
        assert within(SOON_S, lambda: ITEM not in server.ids(limit=60))
        late = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        kafka.send(topic, item(9, ts=late), b'{"item_id":"item-00004","stock":0}')
        assert within(SOON_S, lambda: "item-00004" not in server.ids(limit=60))
        assert ITEM not in server.ids(limit=60)
        kafka.send(topic, item(9), None)
        assert within(SOON_S, lambda: ITEM in server.ids(limit=60))


def test_changes_of_a_table_come_in_debezium_s_envelope(kafka: Kafka, make_topic: MakeTopic, tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    topic = make_topic()
    columns = ("--debezium", "item_id=id", "--debezium", "price=price", "--debezium", "stock=qty")

    def change(op: str, ago_s: float = 0, **rows: dict[str, Any] | None) -> bytes:
        envelope = {"before": None, "after": None, **rows, "op": op}
        return json.dumps(
            {"schema": {}, "payload": envelope | {"source": {"ts_ms": int((time.time() - ago_s) * 1000)}}}
        ).encode()

    row = {"id": ITEM, "price": "12.50", "qty": 4, "warehouse": "north"}
    with serving(tmp_path) as server, streaming("items", tmp_path, kafka, topic, *columns):
        kafka.send(topic, change("u", 9, before=row, after=row | {"qty": 0}))
        assert within(SOON_S, lambda: ITEM not in server.ids(limit=60))
        kafka.send(topic, change("u", 8, after=row))

        def price() -> float | None:
            rows = server.shelf(limit=60, fields="price")["recommendations"]
            return next((float(shown["price"]) for shown in rows if shown["item_id"] == ITEM), None)

        assert within(SOON_S, lambda: price() == 12.5)
        kafka.send(topic, change("d", 7, before={"id": ITEM}), None)
        assert within(SOON_S, lambda: ITEM not in server.ids(limit=60))
        kafka.send(topic, change("c", 6, after=row | {"price": 0.5}))
        assert within(SOON_S, lambda: price() == 0.5)
        kafka.send(topic, change("t"), change("u", after=row | {"price": "BNI="}), change("u", after={"id": ITEM}))
        told = reasons(kafka, topic, 3)
        assert "truncated" in told["5"]
        assert "decimal.handling.mode" in told["6"]
        assert "lacks the column price; it has id" in told["7"]


AHEAD = (datetime.now(UTC) + timedelta(days=2)).isoformat()
REFUSED = {
    "no JSON": (b"\xff{", "malformed"),
    "JSON that is cut": (view(1)[:-9], "truncated"),
    "no row": (b"[1]", "Expected `object`"),
    "an unknown kind": (view(2, event_type="buy"), "event_type 'buy' is none of impression"),
    "an unknown field": (view(3, colour="red"), "unknown field `colour`"),
    "no shopper": (view(4).replace(b"user_id", b"device"), "neither user_id nor session_id"),
    "from the future": (view(5, ts=AHEAD), "ahead of this host's clock"),
    "a registry's format": (b"\0\0\0\0\7" + b"abc", "schema registry"),
    "oversized": (view(6, page="x" * 70_000), "70"),
    "more than the letters keep": (b"x" * 900_000, "at most 65536"),
    "another topic's": (item(3), "unknown field `stock`"),
}


def test_refused_messages_are_dead_letters_with_their_reasons_and_hold_nothing_up(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    topic = make_topic()
    port = free_port()
    with (
        serving(tmp_path) as server,
        streaming("events", tmp_path, kafka, topic, "--metrics", f"127.0.0.1:{port}"),
    ):
        kafka.send(topic, *(value for value, _ in REFUSED.values()), None, view(7), key=b"shopper")
        assert within(SOON_S, lambda: [row["event_id"] for row in server.landed("events")] == ["e-7"])
        letters = messages_of(kafka, f"{topic}.dead", len(REFUSED))
        for (value, reason), letter in zip(REFUSED.values(), letters, strict=True):
            headers = {name: text.decode() for name, text in letter.headers() or [] if isinstance(text, bytes)}
            assert reason in headers["topshelf.reason"]
            assert (headers["topshelf.topic"], headers["topshelf.partition"]) == (topic, "0")
            assert letter.key() == b"shopper"
            is_cut = len(value) > 1 << 18
            assert letter.value() == value[: 1 << 18]
            assert headers.get("topshelf.cut") == (str(len(value)) if is_cut else None)

        def counts() -> dict[str, float]:
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
            samples = [sample for sample in samples if not sample.name.endswith("_created")]
            told = {sample.labels.get("became") or sample.name: sample.value for sample in samples}
            return {name: told.get(name, -1.0) for name in expected}

        expected = {
            "logged": 1, "refused": len(REFUSED), "empty": 1, "topshelf_stream_behind_messages": 0,
            "topshelf_stream_partitions": 1, "topshelf_stream_in_trouble": 0,
        }  # fmt: skip
        assert within(SOON_S, lambda: counts() == expected), counts()


def test_late_and_out_of_order_events_are_landed_and_count_by_when_they_happened(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    topic = make_topic()

    def ago(**time: float) -> str:
        return (datetime.now(UTC) - timedelta(**time)).isoformat()

    with serving(tmp_path, keyed=True) as server, streaming("events", tmp_path, kafka, topic):
        kafka.send(
            topic,
            view(1, item_id="item-00001", ts=ago(minutes=5)),
            view(2, item_id="item-00002", ts=ago(days=3)),
            view(3, item_id="item-00003", ts=ago(minutes=9)),
            view(4, item_id="item-00004"),
        )
        assert within(SOON_S, lambda: len(server.landed("events")) == 4)
        assert within(SOON_S, lambda: actions_of(server) == ["item-00004", "item-00001", "item-00003"])


def test_a_message_without_a_time_has_that_of_its_message(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    topic = make_topic()
    kafka.send(topic, view(1), timestamp=1_767_225_600_123)
    with serving(tmp_path) as server, streaming("events", tmp_path, kafka, topic):
        assert within(SOON_S, lambda: len(server.landed("events")) == 1)
        assert server.landed("events")[0]["ts"] == "2026-01-01T00:00:00.123Z"


def test_events_that_something_else_lands_count_for_shelves_alone(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    topic = make_topic()
    with serving(tmp_path, keyed=True) as server:
        with streaming("events", tmp_path, kafka, topic, "--not-landed"):
            kafka.send(topic, view(1))
            assert within(SOON_S, lambda: actions_of(server) == ["item-00007"])
        server.feed.post("/events", content=view(2))
        assert within(SOON_S, lambda: [row["event_id"] for row in server.landed("events")] == ["e-2"])


def test_hosts_that_share_redis_hear_of_events_that_one_of_them_reads(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        folder.mkdir()
        publish_night(folder, "2026-01-01")
    topic = make_topic(partitions=2)
    with redis_server(tmp_path / "redis") as (port, _):
        shared = ("--shared", f"redis://127.0.0.1:{port}?namespace=shop")
        with (
            serving(a, *shared, keyed=True) as first,
            serving(b, *shared, keyed=True) as second,
            streaming("events", a, kafka, topic, *shared),
            streaming("events", b, kafka, topic, *shared),
        ):
            for number in range(40):
                kafka.send(
                    topic, view(number, item_id=f"item-{number:05d}", user_id=f"user-{number}"), key=b"%d" % number
                )
            sent = {f"e-{number}" for number in range(40)}
            assert within(
                SOON_S, lambda: {row["event_id"] for row in first.landed("events") + second.landed("events")} == sent
            )
            assert within(
                SOON_S, lambda: actions_of(first, "user-39") == actions_of(second, "user-39") == ["item-00039"]
            )
            assert within(
                SOON_S, lambda: actions_of(first, "user-0") == actions_of(second, "user-0") == ["item-00000"]
            )


def test_a_full_disk_holds_messages_back_and_none_is_lost(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    topic = make_topic()
    with (
        small_disk(tmp_path / "state", ROOMY_MB) as disk,
        serving(tmp_path) as server,
        streaming("events", tmp_path, kafka, topic) as stream,
    ):
        kafka.send(topic, view(1))
        assert within(SOON_S, lambda: len(server.landed("events")) == 1)
        filler = fill(disk)
        kafka.send(topic, *(view(number) for number in range(2, 400)))
        assert within(SOON_S, lambda: "free disk space" in stream.log())
        filler.unlink()
        assert within(SOON_S, lambda: len(server.landed("events")) == 399)


def test_it_ends_soon_after_a_signal_and_commits_what_it_logged(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    topic = make_topic()
    with serving(tmp_path) as server:
        for number in range(2):
            with streaming("events", tmp_path, kafka, topic) as stream:
                kafka.send(topic, view(number))
                assert within(SOON_S, lambda number=number: len(server.landed("events")) == number + 1)
                stream.process.send_signal(signal.SIGTERM)
                assert stream.process.wait(30) == 0
        logged = b"".join(path.read_bytes() for path in sorted((tmp_path / "state").glob("events-*.log")))
        assert logged.count(b"\n") == 2


def test_a_topic_that_is_made_later_is_followed_then(kafka: Kafka, tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server, streaming("events", tmp_path, kafka, "later") as stream:
        assert within(SOON_S, lambda: "there is no topic later; make it" in stream.log())
        kafka.make_topic("later")
        kafka.send("later", view(1))
        assert within(60, lambda: len(server.landed("events")) == 1)


def run(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "serving", "stream", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("events", "Missing option '--kafka'"),
        ("events --kafka ,", "no broker is named"),
        ("items --kafka x:1 --debezium price=p", "item_id has no column"),
        ("items --kafka x:1 --debezium item_id=i --debezium title=t", "title is no field; name a column"),
        ("items --kafka x:1 --debezium item_id", "'item_id' is not FIELD=COLUMN"),
        ("events --kafka x:1 --kafka-properties FILE", "line 2: give NAME=VALUE"),
        ("events --kafka x:1 --kafka-properties OURS", "group.id is Topshelf's own"),
        ("events --kafka x:1 --kafka-properties WRONG", 'No such configuration property: "sasl.user"'),
        ("events --kafka x:1 --metrics here", "--metrics here:"),
        ("events --kafka x:1 --shared http://x", "--shared:"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_start(tmp_path: Path, words: str, told: str) -> None:
    (tmp_path / "FILE").write_text("# comment\nsasl\n")
    (tmp_path / "OURS").write_text("group.id=mine\n")
    (tmp_path / "WRONG").write_text("sasl.user=me\n")
    given = [str(tmp_path / word) if word in ("FILE", "OURS", "WRONG") else word for word in words.split()]
    status, text = run(*given, "--store", f"lmdb://{tmp_path}/store")
    assert status != 0
    assert told in text


def test_two_that_stream_the_same_into_one_host_are_one_too_many(
    kafka: Kafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    topic = make_topic()
    with streaming("events", tmp_path, kafka, topic) as stream:
        assert within(SOON_S, lambda: "follows" in stream.log())
        status, text = run(
            "events", "--kafka", kafka.servers, "--store", f"lmdb://{tmp_path}/store", "--state", f"{tmp_path}/state"
        )
        assert status == 1
        assert "another process streams events" in text
