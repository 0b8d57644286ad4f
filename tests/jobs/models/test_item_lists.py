"""The lists of what goes with each item: which events count, and what comes of them."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from jobs.lake.lake import Lake
from jobs.models.item_lists import WINDOW_DAYS, Events, build, item_lists, read_events
from tests.jobs.small_shop import lay

DS = date(2026, 1, 31)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ITEMS = ["mug", "pan", "pot", "tin"]


def interactions(rows: list[tuple[str | None, str | None, str, str, datetime]]) -> pa.Table:
    user, session, item, event_type, ts = zip(*rows, strict=True)
    return pa.table(
        {
            "user_id": pa.array(user, pa.string()),
            "session_id": pa.array(session, pa.string()),
            "item_id": item,
            "event_type": event_type,
            "ts": pa.array(ts, pa.timestamp("us", "UTC")),
            "event_date": pa.array([each.date() for each in ts], pa.date32()),
        }
    )


def laid(tmp_path: Path, rows: list[tuple[str | None, str | None, str, str, datetime]]) -> Lake:
    lake = Lake(str(tmp_path))
    lay(lake, "staging/interactions", DS, interactions(rows))
    columns = {"item_pos": range(4), "item_id": ITEMS, "title": ITEMS, "category": [""] * 4, "brand": [""] * 4}
    lay(lake, "features/item", DS, pa.table({**columns, "price_minor": pa.nulls(4, pa.int64())}))
    return lake


def test_events_of_the_window_count_whoever_the_visitor_is(tmp_path: Path) -> None:
    old = NOON - timedelta(days=WINDOW_DAYS)
    rows = [
        ("anna", None, "mug", "view", NOON),
        (None, "visit", "pan", "click", NOON + timedelta(seconds=5)),
        ("anna", None, "pot", "purchase", NOON),
        ("anna", None, "gone", "view", NOON),
        ("anna", None, "tin", "view", old),
        ("anna", None, "tin", "view", NOON + timedelta(days=1)),
    ]
    found = read_events(laid(tmp_path, rows), DS, [DS])
    assert found.item.tolist() == [0, 1, 2]
    assert found.is_look.tolist() == [True, True, False]
    assert found.is_purchase.tolist() == [False, False, True]
    assert found.at_s.tolist()[1] - found.at_s.tolist()[0] == 5
    assert found.visitor[0] == found.visitor[2] != found.visitor[1]


def test_each_list_is_learned_from_its_own_events() -> None:
    """Ten shoppers buy 0 with 1 on a day; two others look at 2 and then at 3 within a visit."""
    visitor = np.array([*np.repeat(np.arange(10), 2), 20, 20, 21, 21, *np.arange(30, 50)])
    item = np.array([*np.tile([0, 1], 10), 2, 3, 2, 3, *np.tile([2, 3], 10)])
    is_purchase = np.array([True] * 20 + [False] * 4 + [True] * 20)
    at_s = np.arange(len(item))
    events = Events(visitor, item, at_s, np.full(len(item), 20_000), is_purchase, ~is_purchase)
    arrays = item_lists(events, sp.csr_matrix((4, 4), dtype=bool), 4)

    def of(name: str, row: int) -> list[int]:
        indptr, indices = arrays[f"{name}_indptr"], arrays[f"{name}_indices"]
        return indices[indptr[row] : indptr[row + 1]].tolist()

    assert (of("bought_together", 0), of("bought_together", 1), of("bought_together", 2)) == ([1], [0], [])
    assert (of("looked_next", 2), of("looked_next", 0)) == ([3], [])


def test_substitutes_stand_by_what_tells_of_them() -> None:
    """Forty visits look at 0, 1 and 2, and buy 0 or 1, with 2. By words 0 is like 1 and 4, and most like 3."""
    looked = np.repeat(np.arange(40), 3), np.tile([0, 1, 2], 40)
    bought = np.repeat(np.arange(40), 2), np.tile([0, 2, 1, 2], 20)
    visitor, item = (np.concatenate(columns) for columns in zip(looked, bought, strict=True))
    is_purchase = np.arange(len(item)) >= len(looked[0])
    events = Events(visitor, item, np.arange(len(item)), np.full(len(item), 20_000), is_purchase, ~is_purchase)
    like = sp.csr_matrix(([0.5, 0.5, 0.9, 0.9, 0.4, 0.4], ([0, 1, 0, 3, 0, 4], [1, 0, 3, 0, 4, 0])), shape=(5, 5))
    arrays = item_lists(events, like, 5)
    first = slice(*arrays["substitutes_indptr"][:2])
    assert arrays["substitutes_indices"][first].tolist() == [1, 3, 4]
    assert arrays["substitutes_data"][first].tolist() == pytest.approx([1.5, 0.9, 0.4])


def test_a_shop_without_events_has_empty_lists() -> None:
    nothing = np.empty(0, np.int64)
    events = Events(nothing, nothing, nothing, nothing, nothing.astype(bool), nothing.astype(bool))
    arrays = item_lists(events, sp.csr_matrix((2, 2), dtype=bool), 2)
    assert [arrays[f"{name}_indptr"].tolist() for name in ("bought_together", "substitutes", "looked_next")] == [
        [0, 0, 0]
    ] * 3


def test_what_was_built_of_the_same_is_kept(tmp_path: Path) -> None:
    lake = laid(tmp_path, [("anna", None, "mug", "view", NOON)])
    arrays = {"content_indptr": np.zeros(5, np.int64), "content_indices": np.empty(0, np.int32)}
    lake.write_artifact("artifacts/content", DS, arrays, inputs={}, parameters={}, metrics={})
    first = build(lake, DS)
    assert first.metrics == {"bought_together": 0, "substitutes": 0, "looked_next": 0}
    assert build(lake, DS) == first
