"""What trends: the last 24 hours, a shopper counting once for an item."""

from datetime import UTC, datetime

import pyarrow as pa

from jobs.config.parameters import Parameters
from jobs.intraday.trending import COLUMNS, trending

NOW = datetime(2026, 2, 2, 12, tzinfo=UTC)
WEIGHTS = Parameters().features.event_weight_milli.by_event_type()


def events(*rows: tuple[str | None, str, str, str]) -> pa.Table:
    """Rows of (shopper, item, type, ts); a shopper of None is an anonymous event."""
    whole = [
        {"event_id": f"e{n}", "user_id": user, "session_id": None, "item_id": item, "event_type": kind, "ts": ts}
        for n, (user, item, kind, ts) in enumerate(rows)
    ]
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


def test_anonymous_events_count_each_and_weightless_ones_not_at_all() -> None:
    ts = "2026-02-02T10:00:00Z"
    rows = events((None, "mug", "view", ts), (None, "mug", "view", ts), ("anna", "pan", "impression", ts))
    assert trending(rows, WEIGHTS, NOW) == [("mug", 2.0)]


def test_equal_items_stand_in_byte_order_and_there_are_at_most_200() -> None:
    rows = events(*(("anna", f"item-{n:03d}", "view", "2026-02-02T10:00:00Z") for n in reversed(range(250))))
    assert [item for item, _ in trending(rows, WEIGHTS, NOW)] == [f"item-{n:03d}" for n in range(200)]
