"""What trends: the last 24 hours, a shopper counting once for an item."""

from datetime import UTC, datetime

import pyarrow as pa

from jobs.config.parameters import Parameters
from jobs.intraday.trending import COLUMNS, trending

NOW = datetime(2026, 2, 2, 12, tzinfo=UTC)
WEIGHTS = Parameters().features.event_weight_milli.by_event_type()


def events(*rows: tuple[str | None, str, str, str], **of_all: str) -> pa.Table:
    """Rows of (shopper, item, type, ts), with more columns that are the same in all."""
    names = ("user_id", "item_id", "event_type", "ts")
    whole = [dict(zip(names, row, strict=True)) | of_all for row in rows]
    return pa.Table.from_pylist(whole, pa.schema([(name, pa.string()) for name in COLUMNS]))


def test_the_window_is_the_24_hours_that_end_now() -> None:
    rows = events(
        ("anna", "long-ago", "purchase", "2026-02-01T12:00:00Z"),
        ("anna", "just-within", "view", "2026-02-01T12:00:00.001Z"),
        ("anna", "now", "view", "2026-02-02T12:00:00Z"),
        ("anna", "ahead", "purchase", "2026-02-02T12:00:01Z"),
    )
    assert trending(rows, WEIGHTS, NOW) == [("just-within", 1.0), ("now", 1.0)]


def test_a_shopper_counts_once_for_an_item_by_the_strongest_thing_they_did() -> None:
    ts = "2026-02-02T10:00:00Z"
    hammered = [("bot", "mug", "view", ts)] * 500
    liked = [(user, "pan", "view", ts) for user in ("anna", "ben")] + [("anna", "pan", "add_to_cart", ts)]
    assert trending(events(*hammered, *liked), WEIGHTS, NOW) == [("pan", 4.0), ("mug", 1.0)]


TS = "2026-02-02T10:00:00Z"


def test_a_visit_counts_as_a_shopper_does_and_weightless_events_and_nobody_s_not_at_all() -> None:
    visits = [events((None, "mug", "view", TS), (None, "mug", "view", TS), session_id=name) for name in ("s1", "s2")]
    named_alike = events(("s1", "mug", "view", TS))
    nobody_s = events((None, "pan", "view", TS), ("anna", "pan", "impression", TS))
    assert trending(pa.concat_tables([*visits, named_alike, nobody_s]), WEIGHTS, NOW) == [("mug", 3.0)]


def test_of_one_shopper_a_thousand_items_count_the_heaviest_first() -> None:
    crawled = [("bot", f"item-{n:04d}", "view", TS) for n in range(1_500)]
    carted = [("bot", f"item-{n:04d}", "add_to_cart", TS) for n in range(1_400, 1_500)]
    seen = [("anna", f"item-{n:04d}", "view", TS) for n in (899, 900)]
    scores = dict(trending(events(*crawled, *carted, *seen), WEIGHTS, NOW))
    assert [scores[f"item-{n:04d}"] for n in (1_400, 1_499, 899)] == [3.0, 3.0, 2.0]
    assert list(scores).index("item-0899") == 100
    assert "item-0900" not in scores


def test_a_rating_below_the_middle_of_the_scale_is_no_trend() -> None:
    def rating(item: str, value: str | None, ts: str = TS) -> pa.Table:
        return events(("anna", item, "rating", ts), **({"value": value} if value else {}))

    hated, fine, unsaid = rating("hated", "2.5"), rating("fine", "3"), rating("unsaid", None)
    before = [rating("long-ago", value, "2026-01-30T10:00:00Z") for value in ("1", "5")]
    rows = pa.concat_tables([hated, fine, unsaid, *before])
    assert trending(rows, WEIGHTS, NOW) == [("fine", 1.0), ("unsaid", 1.0)]


def test_what_was_returned_or_taken_out_of_the_cart_is_no_trend_and_leaves_what_else_was_done() -> None:
    def act(item: str, kind: str, quantity: str | None, user: str = "anna") -> pa.Table:
        return events((user, item, kind, TS), **({"quantity": quantity} if quantity else {}))

    rows = [
        act("back", "purchase", "2"),
        act("back", "purchase", "-2"),
        act("back", "view", None),
        act("half", "purchase", "2.0"),
        act("half", "purchase", "-1"),
        act("nothing", "purchase", "0"),
        act("taken out", "add_to_cart", "-1"),
        act("of another", "purchase", None),
        act("of another", "purchase", "-1", "ben"),
    ]
    found = trending(pa.concat_tables(rows), WEIGHTS, NOW)
    assert found == [("half", 5.0), ("of another", 5.0), ("back", 1.0)]


def test_equal_items_stand_in_byte_order_and_there_are_at_most_200() -> None:
    rows = events(*(("anna", f"item-{n:03d}", "view", "2026-02-02T10:00:00Z") for n in reversed(range(250))))
    assert [item for item, _ in trending(rows, WEIGHTS, NOW)] == [f"item-{n:03d}" for n in range(200)]
