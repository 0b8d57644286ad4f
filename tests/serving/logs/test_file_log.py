"""Logs stay short: they are folded when they have doubled, begin a segment each half hour, and lose old lines."""

import json
import os
import time
from pathlib import Path

import pytest

from serving.logs.events import read_events
from serving.logs.file_log import SEGMENT_S, FileLog
from serving.logs.lander import Lander
from serving.logs.redis_log import RedisLog
from serving.shelf.recent_actions import MAX_AGE_S
from tests.serving.servers import redis_server

CHUNK = 4_096


class Folding:
    """A `folded` that counts its calls; it makes nothing shorter."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, whole: bytes) -> bytes:
        self.sizes.append(len(whole))
        return whole


def chunk(number: int) -> bytes:
    return b"%0*d\n" % (CHUNK - 1, number)


def whole_of(log: FileLog) -> bytes:
    reader, read = log.reader(), b""
    while block := reader.read():
        read += block
    reader.close()
    return read


def test_a_log_that_does_not_get_shorter_is_folded_only_when_it_has_doubled(tmp_path: Path) -> None:
    folding = Folding()
    for number in range(100):
        log = FileLog(tmp_path, "x")  # each time as after a restart
        log.append(chunk(number))
        for _ in range(3):
            log.fold(folding, min_bytes=CHUNK)
        assert len(log.segments()) <= 2  # one is folded, one grows
    assert len(folding.sizes) == 7  # of 1, 2, 4, ... 64 chunks
    assert sum(folding.sizes) < 2 * 100 * CHUNK
    assert whole_of(log) == b"".join(map(chunk, range(100)))


def test_a_log_that_was_folded_well_is_folded_again_when_it_has_doubled(tmp_path: Path) -> None:
    log, calls = FileLog(tmp_path, "x"), []

    def keep_last(whole: bytes) -> bytes:
        calls.append(len(whole))
        return whole[-CHUNK:]

    for number in range(20):
        log.append(chunk(number))
        log.fold(keep_last, min_bytes=2 * CHUNK)
    assert set(calls) == {2 * CHUNK}
    assert whole_of(log) == chunk(19)


def test_a_start_reads_thousands_of_empty_segments_without_listing_them_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FileLog(tmp_path, "x")
    log.append(chunk(0))
    for number in range(2, 3_000):  # as folding left them that did not pay
        log.path(number).touch()
    log.append(chunk(1))
    lists: list[int] = []
    list_segments = FileLog.segments
    monkeypatch.setattr(FileLog, "segments", lambda self: lists.append(1) or list_segments(self))
    assert whole_of(log) == chunk(0) + chunk(1)
    assert len(lists) <= 2
    log.fold(Folding(), min_bytes=CHUNK)
    assert len(log.segments()) == 2
    assert whole_of(log) == chunk(0) + chunk(1)


def age(log: FileLog, segment: int, by_s: float) -> None:
    then = time.time() - by_s
    os.utime(log.path(segment), (then, then))


def test_a_segment_has_lines_of_one_half_hour(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "x", rolls=True)
    log.append(b"1\n")
    age(log, 1, SEGMENT_S)
    log.append(b"2\n")
    assert log.path(1).read_bytes() == b"1\n"
    assert whole_of(log) == b"1\n2\n"
    age(log, log.segments()[-1], SEGMENT_S)
    before = len(log.segments())
    for _ in range(3):
        log.roll()  # nobody appends
        age(log, log.segments()[-1], SEGMENT_S)
    assert len(log.segments()) == before + 1  # an empty segment has no successor


def test_ids_are_gone_a_day_after_they_came_though_the_log_is_small_and_nothing_follows(tmp_path: Path) -> None:
    events = FileLog(tmp_path / "state", "events", rolls=True)
    spool = FileLog(tmp_path / "spool", "exposures", sync=False, rolls=True)
    row = {"event_id": "e-1", "user_id": "anna", "item_id": "i", "event_type": "view"}
    (line,) = read_events([json.dumps(row).encode()], time.time())
    assert isinstance(line, bytes)
    events.append(line)
    spool.append(b'["anna"]\n')

    def held() -> bytes:
        return whole_of(events) + whole_of(spool)

    lander = Lander(tmp_path / "landing", spool, events, tmp_path / "state")
    age(events, 1, SEGMENT_S)
    age(spool, 1, SEGMENT_S)
    lander.sweep(time.time())
    assert held().count(b"anna") == 2  # nothing is landed yet
    for _ in range(2):
        lander.step()
    lander.sweep(time.time())
    assert held().count(b"anna") == 1  # of the spool nothing is left, of the events a day
    age(events, 1, MAX_AGE_S + 1)
    lander.sweep(time.time())
    assert b"anna" not in held()
    events.append(line.replace(b"e-1", b"e-2"))
    assert lander.step() == 1
    lander.close()
    lander = Lander(tmp_path / "landing", spool, events, tmp_path / "state")  # its mark is found again
    assert lander.step() == 0
    lander.close()
    rows = [row for path in (tmp_path / "landing/events").glob("*/*") for row in path.read_text().splitlines()]
    assert [json.loads(row)["event_id"] for row in rows] == ["e-1", "e-2"]


def test_a_shared_log_is_folded_when_it_has_doubled_and_loses_old_entries_when_nobody_appends(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path) as (port, _):
        url, folding = f"redis://127.0.0.1:{port}?namespace=t", Folding()
        for number in range(40):
            log = RedisLog(url, "items")
            log.append(chunk(number) * 10)
            log.fold(folding, min_bytes=10 * CHUNK)
        assert 2 <= len(folding.sizes) <= 7
        short = RedisLog(url, "events", keep_s=3600)
        short.append(b"now\n")
        short.trim()
        assert short.reader().read() == b"now\n"
        RedisLog(url, "events", keep_s=-1).trim()  # as an hour later
        assert short.reader().read() == b""
