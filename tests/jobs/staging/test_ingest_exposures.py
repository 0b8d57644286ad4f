"""Both forms of `landing/exposures`, a row an answer and a row an item, to the same staging rows."""

import gzip
import json
from datetime import date

import msgspec
import pytest

from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.landing.folders import UnreadableFileError
from jobs.staging.ingest import ingest
from serving.logs.exposure_rows import exposure_row
from serving.logs.exposures import Shown
from serving.logs.file_log import FileLog
from serving.logs.lander import Lander
from serving.snapshot.record import SOURCES
from tests.serving.logs.row_an_item import rows_of_items

DAY = date(2026, 1, 1)
NOON_MS = 1_767_268_800_123
ODD_ITEMS = ['say "hi"', "[a,b]", "mug☕", "lead", "\\", "nil", "17850"]


def answer(number: int, items: list[str], **changed) -> Shown:
    """An answer as a worker logs it; `changed` fields are as a worker would never write them."""
    of_items = [{"item_id": item, "score": 1 / (place + 3), "reason": "r"} for place, item in enumerate(items)]
    body = {"recommendations": of_items, "request_id": f"r-{number}", "snapshot": "s"}
    count = len(items)
    fields = {
        "answer": msgspec.Raw(msgspec.json.encode(body)),
        "ts_ms": NOON_MS + number,
        "made_by": ("s", "o" if number % 2 else None, "m", "p"),
        "user_id": f"u ☕ {number}" if number % 3 else None,
        "page": None,
        "device": 'mo"bile',
        "location": "top",
        "limit": 20,
        "filters": '{"category":"home"}',
        "levels": [place % 8 for place in range(count)],
        "sources": [place % len(SOURCES) for place in range(count)],
        "slots": [place % 2 for place in range(count)],
        "propensities": [1.0, *(0.1 + 0.2 for _ in range(count - 1))][:count],
        "eligible": [100 - place for place in range(count)],
        "prices_minor": [1250, -1, *(9_007_199_254_740_993 for _ in range(count))][:count],
    }
    return Shown(**fields | changed)


ANSWERS = [answer(n, ODD_ITEMS[: n % 8]) for n in range(12)]
AT_FAULT = [
    answer(20, ["a", "b"], propensities=[1.5, 0.5]),
    answer(21, ["x" * 257, "b", "c"]),
    answer(22, ["a"], ts_ms=NOON_MS + 86_400_000),
    answer(23, ["a", "caf\ufffd", ""]),
    answer(5, ["another", *ODD_ITEMS[1:5]]),  # the same place once more
]


def by_answer(answers: list[Shown], block: int = 5) -> bytes:
    """As the lander writes them: a gzip member a block."""
    blocks = [answers[begin : begin + block] for begin in range(0, len(answers), block)]
    return b"".join(gzip.compress(b"".join(map(exposure_row, of_block)), mtime=0) for of_block in blocks)


def by_item(answers: list[Shown]) -> bytes:
    return b"".join(map(rows_of_items, answers))


@pytest.fixture
def staged(spark, tmp_path, landing, land):
    """Ingest a day of exposures alone: digests of what became of it, and the summary."""

    def stage(files: dict[str, bytes]):
        name = f"lake-{len(list(tmp_path.iterdir()))}"
        for path in landing.glob("exposures/ds=*/*.*"):
            path.unlink()
        land("events", f"{DAY}")
        for file, content in files.items():
            land("exposures", f"{DAY}", file, content, mark=False)
        lake = Lake(str(tmp_path / name))
        parameters = Parameters().with_values({"staging.max_quarantine_share": 1.0})
        return lake, ingest(lake, str(landing), DAY, parameters)

    return stage


def digests(lake: Lake) -> list[str]:
    return sorted(lake.manifest("staging/exposures", DAY).files.values())


def rows(lake: Lake, table: str) -> list[dict]:
    return lake.arrow(f"staging/{table}", DAY).to_pylist() if lake.manifest(f"staging/{table}", DAY).files else []


def places(lake: Lake) -> set[tuple[str, int]]:
    return {(row["request_id"], row["position"]) for row in rows(lake, "exposures")}


ALL_PLACES = {(f"r-{n}", place) for n in range(12) for place in range(n % 8)}


def test_both_forms_stage_the_same_bytes_and_set_the_same_rows_aside(staged):
    """Files have the same name but for their ending, because that decides which of two rows for a place stands."""

    def aside(lake: Lake) -> list[dict]:
        return [row | {"path": row["path"].removesuffix(".gz")} for row in rows(lake, "quarantine")]

    old, told_of_old = staged({"a.jsonl": by_item(ANSWERS + AT_FAULT)})
    new, told_of_new = staged({"a.jsonl.gz": by_answer(ANSWERS + AT_FAULT)})
    assert digests(new) == digests(old) != []
    assert aside(new) == aside(old) != []
    assert told_of_new.counts["exposures"] == told_of_old.counts["exposures"]
    assert (told_of_new.without, told_of_new.unknown) == (told_of_old.without, told_of_old.unknown)
    assert told_of_new.counts["exposures"].set_aside.keys() == {
        "no_probability", "id_too_long", "future_timestamp", "invalid_text", "missing_value", "conflicting_row",
    }  # fmt: skip
    assert places(new) >= ALL_PLACES


def test_a_folder_with_both_forms_stages_what_either_alone_would(staged):
    old, _ = staged({"a.jsonl": by_item(ANSWERS)})
    both, _ = staged({"a.jsonl": by_item(ANSWERS[:7]), "a.jsonl.gz": by_answer(ANSWERS[7:])})
    assert digests(both) == digests(old) != []


def test_an_answer_that_lands_in_both_forms_counts_once(staged):
    once, _ = staged({"a.jsonl.gz": by_answer(ANSWERS)})
    twice, summary = staged({"a.jsonl.gz": by_answer(ANSWERS), "b.jsonl": by_item(ANSWERS)})
    assert digests(twice) == digests(once) != []
    assert summary.counts["exposures"].repeated == len(ALL_PLACES)
    assert not summary.counts["exposures"].set_aside


def test_an_answer_whose_lists_do_not_fit_is_set_aside_whole(staged):
    whole = json.loads(exposure_row(ANSWERS[3]))
    unfit = [
        {"scores": [0.5]},
        {"item_ids": None},
        {"positions": [0, 1, 2, 3]},
        {"sources": "ease"},
        {"prices_minor": None},  # fits: nothing is known of the prices
    ]
    lines = [json.dumps(whole | {"request_id": f"r-{n}"} | change) for n, change in enumerate(unfit)]
    lake, summary = staged({"a.jsonl.gz": gzip.compress("\n".join([*lines, "{}", "no row", ""]).encode())})
    assert summary.counts["exposures"].set_aside == {"malformed_row": 6}
    assert places(lake) == {("r-4", 0), ("r-4", 1), ("r-4", 2)}
    assert {row["price_minor"] for row in rows(lake, "exposures")} == {None}
    raw = [json.loads(row["raw"])["line"] for row in rows(lake, "quarantine")]
    assert sorted(json.loads(line)["request_id"] for line in raw if "request_id" in line) == [
        "r-0", "r-1", "r-2", "r-3",
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [1, 9, -1, 40])
def test_a_torn_last_member_costs_no_whole_one_and_is_told(staged, cut):
    torn = by_answer([answer(n, ["late"]) for n in range(90, 99)], block=9)[:cut]
    lake, summary = staged({"a.jsonl.gz": by_answer(ANSWERS) + torn, "b.jsonl.gz": by_answer(ANSWERS[:1])})
    assert {place for place in places(lake) if place[0] < "r-9" or place[0] == "r-9"} == ALL_PLACES
    assert "exposures: the torn end of ds=2026-01-01/a.jsonl.gz" in summary.without
    assert len([told for told in summary.without if "torn" in told]) == 1


def test_a_file_damaged_before_its_end_stops_the_night_by_name(staged):
    members = bytearray(by_answer(ANSWERS, block=1))
    members[60:90] = b"\0" * 30
    with pytest.raises(UnreadableFileError, match=r"ds=2026-01-01/a\.jsonl\.gz cannot be read"):
        staged({"a.jsonl.gz": bytes(members)})


def test_what_a_lander_lands_is_staged(spark, landing, land, lake, tmp_path):
    spool, state = FileLog(tmp_path / "spool", "exposures"), tmp_path / "state"
    for shown in ANSWERS:
        spool.append(msgspec.json.encode(shown) + b"\n")
        lander = Lander(landing, spool, FileLog(state, "events"), state)
        assert lander.step() == 1
        lander.close()
    land("events", f"{DAY}")
    ingest(lake, str(landing), DAY, Parameters())
    assert places(lake) == ALL_PLACES
