"""Which files stop a night because nothing of them is kept."""

from datetime import date

from jobs.landing.folders import topic_file, topic_of
from jobs.landing.row_counts import RowCounts, by_day, refusal

DAY = date(2026, 1, 31)


def stopped(files: dict[str, RowCounts]) -> str | None:
    counts = by_day({(DAY, name): of for name, of in files.items()})[DAY]
    return refusal("landing", "events", DAY, counts, 0.05)


def test_a_lone_bad_message_of_a_topic_stops_nothing_and_a_topic_of_nothing_else_does() -> None:
    bad, good = RowCounts(set_aside={"malformed_row": 1}), RowCounts(kept=3)
    lone = {topic_file("shop.events", 1, 7): bad, topic_file("shop.events", 0, 0): good}
    assert stopped(lone) is None
    assert "malformed_row" in (stopped({topic_file("shop.events", 1, 7): bad, "a.csv": good}) or "")
    assert "nothing could be kept of a.csv" in (stopped({"a.csv": bad, topic_file("shop.events", 0, 0): good}) or "")


def test_a_topic_s_files_are_known_by_their_names() -> None:
    assert topic_file("shop.events", 3, 1742) == "topic-shop.events-0003-000000001742.jsonl.gz"
    assert topic_of(topic_file("a-0001-b", 12_345, 10**13)) == "a-0001-b"
    assert topic_of("topic-shop.csv") is None
