"""From the logs of a host to landing."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from serving.logs.events import read_events
from serving.logs.exposure_rows import exposure_rows
from serving.logs.exposures import Shown
from serving.logs.file_log import FileLog
from serving.logs.lander import Lander
from serving.logs.lander_process import mark_complete_days


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_days_of_events_are_marked_complete_a_quarter_of_an_hour_after_they_end(tmp_path: Path) -> None:
    def marked() -> list[str]:
        return sorted(path.parent.name for path in tmp_path.glob("events/ds=*/_SUCCESS"))

    mark_complete_days(tmp_path, seconds("2026-01-04T12:00:00"))
    assert marked() == []  # no day of events yet
    (tmp_path / "events/ds=2026-01-01").mkdir(parents=True)
    (tmp_path / "events/ds=2026-01-03").mkdir()
    mark_complete_days(tmp_path, seconds("2026-01-04T00:14:59"))
    assert marked() == ["ds=2026-01-01", "ds=2026-01-02"]  # on the second nothing came
    mark_complete_days(tmp_path, seconds("2026-01-04T00:15:00"))
    assert marked() == ["ds=2026-01-01", "ds=2026-01-02", "ds=2026-01-03"]


SHOWN = Shown(
    answer=msgspec.Raw(
        b'{"recommendations":[{"item_id":"a\\"b","score":0.5,"reason":"r"},{"item_id":"c","score":1e-05,"reason":""}],'
        b'"request_id":"r-1","model_version":"m","snapshot":"s"}'
    ),
    ts_ms=1_767_225_600_007,
    made_by=("s", None, "m", "p"),
    user_id="u",
    page=None,
    device="mobile",
    location=None,
    limit=2,
    filters="{}",
    levels=[0, 8],
    sources=[0, 1],
    slots=[0, 1],
    propensities=[1.0, 0.25],
    eligible=[10, 4],
    prices_minor=[1250, -1],
)


def test_an_answer_becomes_a_row_per_item() -> None:
    first, second = map(json.loads, exposure_rows(SHOWN).splitlines())
    shared = {
        "request_id": "r-1", "ts": "2026-01-01T00:00:00.007Z", "user_id": "u", "snapshot": "s", "overlay": None,
        "model_version": "m", "policy_version": "p", "arms": {}, "page": None, "device": "mobile", "location": None,
        "limit": 2, "filters": "{}",
    }  # fmt: skip
    for row in (first, second):
        assert {name: row[name] for name in shared} == shared
    own = ("item_id", "score", "position", "propensity", "eligible_count", "price_minor", "fill_level")
    assert [first[name] for name in own] == ['a"b', 0.5, 0, 1.0, 10, 1250, "user"]
    assert [second[name] for name in own] == ["c", 1e-05, 1, 0.25, 4, None, "explore"]
    assert set(first) == set(second) == {*shared, *own, "slot_type", "source"}


def test_what_a_dead_lander_wrote_and_did_not_record_is_cut_off_and_landed_once(tmp_path: Path) -> None:
    events, spool = FileLog(tmp_path / "state", "events"), FileLog(tmp_path / "spool", "exposures")

    def append(number: int) -> None:
        row = {"event_id": f"e-{number}", "user_id": "u", "item_id": "i", "event_type": "view"}
        (line,) = read_events([json.dumps(row).encode()], seconds("2026-01-01T10:00:00"))
        assert isinstance(line, bytes)
        events.append(line)

    def landed() -> list[str]:
        (path,) = (tmp_path / "landing/events").glob("ds=2026-01-01/10-*.jsonl")
        return [json.loads(line)["event_id"] for line in path.read_text().splitlines()]

    append(1)
    lander = Lander(tmp_path / "landing", spool, events, tmp_path / "state")
    assert (lander.step(), lander.step()) == (1, 0)
    lander.close()
    (path,) = (tmp_path / "landing/events").glob("*/*")
    with path.open("a") as file:
        file.write('{"event_id":"e-2","half":')
    append(2)
    append(1)  # sent again
    lander = Lander(tmp_path / "landing", spool, events, tmp_path / "state")
    assert lander.step() == 2
    lander.close()
    assert landed() == ["e-1", "e-2"]
