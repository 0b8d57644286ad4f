"""From the logs of a host to landing."""

import gzip
import io
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from serving.logs.events import read_events
from serving.logs.exposure_rows import exposure_row
from serving.logs.exposures import Shown
from serving.logs.file_log import FileLog
from serving.logs.lander import Lander
from serving.shelf.filled_shelf import SLOT_TYPES
from serving.snapshot.record import SOURCES


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


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


def test_an_answer_becomes_a_row_with_a_list_for_what_each_item_has_of_its_own() -> None:
    assert json.loads(exposure_row(SHOWN)) == {
        "request_id": "r-1", "ts": "2026-01-01T00:00:00.007Z", "user_id": "u", "snapshot": "s", "overlay": None,
        "model_version": "m", "policy_version": "p", "arms": {}, "page": None, "device": "mobile", "location": None,
        "limit": 2, "filters": "{}", "item_ids": ['a"b', "c"], "positions": [0, 1], "scores": [0.5, 1e-05],
        "propensities": [1.0, 0.25], "eligible_counts": [10, 4], "prices_minor": [1250, None],
        "slot_types": list(SLOT_TYPES[:2]), "fill_levels": ["user", "explore"], "sources": list(SOURCES[:2]),
    }  # fmt: skip


def spooled(request_ids: Sequence[str], second: float = SHOWN.ts_ms / 1000) -> bytes:
    """Lines of the spool, as workers append them."""
    of = {name: getattr(SHOWN, name) for name in SHOWN.__struct_fields__}
    answers = [msgspec.Raw(bytes(SHOWN.answer).replace(b"r-1", request_id.encode())) for request_id in request_ids]
    lines = (Shown(**of | {"answer": answer, "ts_ms": int(second * 1000)}) for answer in answers)
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


class Host:
    """The logs of a host with a lander that dies and comes again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events, self.spool = FileLog(folder / "state", "events"), FileLog(folder / "spool", "exposures")

    def lands(self) -> int:
        """Start a lander, let it land all, and end it; return the number of lines."""
        lander, lines = Lander(self.folder / "landing", self.spool, self.events, self.folder / "state"), 0
        while landed := lander.step():
            lines += landed
        lander.close()
        return lines

    def file(self) -> Path:
        (path,) = self.folder.glob("landing/exposures/ds=*/*")
        return path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def request_ids(path: Path) -> list[str]:
    return [json.loads(line)["request_id"] for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_each_landed_block_is_a_gzip_member_and_every_reader_goes_on_from_one_to_the_next(host: Host) -> None:
    blocks = [[f"{block}-{n}" for n in range(50)] for block in range(3)]
    ends = []
    for block in blocks:
        host.spool.append(spooled(block))
        assert host.lands() == 50
        ends.append(host.file().stat().st_size)
    raw = host.file().read_bytes()
    for begin, end, block in zip([0, *ends], ends, blocks, strict=False):
        lines = gzip.decompress(raw[begin:end]).splitlines()
        assert [json.loads(line)["request_id"] for line in lines] == block
    assert request_ids(host.file()) == [request_id for block in blocks for request_id in block]
    with pa.CompressedInputStream(io.BytesIO(raw), "gzip") as stream:
        assert stream.read() == gzip.decompress(raw)


def test_a_member_that_a_lander_tore_when_it_died_is_cut_off_by_the_next(host: Host) -> None:
    host.spool.append(spooled(["a"]))
    host.lands()
    member = gzip.compress(b'{"request_id":"never recorded"}\n', mtime=0)
    for torn in (member[:1], member[:10], member[:-1], member):
        with host.file().open("ab") as file:
            file.write(torn)
        host.lands()
        assert request_ids(host.file()) == ["a"]
    with host.file().open("ab") as file:
        file.write(member[:15])
    host.spool.append(spooled(["b"]))
    assert host.lands() == 1
    assert request_ids(host.file()) == ["a", "b"]


def test_answers_take_less_than_half_a_kilobyte_in_blocks_of_a_quarter_of_a_thousand(host: Host) -> None:
    draw, answers, lines = random.Random(1), 1_000, []
    for _ in range(answers):
        items = ",".join(
            f'{{"item_id":"item-{draw.randrange(50_000):05d}","score":{draw.random():.4f},"reason":"r"}}'
            for _ in range(20)
        )
        shown = Shown(
            answer=msgspec.Raw(f'{{"recommendations":[{items}],"request_id":"{draw.randbytes(16).hex()}"}}'.encode()),
            ts_ms=SHOWN.ts_ms + draw.randrange(60_000),
            made_by=("2026-01-31-000000000000", None, "2026-01-25", "ranked-fill-1"),
            user_id=f"user-{draw.randrange(200_000):08d}",
            page="homepage",
            device="mobile",
            location="top",
            limit=20,
            filters='{"category":"home"}',
            levels=[0] * 20,
            sources=[draw.randrange(len(SOURCES)) for _ in range(20)],
            slots=[0] * 20,
            propensities=[1.0] * 20,
            eligible=[25] * 20,
            prices_minor=[draw.randrange(50_000) for _ in range(20)],
        )
        lines.append(msgspec.json.encode(shown) + b"\n")
    for begin in range(0, answers, 250):
        host.spool.append(b"".join(lines[begin : begin + 250]))
        host.lands()
    assert host.file().stat().st_size < 500 * answers


def test_a_block_of_more_hours_than_a_lander_records_is_landed_all_the_same(host: Host) -> None:
    """As after days without a lander, in a shop with few requests."""
    hours = [SHOWN.ts_ms / 1000 + 3600 * hour for hour in range(100)]
    host.spool.append(b"".join(spooled([f"{number}"], second) for number, second in enumerate(hours)))
    assert host.lands() == 100
    host.spool.append(spooled(["late"], hours[0]) + spooled(["last"], hours[-1]))
    assert host.lands() == 2
    files = sorted(host.folder.glob("landing/exposures/ds=*/*"))
    assert [request_ids(path) for path in files] == [
        ["0", "late"],
        *([f"{number}"] for number in range(1, 99)),
        ["99", "last"],
    ]


def test_a_line_of_the_spool_whose_answer_cannot_be_read_does_not_stop_the_others(host: Host) -> None:
    host.spool.append(
        spooled(["a"]) + spooled(["b"]).replace(b"item_id", b"item_no") + b"[no line\n" + spooled(["c"])
    )
    assert host.lands() == 4
    assert request_ids(host.file()) == ["a", "c"]


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
