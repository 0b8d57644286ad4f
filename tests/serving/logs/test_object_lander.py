"""From the logs of a host to landing on a real S3 server: every line once, whatever dies in between."""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from serving.logs import object_lander
from serving.logs.events import read_events
from serving.logs.host_logs import event_log, spool
from serving.logs.object_lander import ObjectLander
from serving.settings import EndpointSettings
from serving.snapshot.manifest import StoreError
from serving.stores.s3 import S3Prefix
from tests.serving.logs.test_lander import SHOWN, spooled

TEN = datetime(2026, 1, 1, 10, tzinfo=UTC).timestamp()


class Host:
    """The logs of a host whose landing is on S3."""

    def __init__(self, url: str, folder: Path) -> None:
        self.settings = EndpointSettings("lmdb://none", url, folder / "state", folder / "keys.json")
        self.events, self.spool = event_log(self.settings), spool(self.settings)
        self.landing = S3Prefix(url)

    def log(self, *event_ids: str, at: float = TEN) -> None:
        rows = ({"event_id": each, "user_id": "u", "item_id": "i", "event_type": "view"} for each in event_ids)
        lines = list(read_events([json.dumps(row).encode() for row in rows], at))
        self.events.append(b"".join(line for line in lines if isinstance(line, bytes)))

    def lander(self) -> ObjectLander:
        return ObjectLander(self.settings, self.spool, self.events)

    def lands(self) -> None:
        """Let a lander land all, and end it."""
        with closing(self.lander()) as lander:
            lander.finish()

    def objects(self, table: str = "events") -> dict[str, list[dict[str, Any]]]:
        """The rows of each object of a table, by its key without the prefix."""
        found = {}
        for key in self.landing.keys(table):
            content = self.landing.read(key)
            assert content is not None
            rows = [json.loads(line) for line in gzip.decompress(content[0]).splitlines()]
            found[key.removeprefix(f"{self.landing.prefix}/")] = rows
        return found

    def event_ids(self) -> list[str]:
        return [row["event_id"] for rows in self.objects().values() for row in rows]


@pytest.fixture
def host(archive_url: str, tmp_path: Path) -> Iterator[Host]:
    host = Host(archive_url, tmp_path)
    with closing(host.landing):
        yield host


def test_a_batch_becomes_an_object_for_each_hour_and_each_table(host: Host) -> None:
    host.log("e-1", "e-2")
    host.log("e-3", at=TEN + 3600)
    host.spool.append(spooled(["r-1"]))
    host.lands()
    by_hour = {f"{key.rpartition('/')[0]}/{key.rpartition('/')[2][:2]}": rows for key, rows in host.objects().items()}
    ids = {hour: [row["event_id"] for row in rows] for hour, rows in by_hour.items()}
    assert ids == {"events/ds=2026-01-01/10": ["e-1", "e-2"], "events/ds=2026-01-01/11": ["e-3"]}
    ((key, rows),) = host.objects("exposures").items()
    assert key.startswith(time.strftime("exposures/ds=%Y-%m-%d/%H-", time.gmtime(SHOWN.ts_ms // 1000)))
    assert [row["request_id"] for row in rows] == ["r-1"]


def test_an_event_that_is_sent_again_is_landed_once(host: Host) -> None:
    host.log("e-1")
    host.lands()
    host.log("e-1", "e-2")
    host.lands()
    assert host.event_ids() == ["e-1", "e-2"]


def test_a_batch_waits_for_more_lines_until_it_is_old_or_full(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("serving.logs.object_lander.time.monotonic", lambda: now[0])
    with closing(host.lander()) as lander:
        host.log("e-1")
        assert lander.step() == 0
        now[0] += object_lander.BATCH_S - 1
        host.log("e-2")
        assert lander.step() == 0
        now[0] += 1
        assert lander.step() == 2
        assert len(host.objects()) == 1
        monkeypatch.setattr(object_lander, "BATCH_BYTES", 10)
        host.log("e-3")
        assert lander.step() == 1


class CutError(Exception):
    """The lander is killed here."""


Write = Callable[[S3Prefix, str, bytes], None]


@pytest.mark.parametrize("is_written", [True, False], ids=["after the object", "before the object"])
def test_a_lander_that_is_killed_leaves_its_batch_to_the_next_one_which_lands_it_once(
    host: Host, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    write: Write = S3Prefix.write_once

    def killed(place: S3Prefix, key: str, data: bytes) -> None:
        if is_written:
            write(place, key, data)
        raise CutError

    host.log("e-1")
    with monkeypatch.context() as patched, closing(host.lander()) as lander:
        patched.setattr(S3Prefix, "write_once", killed)
        with pytest.raises(CutError):
            lander.finish()
    host.log("e-1", "e-2")  # the log goes on meanwhile, with the first event sent again
    host.lands()
    assert host.event_ids() == ["e-1", "e-2"]
    assert len(host.objects()) == 2


def test_rows_that_an_erasure_took_out_of_an_object_do_not_come_back_with_a_second_try(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Write = S3Prefix.write_once

    def answer_is_lost(place: S3Prefix, key: str, data: bytes) -> None:
        write(place, key, data)
        raise StoreError("no answer")

    host.log("e-1")
    with closing(host.lander()) as lander:
        with monkeypatch.context() as patched, pytest.raises(StoreError):
            patched.setattr(S3Prefix, "write_once", answer_is_lost)
            lander.finish()
        (key,) = host.landing.keys("events")
        found = host.landing.read(key)
        assert found is not None
        assert host.landing.write_if(key, gzip.compress(b"", mtime=0), found[1])  # as maintenance does
        lander.finish()
    assert host.event_ids() == []


def test_while_s3_is_out_of_reach_lines_wait_and_their_segments_stay(host: Host) -> None:
    away = replace(host.settings, landing="s3://topshelf/x?endpoint=http://127.0.0.1:9")
    host.log("e-1")
    with closing(ObjectLander(away, host.spool, host.events)) as lander:
        with pytest.raises(StoreError, match="what was logged waits on this host"):
            lander.finish()
        lander.sweep(time.time() + 10**6)
        assert host.events.segments()
    host.lands()
    assert host.event_ids() == ["e-1"]


def test_ids_of_events_are_kept_while_a_batch_is_begun(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the batch would be another one when it is made again."""
    host.log("e-1")
    host.lands()
    host.log("e-1")

    def away(*_: object) -> None:
        raise StoreError("away")

    with closing(host.lander()) as lander:
        with monkeypatch.context() as patched, pytest.raises(StoreError):
            patched.setattr(S3Prefix, "write_once", away)
            host.log("e-2")
            lander.finish()
        lander.sweep(TEN + 10 * 86_400)
        lander.finish()
    assert sorted(host.event_ids()) == ["e-1", "e-2"]
