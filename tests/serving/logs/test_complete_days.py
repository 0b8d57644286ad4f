"""Days of events that an endpoint marks as complete: all that ended, none that still waits to be landed."""

import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from serving.logs.complete_days import CompleteDays, oldest_event_s
from serving.logs.file_log import FileLog
from serving.stores.s3 import S3Prefix


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def marked(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("events/ds=*/_SUCCESS"))


def test_days_of_events_are_marked_complete_a_quarter_of_an_hour_after_they_end(tmp_path: Path) -> None:
    days = CompleteDays(str(tmp_path))
    days.mark(seconds("2026-01-04T12:00:00"), None)
    assert marked(tmp_path) == []  # no day of events yet
    (tmp_path / "events/ds=2026-01-01").mkdir(parents=True)
    (tmp_path / "events/ds=2026-01-03").mkdir()
    days.mark(seconds("2026-01-04T00:14:59"), None)
    assert marked(tmp_path) == ["ds=2026-01-01", "ds=2026-01-02"]  # on the second nothing came
    days.mark(seconds("2026-01-04T00:15:00"), None)
    assert marked(tmp_path) == ["ds=2026-01-01", "ds=2026-01-02", "ds=2026-01-03"]


def test_a_day_whose_events_still_wait_on_the_host_is_not_marked(tmp_path: Path) -> None:
    """As after an outage of S3, or of the lander, over midnight."""
    (tmp_path / "landing/events/ds=2026-01-01").mkdir(parents=True)
    log = FileLog(tmp_path / "state", "events")
    waiting = b'{"received":%d,"event_id":"e"}\n' % seconds("2026-01-02T23:59:00")
    log.append(b'{"torn\n' + waiting)
    days = CompleteDays(str(tmp_path / "landing"))
    days.mark(seconds("2026-01-05T00:00:00"), oldest_event_s(log, (0, 0)))
    assert marked(tmp_path / "landing") == ["ds=2026-01-01"]
    with closing(log.reader()) as reader:
        reader.read()
        days.mark(seconds("2026-01-05T00:00:00"), oldest_event_s(log, reader.mark))
    assert marked(tmp_path / "landing") == ["ds=2026-01-01", "ds=2026-01-02", "ds=2026-01-03"]


def test_days_on_s3_are_marked_as_in_a_folder(archive_url: str) -> None:
    with closing(S3Prefix(archive_url)) as there:
        for name in ("ds=2026-01-01/a.jsonl", "ds=2026-01-01/_SUCCESS", "ds=2026-01-03/a.jsonl"):
            there.write_once(there.key("events", name), b"x")
        # A process that ends between two days goes on after the newest that is marked.
        for _ in range(2):
            CompleteDays(archive_url).mark(seconds("2026-01-04T00:20:00"), None)
        marks = [key.split("/")[-2] for key in there.keys("events") if key.endswith("_SUCCESS")]
        assert marks == ["ds=2026-01-01", "ds=2026-01-02", "ds=2026-01-03"]
        assert there.read(there.key("events", "ds=2026-01-03", "_SUCCESS")) is not None


def test_without_any_day_nothing_is_marked_on_s3(archive_url: str) -> None:
    url = f"s3://topshelf/{uuid.uuid4().hex[:8]}?{archive_url.partition('?')[2]}"
    CompleteDays(url).mark(seconds("2026-01-04T00:20:00"), None)
    with closing(S3Prefix(url)) as there:
        assert there.is_empty()
